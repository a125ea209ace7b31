"""The shortcut audit: how far what should not carry the answer carries it all the same.

Each probe is a logistic regression on one of these alone, fitted on training cases and judged on the test cases of the
model: the border of the image, its histogram, its size and that of its file, columns of how and where it was taken, and
the order of the patients' numbers. Zech et al. 2018 (PLoS Medicine 15:e1002683) and DeGrave et al. 2021 (Nature Machine
Intelligence 3:610) show models that learned such things.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from medvfm.core.array import Array
from medvfm.core.case import Case
from medvfm.core.image import Image
from medvfm.io.rendering import windowing
from medvfm.nn import probe
from medvfm.tasks.classification.baselines import Columns, Histogram, Labels

VERSION = 1
BORDER = 0.06  # of each side
SEGMENTS = 8  # along each side, each with its mean and deviation
SPAN, SLICES = (0.35, 0.65), 3  # of a volume, whose borders are averaged
RANGES = 10  # of patients' numbers, as quantiles of the training patients
ACQUISITION = re.compile(r"view|project|position|acqui|protocol|sequence|plane|orientation|kvp|exposure|contrast", re.I)
PLACE = re.compile(r"scanner|site|hospital|centre|center|institut|manufact|vendor|device|station|department", re.I)
PROBES = {
    "image border": "the outer 6% of each side of the image",
    "intensity histogram": "mean, deviation and histogram of the pixel values",
    "image and file size": "rows, columns, slices and the size of the file",
    "patient number order": "where the patient's number stands among all numbers",
}


@dataclass(frozen=True)
class ShortcutReader:
    """Numbers of a case's image that no diagnosis should need. See core.task_capabilities.AuditReader."""

    voxels: Histogram
    parts: ClassVar[tuple[str, ...]] = ("border", "histogram", "size")

    def key(self) -> str:
        return f"shortcuts-{VERSION}-{self.voxels.key()}"

    def files(self, case: Case) -> Sequence[Path]:
        return self.voxels.files(case)

    def __call__(self, case: Case) -> Mapping[str, Array]:
        """Each of `parts`, (d,) float32; of a case with several images the first."""
        image = self.voxels.images(case)[0]
        bytes_of_files = sum(part.stat().st_size for path in self.files(case) for part in _parts(path))
        return {
            "border": border(image, self.voxels.intensity()),
            "histogram": self.voxels.of_image(image).astype(np.float32),
            "size": np.array([*image.shape_vox, np.log(max(bytes_of_files, 1))], np.float32),
        }


def _parts(path: Path) -> list[Path]:
    return [p for p in sorted(path.iterdir()) if p.is_file()] if path.is_dir() else [path]


def border(image: Image, intensity: windowing.Rule) -> Array:
    """(4 * SEGMENTS * 2,) mean and deviation along the upper, lower, left and right border, values in [0, 1]."""
    pictures = windowing.slice_pictures(
        image, count=SLICES if image.is_volume else None, span=SPAN, intensity=intensity
    )
    found = []
    for picture in pictures.mean(axis=1):
        height, width = (max(1, round(BORDER * side)) for side in picture.shape)
        for strip in (picture[:height], picture[-height:], picture[:, :width].T, picture[:, -width:].T):
            parts = np.array_split(strip, SEGMENTS, axis=1)
            found.append([[p.mean(), p.std()] if p.size else [0.0, 0.0] for p in parts])
    return np.array(found).reshape(len(pictures), -1).mean(axis=0).astype(np.float32)


def scores(
    train: Sequence[Case],
    test: Sequence[Case],
    read: Mapping[str, Mapping[str, Array]],
    labels: Labels,
    kind: str,
) -> Iterator[tuple[str, str, Array]]:
    """Name of each probe, what it looks at, and its scores (n_test, T).

    read  case_id to what ShortcutReader gives; a probe on images needs it of every case
    """
    truth = torch.as_tensor(labels(train))
    for name, what, of_train, of_test in _features(train, test, read):
        if not len(of_train) or np.ptp(of_train, axis=0).max(initial=0.0) == 0:
            continue  # the same for every training case
        x, z = (torch.as_tensor(values, dtype=torch.float32) for values in (of_train, of_test))
        fitted, _ = probe.sweep((x, truth), (z[:0], truth[:0]), None, kind=kind)
        with torch.inference_mode():  # not around the yield, which would leave it on for whoever takes the scores
            scores = probe.probabilities(fitted(z), kind).double().numpy()
        yield name, what, scores


def _features(
    train: Sequence[Case], test: Sequence[Case], read: Mapping[str, Mapping[str, Array]]
) -> Iterator[tuple[str, str, Array, Array]]:
    """Name, words, and features of training and test cases, of every probe that the data allow."""
    everyone = [*train, *test]
    if all(case.case_id in read for case in everyone):
        for name, part in zip(
            ("image border", "intensity histogram", "image and file size"), ShortcutReader.parts, strict=True
        ):
            of_train, of_test = (np.stack([read[c.case_id][part] for c in cases]) for cases in (train, test))
            yield name, PROBES[name], of_train, of_test
    known = sorted({column for case in train for column, value in case.groups.items() if value not in (None, "")})
    for name, pattern in (("view and acquisition", ACQUISITION), ("scanner and site", PLACE)):
        chosen = [column for column in known if pattern.search(column)]
        if chosen:
            columns = Columns(chosen, "shortcuts")
            columns.fit(train)
            said = f"the column{'s' if len(chosen) > 1 else ''} {', '.join(chosen)}"
            yield name, said, columns(train), columns(test)
    numbers = [number_of(case) for case in everyone]
    if all(n is not None for n in numbers):
        order = np.array(numbers, dtype=float)
        edges = np.quantile(order[: len(train)], np.linspace(0, 1, RANGES + 1)[1:-1])
        ranged = np.eye(RANGES)[np.searchsorted(edges, order)]
        features = np.concatenate([ranged, np.argsort(np.argsort(order))[:, None] / len(order)], axis=1)
        name = "patient number order"
        yield name, PROBES[name], features[: len(train)], features[len(train) :]


def number_of(case: Case) -> int | None:
    """The digits of the patient's number, all together."""
    digits = re.sub(r"\D", "", case.patient_id or "")
    return int(digits) if digits and len(digits) < 19 else None
