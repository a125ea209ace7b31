"""What a user hands in to be predicted, as cases: files, DICOM series, folders of any readable kind, tables of images.

The folder of answers is the user's own, so that inputs keep their names there: the path as given, and a short name that
tells each from the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from medvfm.core.case import Case
from medvfm.core.errors import DataError, MedvfmError, UnreadableImage
from medvfm.io.dataset import table_files
from medvfm.io.dataset.file_endings import without_ending
from medvfm.io.dicom import series
from medvfm.io.read import image_kind
from medvfm.io.writers import file_names

TABLES = (".csv", ".tsv", ".xlsx", ".parquet", ".pq", ".jsonl")


@dataclass
class Inputs:
    """Cases with stems of their own, and (path as given, reason) of what is no image or cannot be found."""

    cases: list[Case] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def given(inputs: Sequence[Path], more: Sequence[Case] = (), roles: Sequence[str] = ("image",)) -> Inputs:
    """The cases of the inputs, in their order, and `more` that have names already.

    A file is a case; so is a folder that holds one DICOM series. Of any other folder each image below it is one. A
    table has a column `image` (or one for each of `roles`) of paths beside it, and may have `case_id` and `question`.
    """
    found = Inputs()
    for path in inputs:
        try:
            _add(path, found, roles)
        except (MedvfmError, OSError) as error:
            found.left_out.append(
                (str(path), error.what if isinstance(error, UnreadableImage | DataError) else str(error))
            )
    found.cases = _named([*found.cases, *more])
    return found


def _add(path: Path, found: Inputs, roles: Sequence[str]) -> None:
    if not path.exists():
        raise DataError("no such file or folder")
    if path.is_dir():
        before = len(found.cases) + len(found.left_out)
        _add_folder(path, found)
        if len(found.cases) + len(found.left_out) == before:
            raise DataError("holds no image that can be read")
    elif path.suffix.lower() in TABLES:
        found.cases += _of_table(path, roles)
    else:
        found.cases.append(_case(path))


def _case(path: Path) -> Case:
    return Case("", None, {"image": (path,)})


def _add_folder(folder: Path, found: Inputs) -> None:
    """One series as the folder itself; else everything in it, then in its folders."""
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    volumes = series.list_volumes(files)
    slices = {p for volume in volumes for p in volume.paths}
    several = [volume for volume in volumes if len(volume.paths) > 1]
    if len(several) == 1 and len(volumes) == 1:
        found.cases.append(_case(folder))
    else:
        found.left_out += [
            (str(folder), f"holds {len(volumes)} DICOM series or pictures: give each series a folder of its own")
        ] * bool(several)
        singles = [volume for volume in volumes if len(volume.paths) == 1 and volume.modality != "SEG"]
        found.cases += [_case(volume.paths[0]) for volume in singles if volume.problem != series.NO_PIXELS]
    found.cases += [_case(path) for path in files if path not in slices and _is_image(path)]
    for inner in sorted(
        p for p in folder.iterdir() if p.is_dir() and not p.is_symlink() and not p.name.startswith(".")
    ):
        _add_folder(inner, found)


def _is_image(path: Path) -> bool:
    """Told by its content; what is not an image is passed by, as a README beside pictures is."""
    try:
        return image_kind(path) != "zip"
    except UnreadableImage:
        return False


def _of_table(table: Path, roles: Sequence[str]) -> Iterator[Case]:
    read = table_files.read_table(table)
    columns = [role for role in roles if role in read.columns] or [c for c in ("image",) if c in read.columns]
    if not columns:
        raise DataError(
            f"{table.name} has no column {' or '.join(dict.fromkeys([*roles, 'image']))}; its columns are "
            f"{', '.join(read.columns)}"
        )
    for number, row in enumerate(read.records, 1):
        names = {role: str(row[role]).strip() for role in columns if str(row[role] or "").strip()}
        if not names:
            raise DataError(f"{table.name}, row {number}: it names no image")
        yield Case(
            str(row.get("case_id") or "").strip(),
            None,
            {role: (table.parent / name,) for role, name in names.items()},
            question=str(row.get("question") or "").strip() or None,
        )


def _named(cases: Sequence[Case]) -> list[Case]:
    """A case_id for those that have none, and stems: short names that tell each from all others."""
    paths = [(*case.files, Path(case.case_id))[0] for case in cases]
    parts = [(*path.parts[:-1], without_ending(path.name) or path.name or str(path)) for path in paths]
    names = [case.case_id or part[-1] for case, part in zip(cases, parts, strict=True)]
    for depth in range(2, 1 + max((len(p) for p in parts), default=0)):
        alike = _doubled(names)
        if not alike:
            break
        names = [
            "_".join(part[-depth:]).lstrip("/") if number in alike and not case.case_id else name
            for number, (case, part, name) in enumerate(zip(cases, parts, names, strict=True))
        ]
    alike = _doubled(names)  # the same file twice, or a.png beside a.jpg
    names = [
        f"{name} {number + 1}" if number in alike and not cases[number].case_id else name
        for number, name in enumerate(names)
    ]
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise DataError(f"case_id {twice[0]!r} stands for two inputs", remedy="give every input a case_id of its own")
    stems = file_names.stems(names)
    return [replace(case, case_id=name, stem=stems[name]) for case, name in zip(cases, names, strict=True)]


def _doubled(names: Sequence[str]) -> set[int]:
    """Places of names that a disk which ignores case takes for one."""
    where: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        where.setdefault(name.casefold(), []).append(number)
    return {number for places in where.values() if len(places) > 1 for number in places}
