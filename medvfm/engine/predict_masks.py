"""A finished segmenter asked about new images: masks as files that viewers and archives open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from medvfm.core import geometry
from medvfm.core.case import Case
from medvfm.core.data_card import Label
from medvfm.core.errors import DataError, MedvfmError, RunError
from medvfm.core.image import Image
from medvfm.engine import postprocess
from medvfm.engine.context import RunContext
from medvfm.io.rendering import overlays
from medvfm.io.run_directory import write_bytes
from medvfm.io.writers import masks
from medvfm.io.writers.dicom_seg import write_segmentation
from medvfm.models.inputs.slice_stacks import intensity_rule
from medvfm.models.inputs.volumes import PreparedVolume

FORMATS = ("nifti", "dicom-seg", "png")


def predict(
    adapters: Sequence[Any],
    question: Any,
    labels: Mapping[int, Label],
    cases: Sequence[Case],
    out: Path,
    form: str,
    model: str,
    around: RunContext,
) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """Write a mask an input; a row an input and structure with its size in ml (voxels where no size is known)."""
    if adapters[0].oracle is not None:
        raise RunError(
            f"the run's prompts come from the truth ({adapters[0].oracle}), and new images have none",
            remedy="take adapter.prompts.from file, grid or adapter, or the method promptless",
        )
    names, after = _named(question, labels), postprocess.parse(question.postprocess, question.kind)
    for adapter in adapters:
        adapter.module.to(around.device).eval()
    rows: list[dict[str, Any]] = []
    left_out: list[tuple[str, str]] = []
    for case in around.console.track(cases, len(cases), "segmented"):
        try:
            image, prepared = _prepared(adapters[0], case)
            mask = _agreed([_segment(adapter, prepared) for adapter in adapters], question)
            place = (image.shape_vox, image.affine, image.has_spacing)
            mask = postprocess.apply(mask, after, question.kind, place)
            files = _written(mask, image, case, question, names, out, form, model, adapters[0])
        except MedvfmError as error:
            if around.strict:
                raise
            left_out.append((case.case_id, str(error)))
            continue
        rows += _rows(case, mask, image, question, files, model)
    if not rows:
        case_id, reason = left_out[0]
        raise DataError(f"no input could be segmented; {case_id}: {reason}")
    return pd.DataFrame(rows), left_out


def _prepared(adapter: Any, case: Case) -> tuple[Image, PreparedVolume]:
    images = adapter.preparer.images(case)
    return images[0], adapter.preparer.of_images(images, case.case_id)


def _segment(adapter: Any, prepared: PreparedVolume) -> np.ndarray:
    with torch.inference_mode():
        return adapter.segment(prepared)


def _agreed(drawn: Sequence[np.ndarray], question: Any) -> np.ndarray:
    """The mask that most folds draw at each voxel; of equals the lower value. Objects come from the first fold."""
    if len(drawn) == 1 or question.kind == "instances":
        return drawn[0]
    if question.kind == "multi_label":
        return np.mean(drawn, axis=0) > 0.5
    best = np.zeros(drawn[0].shape, drawn[0].dtype)
    most = np.zeros(drawn[0].shape, np.int16)
    for value in range(len(question.classes) + 1):
        votes = np.stack([mask == value for mask in drawn]).sum(axis=0, dtype=np.int16)
        higher = votes > most
        best[higher], most[higher] = value, votes[higher]
    return best


def _named(question: Any, labels: Mapping[int, Label]) -> dict[int, Label]:
    """Value of our masks to its label, coded as the card codes it."""
    known = {label.name: label for label in labels.values()}
    return {value: known.get(name, Label(name=name)) for value, name in enumerate(question.classes, 1)}


def _written(
    mask: np.ndarray,
    image: Image,
    case: Case,
    question: Any,
    names: Mapping[int, Label],
    out: Path,
    form: str,
    model: str,
    adapter: Any,
) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    stem = masks.file_stem(case.case_id)
    if form == "dicom-seg":
        if question.kind == "instances":
            values = [int(v) for v in np.unique(mask) if v]
            names = {v: Label(name=f"{question.classes[0]} {v}") for v in values}
        source = adapter.preparer.files(case)[0]
        return [write_segmentation(mask, source, names, out / f"{stem}.dcm", model="medvfm", version=model)]
    if form == "png":
        shown = {value: label.name for value, label in names.items()} if question.kind != "instances" else None
        rule = intensity_rule(adapter.preparer.prepare, adapter.preparer.windows)
        picture = overlays.three_planes(image, None, mask, intensity=rule, names=shown)
        write_bytes(out / f"{stem}.png", overlays.png(picture))
        return [out / f"{stem}.png"]
    place = (image.shape_vox, image.affine, image.has_spacing)
    return masks.write_case(out, case.case_id, mask, place, question)


def _rows(
    case: Case, mask: np.ndarray, image: Image, question: Any, files: Sequence[Path], model: str
) -> list[dict[str, Any]]:
    scale = geometry.voxel_volume_mm3(image.affine) / 1000 if image.has_spacing else 1.0
    found = []
    for number, name in enumerate(question.classes):
        if question.kind == "multi_label":
            size = float(mask[..., number].sum()) * scale
        elif question.kind == "instances":
            size = float(len(np.setdiff1d(np.unique(mask), 0)))
        else:
            size = float((mask == number + 1).sum()) * scale
        unit = "objects" if question.kind == "instances" else "ml" if image.has_spacing else "voxels"
        file = files[number] if len(files) > 1 else files[0]
        found.append(
            {"input": case.case_id, "target": name, "size": size, "unit": unit, "file": file.name, "model": model}
        )
    return found
