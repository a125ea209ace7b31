"""A data card and a folder become cases; whatever is left out is counted and named."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medvfm.core.case import SPLITS, Case, refuse_doubled_ids
from medvfm.core.data_card import Class, DataCard, Group, Layout, fields_of
from medvfm.core.errors import DataCardError, DataError, nearest

Row = Mapping[str, Any]
_UNKNOWN = ("", "nan", "none", "null", "na", "n/a")


@dataclass
class Cases:
    """Cases of a card, which layout they came from, and what was left out on the way."""

    cases: list[Case]
    layout: str
    flow: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def find_layout(card: DataCard, root: Path, name: str | None = None) -> Layout:
    """The layout asked for, or the first whose files are there."""
    if name is not None:
        found = next((entry for entry in card.layouts if entry.name == name), None)
        if found is None:
            raise DataCardError(
                f"the card {card.name} has no layout {name!r}; {nearest(name, [entry.name for entry in card.layouts])}"
            )
        return found
    for layout in card.layouts:
        if all(any(True for _ in root.glob(pattern)) for pattern in _needed(layout)):
            return layout
    wanted = "; ".join(f"{entry.name}: {', '.join(_needed(entry))}" for entry in card.layouts)
    raise DataCardError(f"the folder has none of the layouts of {card.name}", where=root, remedy=f"they need {wanted}")


def _needed(layout: Layout) -> list[str]:
    tables = layout.table.values() if isinstance(layout.table, dict) else [layout.table] if layout.table else []
    pattern = [re.sub(r"\{[^}]*\}", "*", layout.files)] if layout.files else []
    return [*layout.when, *tables, *pattern]


def read_cases(card: DataCard, root: Path, *, layout: str | None = None) -> Cases:
    """Every case that the card finds under `root`."""
    if not root.is_dir():
        raise DataError("no such folder", where=root, remedy=f"`medvfm data root {card.name} DIR` says where it lies")
    chosen = find_layout(card, root, layout)
    found = Cases([], chosen.name)
    total = 0
    owners: set[str] = set()
    for row in _rows(chosen, root):
        total += 1
        case = _case(card, chosen, row, root)
        owners.add(case.owner)
        missing = [f for f in (*case.files, *case.masks.values()) if not f.exists()]
        if missing:
            found.left_out.append((case.case_id, f"no such file: {missing[0].relative_to(root)}"))
            continue
        found.cases.append(case)
    found.flow.append(
        {"step": f"in the {'table' if chosen.table else 'folder'}", "cases": total, "patients": len(owners)}
    )
    if found.left_out:
        lost = owners - {c.owner for c in found.cases}
        found.flow.append({"step": "files missing", "cases": -len(found.left_out), "patients": -len(lost)})
    if not found.cases:
        first = f": {found.left_out[0][1]}" if found.left_out else ""
        raise DataError(f"the card {card.name} finds no case here{first}", where=root)
    refuse_doubled_ids(found.cases)
    if card.patients == "none":
        found.warnings.append("The data set names no patients, so that images of one may lie in several splits.")
    return found


def _rows(layout: Layout, root: Path) -> Iterator[Row]:
    if layout.files is not None:
        yield from _matches(layout.files, root)
        return
    tables = layout.table if isinstance(layout.table, dict) else {"all": str(layout.table)}
    joined = [(j, _indexed(root, j.table, j.key)) for j in layout.join]
    for split, name in tables.items():
        for record in read_table(root, name, layout.records).to_dict("records"):
            row = {str(k): v for k, v in record.items()} | ({"split": split} if split != "all" else {})
            if any(row.get(column) not in values for column, values in layout.keep.items()):
                continue
            for join, index in joined:
                row = {**index.get(_filled(join.on, row), {}), **row}
            yield row


def _indexed(root: Path, name: str, key: str) -> dict[str, dict[str, Any]]:
    table = read_table(root, name, None)
    if key not in table.columns:
        raise DataCardError(f"the table has no column {key!r}; {nearest(key, map(str, table.columns))}", where=name)
    return {str(r[key]): {str(k): v for k, v in r.items()} for r in table.to_dict("records")}


def read_table(root: Path, name: str, records: str | None) -> pd.DataFrame:
    """CSV, TSV, Parquet or JSON under the root; cells stay text, so that 007 is not 7."""
    path = under(root, name)
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        if path.suffix == ".json":
            data = json.loads(path.read_text(encoding="utf-8"))
            return pd.DataFrame(data[records] if records else data)
        separator = "\t" if ".tsv" in path.suffixes else ","
        return pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise DataError("no such table", where=path) from None
    except (OSError, ValueError, KeyError, TypeError, pd.errors.ParserError) as broken:
        raise DataError(f"not readable as a table: {str(broken)[:100]}", where=path) from broken


def _matches(pattern: str, root: Path) -> Iterator[Row]:
    expression = "".join(
        f"(?P<{part[1:-1]}>[^/]+?)" if part.startswith("{") else re.escape(part)
        for part in re.split(r"(\{[^}]*\})", pattern)
    )
    for path in sorted(root.glob(re.sub(r"\{[^}]*\}", "*", pattern))):
        relative = path.relative_to(root).as_posix()
        match = re.fullmatch(expression, relative)
        if match and not path.name.startswith("."):
            yield {**match.groupdict(), "path": relative}


def _case(card: DataCard, layout: Layout, row: Row, root: Path) -> Case:
    case_id = _filled(layout.case_id, row)
    patient = None
    if card.patients == "known":
        patient = _filled(layout.patient_id, row)
        if layout.patient_pattern:
            match = re.search(layout.patient_pattern, patient)
            if match is None:
                raise DataCardError(f"patient_pattern finds no patient in case {case_id}", where=layout.name)
            patient = match.group(1)
        if _is_unknown(patient):
            raise DataError(f"case {case_id} has no patient", remedy="every case needs one")
    split = _filled(layout.split, row) if layout.split else row.get("split")
    split = layout.splits.get(str(split), split) if split is not None else None
    if split is not None and not _is_unknown(split) and split not in SPLITS:
        raise DataError(f"case {case_id} is of split {split!r}; one of: {', '.join(SPLITS)}")
    optional = {
        name: _or_none(getattr(layout, name), row)
        for name in "study_id study_date laterality text question answer question_type image_id".split()  # noqa: SIM905
    }
    return Case(
        case_id,
        patient,
        {role: _paths(template, row, root) for role, template in layout.images.items()},
        {name: _target(entry, row, card.uncertain) for name, entry in layout.classes.items()},
        {name: under(root, _filled(template, row)) for name, template in layout.masks.items()},
        split=None if split is None or _is_unknown(split) else str(split),
        groups={name: value for name, entry in layout.groups.items() if (value := _group(entry, row)) is not None},
        **optional,
    )


def _paths(template: str | tuple[str, ...], row: Row, root: Path) -> tuple[Path, ...]:
    several = (template,) if isinstance(template, str) else template
    return tuple(under(root, _filled(t, row)) for t in several)


def under(root: Path, name: str) -> Path:
    """A path below the root; anything that leads out of it is refused."""
    if "://" in name:
        raise DataError(f"{name.split('://')[0]}:// in a table: only files under the root are read", where=root)
    path = root / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise DataError(f"the path {name!r} leads out of the data's root", where=root)
    if path.is_symlink() or any(
        parent.is_symlink() for parent in path.parents if parent != root and root in parent.parents
    ):
        resolved = path.resolve()
        if not resolved.is_relative_to(root.resolve()):
            raise DataError(f"the link {name!r} leads out of the data's root", where=root)
    return path


def _filled(template: str, row: Row) -> str:
    values = {}
    for name in fields_of(template):
        if name not in row:
            raise DataCardError(f"no column {name!r}; {nearest(name, map(str, row))}")
        values[name] = row[name]
    return re.sub(r"\{([^}]*)\}", lambda m: str(values[m.group(1)]), template)


def _or_none(template: str | None, row: Row) -> str | None:
    if template is None:
        return None
    value = _filled(template, row)
    return None if _is_unknown(value) else value


def _is_unknown(value: object) -> bool:
    return value is None or str(value).strip().lower() in _UNKNOWN


def _target(entry: str | Class, row: Row, policy: str) -> float:
    entry = Class(column=entry) if isinstance(entry, str) else entry
    if entry.column not in row:
        raise DataCardError(f"no column {entry.column!r} for a class; {nearest(entry.column, map(str, row))}")
    value = row[entry.column]
    value = value.strip() if isinstance(value, str) else value
    if entry.contains is not None:
        found = [part.strip() for part in str(value).split(entry.separator)]
        return float(entry.contains in found)
    if value in entry.positive:
        return 1.0
    if value in entry.negative:
        return 0.0
    if value in entry.uncertain:
        return {"ignore": np.nan, "zero": 0.0, "one": 1.0, "soft": 0.5}[policy]
    return float(np.nan)


def _group(entry: str | Group, row: Row) -> str | float | None:
    entry = Group(value=entry) if isinstance(entry, str) else entry
    value = _filled(entry.value, row)
    if entry.pattern:
        match = re.search(entry.pattern, value)
        value = match.group(1) if match else ""
    if _is_unknown(value):
        return None
    value = entry.map.get(value, value)
    if not entry.number and not entry.bands:
        return value
    try:
        number = float(value)
    except ValueError:
        return None
    return _band(number, entry.bands) if entry.bands else number


def _band(number: float, cuts: tuple[float, ...]) -> str:
    below = [c for c in cuts if c <= number]
    above = [c for c in cuts if c > number]
    if not below:
        return f"under {cuts[0]:g}"
    return f"{below[-1]:g} and over" if not above else f"{below[-1]:g} to {above[0]:g}"
