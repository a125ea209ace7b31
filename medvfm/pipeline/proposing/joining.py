"""Two tables of one study: what a second table says of the images or patients of the first, as a card's `join`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medvfm.io.dataset.layout_rows import as_text
from medvfm.pipeline.proposing import columns as roles
from medvfm.pipeline.proposing.found import Column

LEAST = 0.9  # share of the first table's values that the second must have


@dataclass(frozen=True)
class Sheet:
    """A table that was read."""

    name: str
    records: Sequence[Mapping[str, object]]
    columns: Sequence[Column]


@dataclass(frozen=True)
class Link:
    """Rows of `table` belong to rows whose column `on` has the value of `key`."""

    table: str
    key: str
    on: str
    columns: tuple[str, ...]  # what it adds


def lacking(columns: Sequence[Column], rows: int, image: str) -> set[str]:
    """Which of patient and label no column of a table holds, besides that of the images."""
    rest = [c for c in columns if c.name != image]
    has_label = bool(roles.labels([c for c in rest if c not in roles.patients(rest)], rows)) or bool(roles.texts(rest))
    found = set() if roles.patients(rest) else {"patient"}
    return found if has_label else found | {"label"}


def link(main: Sheet, image: str, other: Sheet) -> Link | None:
    """How another table says what this one lacks, if a column of it names each image or patient once."""
    wanted = lacking(main.columns, len(main.records), image)
    known = {c.name for c in main.columns}
    added = [c for c in other.columns if c.name not in known and c.usable]
    if not wanted or lacking(added, len(other.records), "") & wanted == wanted:
        return None
    best: tuple[float, Column, Column] | None = None
    for key in other.columns:
        if not key.counts or key.empty or max(key.counts.values()) > 1 or not key.usable:
            continue
        for on in main.columns:
            share = len(set(on.counts) & set(key.counts)) / max(1, len(on.counts))
            alike = on.name == image or on.name.casefold() == key.name.casefold()
            if alike and on.usable and share >= LEAST and (best is None or share > best[0]):
                best = share, key, on
    if best is None:
        return None
    names = tuple(c.name for c in added if c is not best[1])
    return Link(other.name, best[1].name, best[2].name, names) if names else None


def joined(main: Sheet, other: Sheet, found: Link) -> Sheet:
    """The first table with the columns that the second adds."""
    rows = {as_text(record.get(found.key)): record for record in other.records}
    empty: Mapping[str, object] = {}
    records = [
        {**record, **{name: rows.get(as_text(record.get(found.on)), empty).get(name, "") for name in found.columns}}
        for record in main.records
    ]
    names = [*(c.name for c in main.columns), *found.columns]
    return Sheet(main.name, records, roles.of_records(records, names))
