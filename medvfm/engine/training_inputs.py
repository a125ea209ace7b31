"""What a model was trained on, as its files say it, and where a new image is unlike that.

A model answers whatever picture it is given: one of another organ, scanner or kind gets a score too. So a run keeps the
facts of its training images, and `medvfm predict` names what differs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medvfm.core.array import Array
from medvfm.core.case import Case
from medvfm.core.image import Image
from medvfm.core.protocols import Preparer, Record
from medvfm.engine import case_reading
from medvfm.engine.context import RunContext
from medvfm.io import cache

LOOKED_AT = 32  # training cases, evenly spread; facts of files that did not change are remembered
_KNOWN = cache.TextCache("facts")
_SAMPLE = 1 << 16  # values of an image whose range is taken
_MODALITIES = ({"CR", "DX", "RF", "RG"}, {"PT", "PET"}, {"MR", "MRI"})  # one kind under several names


@dataclass(frozen=True)
class FactsReader:
    """Facts of the images of a case; see case_reading.CaseReader."""

    preparer: Preparer

    def key(self) -> str:
        return f"facts-1-{sorted((str(k), str(v)) for k, v in self.preparer.read.items())}"

    def files(self, case: Case) -> Sequence[Path]:
        return self.preparer.files(case)

    def __call__(self, case: Case) -> list[Record]:
        return [facts(image) for image in self.preparer.images(case)]


def facts(image: Image) -> Record:
    """What a header and the values say: modality, body_part (None where the file does not say), dimensions (2 or 3),
    channels (colour that is grey in truth counts as 1), unit, low and high (0.5 and 99.5% of the values)."""
    voxels = _sampled(image.voxels)
    colour = image.voxels.ndim == 4 and image.voxels.shape[3] > 1
    if colour and image.unit == "RGB" and (voxels[..., :3] == voxels[..., :1]).all():
        colour = False
    low, high = np.percentile(voxels.astype(np.float64), [0.5, 99.5])
    return {
        "modality": _text(image.header.get("modality")),
        "body_part": _text(image.header.get("body_part")),
        "dimensions": 3 if image.is_volume else 2,
        "channels": image.voxels.shape[3] if colour else 1,
        "unit": image.unit,
        "low": float(low),
        "high": float(high),
    }


def of_cases(cases: Sequence[Case], preparer: Preparer, context: RunContext) -> Record:
    """Facts of training cases, gathered: each with the values that occur, and the range of values by unit."""
    places = np.linspace(0, len(cases) - 1, LOOKED_AT).round().astype(int)
    reader = FactsReader(preparer)
    keyed = case_reading.content_keys([cases[p] for p in dict.fromkeys(places.tolist())], reader, strict=False).readable
    with_files = [(case, f"{reader.key()}-{key}") for case, key in keyed if key]
    new = [(case, key) for case, key in with_files if not _KNOWN.get(key)]
    read = case_reading.prepared([case for case, _ in new], reader, context.workers, strict=False)
    for (_, key), found in zip(new, context.console.track(read, len(new), "training images looked at"), strict=True):
        if not isinstance(found, str):
            _KNOWN.put(key, json.dumps(found))
    _KNOWN.save()
    return gathered([f for _, key in with_files if (text := _KNOWN.get(key)) for f in json.loads(text)])


def gathered(found: Sequence[Record]) -> Record:
    """Facts of many images as one record; empty without images."""
    if not found:
        return {}
    record: Record = {
        name: sorted({f[name] for f in found if f[name] is not None})
        for name in ("modality", "body_part", "dimensions", "channels", "unit")
    }
    record["values"] = {}
    for unit in record["unit"]:
        of_unit = [f for f in found if f["unit"] == unit]
        spans = [f["high"] - f["low"] for f in of_unit]
        record["values"][unit] = {
            "low": min(f["low"] for f in of_unit),
            "high": max(f["high"] for f in of_unit),
            "smallest_span": min(spans),
        }
    return record


def unlike(image: Record, trained: Mapping[str, object]) -> list[str]:
    """What sets an image apart from the training images, each in a few words; nothing for a run without their facts."""
    found = []
    for name, words in (
        ("modality", "modality {}"),
        ("body_part", "body part {}"),
        ("dimensions", "{} dimensions"),
        ("channels", "{} channels of colour"),
        ("unit", "values in {}"),
    ):
        known = trained.get(name) or []
        assert isinstance(known, list)
        if image[name] is not None and known and not any(_same(image[name], k) for k in known):
            found.append(f"{words.format(image[name])}, trained on {words.format(' or '.join(map(str, known)))}")
    ranges = trained.get("values")
    usual = ranges.get(image["unit"]) if isinstance(ranges, Mapping) else None
    if usual is not None:
        span = usual["high"] - usual["low"]
        here = f"values from {image['low']:.4g} to {image['high']:.4g}"
        if image["low"] < usual["low"] - span or image["high"] > usual["high"] + span:
            found.append(f"{here}, trained on values from {usual['low']:.4g} to {usual['high']:.4g}")
        elif image["high"] - image["low"] < usual["smallest_span"] / 4:
            found.append(f"{here}, an image with less contrast than any that it was trained on")
    return found


def _same(one: object, other: object) -> bool:
    return one == other or any({one, other} <= kind for kind in _MODALITIES)


def _text(value: object) -> str | None:
    return str(value).strip().upper() or None if value else None


def _sampled(voxels: Array) -> Array:
    step = max(1, int(np.ceil((voxels[..., 0].size if voxels.ndim == 4 else voxels.size) / _SAMPLE) ** (1 / 3)))
    return voxels[::step, ::step, :: step if voxels.shape[2] > 1 else 1]
