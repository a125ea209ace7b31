"""Sets of true and made images that users hand in: two folders of pictures or volumes, or two tables of features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medvfm.core.array import Array
from medvfm.core.errors import PredictionError
from medvfm.core.plurals import some
from medvfm.io.dataset.layout_rows import as_text
from medvfm.io.dataset.prediction_tables import KNOWN, GivenTable, Table, read_table, refuse_doubled
from medvfm.models.extractors import volume_slices
from medvfm.models.extractors.base import Extractor
from medvfm.models.extractors.load import DEFAULT, check_name, load_extractor
from medvfm.tasks.generation.picture_folders import LEAST, PictureFolder, pictures_in, sizes_note

NO_FEATURES = {*KNOWN, "target", "score", "condition"}


@dataclass(frozen=True, eq=False)
class GivenSet:
    """One side: names of n images, whose they are (n,), features (n, d); their pictures where there are any."""

    case_ids: tuple[str, ...]
    patients: Array
    features: Tensor
    pictures: PictureFolder | None = None

    def images(self) -> Tensor | None:
        """(n, c, h, w) or (n, c, s, h, w) in [0, 1], read anew; None of a table, or where sizes differ."""
        return None if self.pictures is None else self.pictures.images()


@dataclass(frozen=True, eq=False)
class GivenSets:
    """Both sides, features of one kind; the extractor's record (None of tables, which bring features); and notes."""

    truth: GivenSet
    predictions: GivenSet
    extractor: Mapping[str, object] | None
    notes: tuple[str, ...]


def read(
    truth: Table,
    predictions: Table,
    extractor: str | Extractor = DEFAULT,
    device: str | torch.device = "cpu",
    *,
    size_px: int | None = None,
) -> GivenSets:
    """Two folders of pictures or of volumes, or two tables with case_id and a column for each feature.

    extractor  its name, or one that was loaded; for folders alone. `size_px` replaces the size that it states
    A table may name patients in patient_id (or patient); without, and in folders, each image is a patient of its own.
    """
    folders = [isinstance(side, str | Path) and Path(side).is_dir() for side in (truth, predictions)]
    if isinstance(extractor, str):
        check_name(extractor, where="extractor")
    if all(folders):
        both = pictures_in(Path(str(truth))), pictures_in(Path(str(predictions)))
        network = load_extractor(extractor, device, size_px) if isinstance(extractor, str) else extractor
        return _of_folders(*both, network)
    if any(folders):
        other = "predictions" if folders[0] else "truth"
        raise PredictionError(
            "one side is a folder of pictures, and the other is none",
            where=other,
            remedy="give two folders of pictures, or two tables of features",
        )
    return _of_tables(read_table(truth, "truth"), read_table(predictions, "predictions"), torch.device(device))


def _of_folders(truth: PictureFolder, made: PictureFolder, extractor: Extractor) -> GivenSets:
    sets, shapes = [], []
    for side in (truth, made):
        features, sizes = [], []
        for batch in side.batches(extractor.batch):
            features.append(volume_slices.summary(extractor.features, batch))
            sizes.append(batch.shape)
        patients = np.array(side.case_ids, dtype=object)
        sets.append(GivenSet(side.case_ids, patients, torch.cat(features), side))
        shapes.append(sizes)
    kinds = {len(side[0]) for side in shapes}
    if len(kinds) > 1:
        raise PredictionError(
            "pictures on one side, and volumes on the other", where=made.folder, remedy="give two folders of one kind"
        )
    record = dict(extractor.record)
    if kinds == {5}:
        record["of_volumes"] = volume_slices.SAID
    what = "volume" if kinds == {5} else "picture"
    note = f"The folders name no patients: intervals take every {what} as a patient of its own."
    notes = [note, sizes_note(*shapes), record.get("said"), record.get("of_volumes")]
    return GivenSets(sets[0], sets[1], record, tuple(str(n) for n in notes if n))


def _of_tables(truth: GivenTable, made: GivenTable, device: torch.device) -> GivenSets:
    columns = _columns(truth, made)
    refuse_doubled(truth, ["case_id"])
    sets, unnamed = [], []
    for table, whose in ((truth, "truth"), (made, "predictions")):
        if len(table.frame) < LEAST:
            raise PredictionError(
                f"{len(table.frame)} image in the table: a set has {LEAST} or more", where=table.where
            )
        patients = _patients(table)
        if patients is None:
            unnamed.append(whose)
        case_ids = tuple(table.frame["case_id"])
        owners = np.array(case_ids, dtype=object) if patients is None else patients
        sets.append(GivenSet(case_ids, owners, torch.tensor(_features(table, columns), device=device)))
    notes = [*truth.notes, *made.notes]
    if unnamed:
        name = "names" if len(unnamed) == 1 else "name"
        notes.append(
            f"The {' and the '.join(unnamed)} {name} no patients: intervals take every case as a patient of its own."
        )
    return GivenSets(sets[0], sets[1], None, tuple(dict.fromkeys(notes)))


def _columns(truth: GivenTable, made: GivenTable) -> list[str]:
    """Names of the features, in the order of the truth."""
    both = [[c for c in table.frame.columns if c not in NO_FEATURES] for table in (truth, made)]
    for table, columns in zip((truth, made), both, strict=True):
        if not columns:
            raise PredictionError(
                "no column of a feature", where=table.where, remedy="besides case_id each column holds a feature"
            )
    for table, columns, others in ((made, both[1], both[0]), (truth, both[0], both[1])):
        lacking = [c for c in others if c not in columns]
        if lacking:
            raise PredictionError(
                f"no column {some(lacking)}, which the other table has",
                where=table.where,
                remedy="both tables hold the same features; leave out of either what is none",
            )
    return both[0]


def _features(table: GivenTable, columns: list[str]) -> Array:
    """(n, d) float64; a cell that is empty or no number is refused by its row."""
    if table.mark in (",", ""):  # else commas may be decimal ones
        found = _at_once(table, columns)
        if found is not None:
            return found
    found = np.stack([table.numbers(column) for column in columns], axis=1)
    if np.isnan(found).any():
        row, column = np.argwhere(np.isnan(found))[0]
        place = table.place(int(table.frame.index[row]))
        raise PredictionError(
            f"the feature {columns[column]!r} is empty", where=place, remedy="fill it in, or drop the row"
        )
    return found


def _at_once(table: GivenTable, columns: list[str]) -> Array | None:
    """All cells as numbers; None where one of them is none, to be looked for cell by cell."""
    try:
        found = table.frame[columns].to_numpy(dtype=np.float64)
    except (ValueError, TypeError):
        return None
    return found if np.isfinite(found).all() else None


def _patients(table: GivenTable) -> Array | None:
    column = next((c for c in ("patient_id", "patient") if c in table), None)
    if column is None:
        return None
    unknown = table.unknown(column)
    if unknown.any():
        place = table.place(int(table.frame.index[int(unknown.argmax())]))
        raise PredictionError(f"{column} is empty", where=place, remedy="fill it in, or leave the column out")
    return np.array([as_text(value) for value in table.frame[column]], dtype=object)
