"""What generation keeps of a split: the set of images that were made, and the set of real ones beside it.

Everything that a number is computed from stands in arrays of one row an image, so that a finished run's rows come out
again from features.safetensors and predictions.parquet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from medvfm.core.array import Array
from medvfm.io.run_directory import FEATURES, PREDICTIONS
from medvfm.nn import state
from medvfm.tasks.generation.image_set import ImageSet
from medvfm.tasks.generation.judge import Judge

TARGET = "image"  # of predictions.parquet: each row is one image
MODEL = "model"  # whose arrays a run's file holds besides those of baselines


@dataclass(frozen=True, eq=False)
class MadeSet:
    """The images of one split: `made`, and the `real` ones that they are compared with. See core.protocols.Predictions.

    asked      (m,) the condition of each image in words
    files      (m,) its file in the run, empty without one
    reference  the images are real ones (training images, as they are or changed): their conditions are not asked
    pictures   (m, C, H, W), or volumes (m, C, S, H, W), in [0, 1], and the judge, as long as they are in memory
    spacing_mm  of volumes, between slices, rows and columns
    contrasts  of a combination that was held out of training: column of a class of it to the made and to the real
               images of the same conditions but for that class
    """

    made: ImageSet
    real: ImageSet
    asked: Array
    fold: Array
    files: Array
    groups: Mapping[str, Array] = field(default_factory=dict)
    reference: bool = False
    pictures: Array | None = None
    spacing_mm: tuple[float, float, float] | None = None
    judge: Judge | None = None
    contrasts: Mapping[int, tuple[ImageSet, ImageSet]] = field(default_factory=dict)

    @property
    def ids(self) -> tuple[str, ...]:
        return self.made.ids

    @property
    def patients(self) -> Array:
        return self.made.patients

    def subset(self, keep: Array) -> MadeSet:
        """The images where `keep` (m,) is true, beside the real images of the same cases."""
        rows = np.flatnonzero(keep)
        cases = {self.made.ids[int(r)] for r in rows}
        return self.beside(rows, np.array([r for r, case in enumerate(self.real.ids) if case in cases], int))

    def beside(self, made: Array, real: Array) -> MadeSet:
        """Made and real images by their row numbers."""
        return replace(
            self,
            made=self.made.rows(made),
            real=self.real.rows(real),
            asked=self.asked[made],
            fold=self.fold[made],
            files=self.files[made],
            groups={name: values[made] for name, values in self.groups.items()},
            pictures=None if self.pictures is None else self.pictures[made],
        )

    def as_frame(self, split: str, hashed: Mapping[str, str], baseline: str | None) -> pd.DataFrame:
        """Long, for predictions.parquet: a row an image; `truth` is what was asked for, `answer` its file."""
        return pd.DataFrame(
            {
                "case_id": np.array(self.ids, dtype=object),
                "patient": np.array([hashed[str(p)] for p in self.patients], dtype=object),
                "split": split,
                "fold": self.fold,
                "target": TARGET,
                "truth": self.asked,
                "answer": self.files,
                "baseline": baseline,
            }
        )

    def measures(self, split: str, hashed: Mapping[str, str], baseline: str | None) -> pd.DataFrame | None:
        """Nearest training image of each made one: what is measured of single images."""
        found = {"nearest": self.made.nearest, "alike": self.made.alike, "singled": self.made.singled}
        whose = self.as_frame(split, hashed, baseline).drop(columns=["truth", "answer"])
        parts = [whose.assign(metric=n, value=values) for n, values in found.items() if values is not None]
        return pd.concat(parts, ignore_index=True) if parts else None

    def arrays(self) -> dict[str, Array]:
        """Of both sets, as features.safetensors holds them; whose images the real ones are, by place among patients."""
        both = {f"made/{name}": array for name, array in self.made.arrays().items()}
        both |= {f"real/{name}": array for name, array in self.real.arrays().items()}
        _, place = np.unique([str(p) for p in (*self.real.patients, *self.made.patients)], return_inverse=True)
        return both | {
            "real/patients": place[: len(self.real)].astype(np.int64),
            "made/patients": place[len(self.real) :].astype(np.int64),
            "reference": np.array([self.reference]),
        }


def read_run(directory: Path) -> dict[tuple[str, str | None], MadeSet]:
    """A finished run's sets by (split, baseline)."""
    arrays = {name: tensor.numpy() for name, tensor in state.read(directory / FEATURES).items()}
    table = pd.read_parquet(directory / PREDICTIONS)
    found: dict[tuple[str, str | None], MadeSet] = {}
    for name in dict.fromkeys("/".join(key.split("/")[:2]) for key in arrays):
        split, whose = name.split("/")
        baseline = None if whose == MODEL else whose
        mine = table["baseline"].isna() if baseline is None else table["baseline"] == baseline
        rows = table[(table["split"] == split) & mine]
        own = {key.removeprefix(f"{name}/"): array for key, array in arrays.items() if key.startswith(f"{name}/")}
        made, real = (_set(own, side) for side in ("made", "real"))
        columns = [c for c in map(str, rows.columns) if c.startswith("group_")]
        groups = {c.removeprefix("group_"): rows[c].to_numpy(object) for c in columns}
        ids = tuple(rows["case_id"])
        made = replace(made, ids=ids)
        if len(set(ids)) == len(real):  # real images are those of the conditions' own cases
            real = replace(real, ids=tuple(dict.fromkeys(ids)))
        asked, files = rows["truth"].to_numpy(object), rows["answer"].to_numpy(object)
        found[split, baseline] = MadeSet(
            made, real, asked, rows["fold"].to_numpy(), files, groups, bool(own["reference"][0])
        )
    return found


def _set(own: Mapping[str, Array], side: str) -> ImageSet:
    arrays = {key.removeprefix(f"{side}/"): array for key, array in own.items() if key.startswith(f"{side}/")}
    patients = arrays.pop("patients").astype(object)
    names: Sequence[str] = [str(place) for place in range(len(patients))]
    return ImageSet(tuple(names), patients, **arrays)
