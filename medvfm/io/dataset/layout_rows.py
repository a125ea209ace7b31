"""The rows of a card's layout: fields from tables, file names, arrays and joined tables."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medvfm.core.errors import DataCardError, DataError, nearest
from medvfm.core.layout import Class, Group, Join, Layout, RunLengths, fields_of, pieces_of
from medvfm.io.dataset import array_files, run_length_masks, side_files, table_files
from medvfm.io.dataset.safe_paths import Inside, escaped, exists

PLAIN = (
    "case_id", "patient_id", "image", "mask", "study_id", "study_date", "laterality", "text", "question", "answer",
    "question_type", "image_id", "split",
)  # fmt: skip
_UNKNOWN = ("", "nan", "none", "null", "na", "n/a", "<na>", "nat")


def is_unknown(value: object) -> bool:
    """An empty cell, by any of the words that tables have for it."""
    return value is None or str(value).strip().lower() in _UNKNOWN


def as_text(value: object) -> str:
    """A cell as text: 1.0 from a table of numbers is `1`."""
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value).strip()
    return str(int(value)) if value.is_integer() else repr(value)


def spellings(value: object) -> tuple[str, ...]:
    """A value of a card as the texts that a cell may have for it: `true` in YAML stands for True, true and TRUE."""
    text = as_text(value)
    return (text, text.lower(), text.upper()) if isinstance(value, bool) else (text,)


def another_delimiter(columns: Collection[str], name: str) -> str | None:
    """What to say where a whole line of headings became one column."""
    for mark, spelled in ((";", '";"'), ("\t", '"\\t"'), ("|", '"|"'), (",", '","')):
        if any(name in column.split(mark) for column in columns):
            return f"its columns are separated by {spelled}: say delimiter: {spelled} in the layout"
    return None


@dataclass(frozen=True)
class LayoutRow:
    """Named fields, and where they stood. `lost` names a source that should have an entry for it, and has not."""

    fields: Mapping[str, Any]
    place: str
    columns: Collection[str] = ()
    lost: str | None = None

    def __getitem__(self, name: str) -> Any:
        if name not in self.fields:
            known = {*self.fields, *self.columns}
            raise DataCardError(
                f"no column {name!r}; {nearest(name, known)}", where=self.place, remedy=another_delimiter(known, name)
            )
        return self.fields[name]

    def plus(self, more: Mapping[str, Any], columns: Collection[str] = ()) -> LayoutRow:
        """The row with further fields; those that it has are not replaced."""
        known = {*self.columns, *columns} if columns else self.columns
        return replace(self, fields={**more, **self.fields}, columns=known)

    def filled(self, template: str) -> str:
        """The template with its fields."""
        return _put(template, {name: as_text(self[name]) for name in fields_of(template)})

    def files(self, template: str, inside: Inside) -> list[Path] | None:
        """What there is of the path that the template names, one or several for a glob; None where a field is empty.

        The values of fields never act as globs. A field that is a Path was written by us, outside the root.
        """
        values = {name: self[name] for name in fields_of(template)}
        if any(is_unknown(v) for v in values.values()):
            return None
        own = next(iter(values.values()), None)
        if isinstance(own, Path) and template == f"{{{next(iter(values))}}}":
            return [own]
        texts = {name: as_text(value).replace("\\", "/") for name, value in values.items()}
        if not is_glob(template):
            path = inside.path(_put(template, texts))
            return [path] if exists(path) else []
        *_, last = template.split("/")
        if is_glob(last):
            return inside.matches(_put(template, {name: escaped(text) for name, text in texts.items()}))
        found = inside.named(pattern_as_glob(template), _put(last, texts))
        expression = re.compile(_expression(template, lambda name, _: re.escape(texts[name])))
        return [path for path in found if expression.fullmatch(path.relative_to(inside.folder).as_posix())]


def _put(template: str, texts: Mapping[str, str]) -> str:
    return "".join(before + (texts[name] if name else "") for before, name, _ in pieces_of(template))


def _expression(pattern: str, field: Callable[[str, str | None], str]) -> str:
    """A path pattern as a regular expression; `field` gives that of a field, from its name and what it allows."""
    found = ""
    for before, name, allowed in pieces_of(pattern):
        found += re.escape(before).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
        found += field(name, allowed) if name is not None else ""
    return found


def is_glob(template: str) -> bool:
    """Whether the text around the fields holds a sign of a glob."""
    return any(sign in before for before, _, _ in pieces_of(template) for sign in "*?[")


class LayoutRows:
    """Every row of a layout. After the iteration, `unmatched` counts rows without their entry in a joined table, and
    `notes` says what was guessed about the tables."""

    def __init__(self, layout: Layout, inside: Inside) -> None:
        self.layout, self.inside = layout, inside
        self.unmatched: Counter[str] = Counter()
        self.notes: list[str] = []
        self._wanted = _wanted(layout)
        self._numbers = _numbers(layout)

    def __iter__(self) -> Iterator[LayoutRow]:
        joined = [(join, self._index(join)) for join in self.layout.join if join.table is not None]
        splits = self._split_lists()
        for row in self._source():
            for join, index in joined:
                row = self._with_joined(row, join, index)
            for join in self.layout.join:
                if join.file is not None:
                    row = self._with_file(row, join)
            if self.layout.run_lengths is not None:
                row = _with_mask(row, self.layout.run_lengths)
            yield self._with_split(row, splits)

    def _source(self) -> Iterator[LayoutRow]:
        layout = self.layout
        if layout.files is not None:
            yield from _found(layout.files, self.inside)
        elif layout.arrays is not None:
            yield from (LayoutRow(fields, place) for fields, place in array_files.arrays(layout.arrays, self.inside))
        else:
            yield from self._table_rows()

    def _table_rows(self) -> Iterator[LayoutRow]:
        layout = self.layout
        parts = layout.table if isinstance(layout.table, dict) else {"": str(layout.table)}
        for split, name in parts.items():
            counted = 0
            for path in self.inside.matches(name) or [self.inside.path(name)]:
                place = path.relative_to(self.inside.folder).as_posix()
                table = table_files.read_table(
                    path,
                    wanted=None if layout.embedded else self._wanted,
                    delimiter=layout.delimiter,
                    columns=layout.columns,
                    records=layout.records,
                    numbers=self._numbers,
                )
                self.notes += table.notes
                extra = {"split": split} if split else {}
                records = table.records
                if layout.embedded:
                    records = array_files.embedded(records, layout.embedded, path)
                for number, record in enumerate(records):
                    counted += 1
                    where = f"{place}, {table.place(number)}"
                    yield LayoutRow({"row": counted, **record, **extra}, where, table.columns)

    def _index(self, join: Join) -> dict[str, dict[str, Any]]:
        keys = (join.key,) if isinstance(join.key, str) else join.key or ()
        name = str(join.table)
        wanted = self._wanted | set(keys)
        index: dict[str, dict[str, Any]] = {}
        for path in self.inside.matches(name) or [self.inside.path(name)]:
            table = table_files.read_table(
                path, wanted=wanted, columns=join.columns, delimiter=join.delimiter, numbers=self._numbers
            )
            self.notes += table.notes
            for key in keys:
                if key not in table.columns:
                    raise DataCardError(f"no column {key!r}; {nearest(key, table.columns)}", where=name)
            empty = dict.fromkeys((c for c in table.columns if c in wanted), "")
            index.setdefault("", {}).update(empty)
            for record in table.records:
                for value in filter(None, (as_text(record[key]) for key in keys)):
                    if index.setdefault(value, record) != record:
                        raise DataError(f"{value!r} has two entries that differ", where=name)
        return index

    def _with_joined(self, row: LayoutRow, join: Join, index: dict[str, dict[str, Any]]) -> LayoutRow:
        value = row.filled(str(join.on))
        found = index.get(value)
        return self._joined(row, join, str(join.table), found, index[""]).plus({}, index[""])

    def _with_file(self, row: LayoutRow, join: Join) -> LayoutRow:
        """Such files have the fields that they have: what else is wanted is empty."""
        paths = row.files(str(join.file), self.inside) or []
        found = side_files.read_fields(paths[0]) if len(paths) == 1 else None
        empty = dict.fromkeys(self._wanted, "")
        return self._joined(row, join, str(join.file), None if found is None else {**empty, **found}, empty)

    def _joined(
        self, row: LayoutRow, join: Join, source: str, found: dict[str, Any] | None, empty: dict[str, Any]
    ) -> LayoutRow:
        if found is None:
            self.unmatched[source] += 1
            row = replace(row, lost=source if join.required else row.lost)
        return row.plus(empty if found is None else found)

    def _split_lists(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for split, name in self.layout.split_lists.items():
            for key in side_files.read_list(self.inside.path(name)):
                if found.setdefault(key, split) != split:
                    raise DataError(f"{key!r} is listed for {found[key]} and for {split}", where=name)
        return found

    def _with_split(self, row: LayoutRow, lists: dict[str, str]) -> LayoutRow:
        if not self.layout.split_lists:
            return row
        key = row.filled(self.layout.split_key or self.layout.case_id)
        return replace(row, fields={**row.fields, "split": lists.get(key, "")})


def _with_mask(row: LayoutRow, wanted: RunLengths) -> LayoutRow:
    text = row[wanted.column]
    mask = "" if is_unknown(text) else run_length_masks.written(as_text(text), wanted, row.place)
    return replace(row, fields={**row.fields, "mask": mask})


def _found(pattern: str, inside: Inside) -> Iterator[LayoutRow]:
    """Paths that match, and what their fields are. A field that occurs twice must be the same in both places."""
    names: list[str] = []

    def field(name: str, allowed: str | None) -> str:
        if name in names:
            return f"(?P=f{names.index(name)})"
        names.append(name)
        return f"(?P<f{len(names) - 1}>{allowed or '[^/]+?'})"

    compiled = re.compile(_expression(pattern, field))
    for path in inside.matches(pattern_as_glob(pattern)):
        relative = path.relative_to(inside.folder).as_posix()
        match = compiled.fullmatch(relative)
        if match:
            fields = {name: match.group(f"f{n}") for n, name in enumerate(names)}
            yield LayoutRow({**fields, "path": relative}, relative)


def pattern_as_glob(pattern: str) -> str:
    """A pattern with `*` for each field."""
    return "".join(before + ("*" if name else "") for before, name, _ in pieces_of(pattern))


def _wanted(layout: Layout) -> set[str]:
    """Every field that something in the layout names."""
    templates = [
        layout.case_id,
        layout.patient_id,
        layout.split_key,
        layout.turns,
        *(entry.value for entry in layout.extract),
    ]
    templates += [getattr(layout, name) for name in PLAIN if name not in ("image", "mask", "case_id", "patient_id")]
    for several in layout.images.values():
        templates += [several] if isinstance(several, str) else several
    templates += layout.masks.values()
    templates += [g.value if isinstance(g, Group) else g for g in layout.groups.values()]
    templates += [t for join in layout.join for t in (join.on, join.file)]
    found = {name for template in templates if template for name in fields_of(template)}
    found |= {c.column if isinstance(c, Class) else c for c in layout.classes.values()}
    found |= {layout.run_lengths.column} if layout.run_lengths else set()
    return found | set(layout.keep) | set(PLAIN)


def _numbers(layout: Layout) -> set[str]:
    """Fields that groups take as numbers."""
    groups = [g for g in layout.groups.values() if isinstance(g, Group) and (g.number or g.bands)]
    return {name for entry in groups for name in fields_of(entry.value)}
