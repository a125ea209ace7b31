"""From a data card and a folder to the table of cases; every case that is left out is counted and named."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medvfm.core.case import SPLITS, Case
from medvfm.core.data_card import DataCard
from medvfm.core.errors import DataCardError, DataError, nearest
from medvfm.core.layout import Group, Layout, fields_of
from medvfm.io.dataset import table_files
from medvfm.io.dataset.conversation_turns import turns_of
from medvfm.io.dataset.labels import Labels, group
from medvfm.io.dataset.layout_rows import (
    PLAIN,
    LayoutRow,
    LayoutRows,
    another_delimiter,
    as_text,
    is_unknown,
    pattern_as_glob,
    spellings,
)
from medvfm.io.dataset.safe_paths import Inside

_NO_PATIENTS = ", or `patients: none` in the card if nothing names the patients"
_PATIENTS = re.compile(r"patient|subject|participant|person|\bpid\b|mrn", re.IGNORECASE)
_CASES = re.compile(r"^(image|file|scan|exam|accession|id)", re.IGNORECASE)
_SIDES = {"l": "L", "left": "L", "r": "R", "right": "R"}
_WORDS = ("study_id", "text", "question", "answer", "question_type", "image_id")


@dataclass
class CaseTable:
    """The cases of a card, the layout that they came from, and the cases left out with reasons.

    flow is the list of steps from the table to the cases: {step, cases, patients}, losses negative.
    """

    cases: list[Case]
    layout: str
    flow: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class _LeftOut(Exception):
    """This row is no case; step and reason say why."""

    def __init__(self, step: str, reason: str) -> None:
        self.step, self.reason = step, reason
        super().__init__(step, reason)


def find_layout(card: DataCard, root: Path, name: str | None = None) -> Layout:
    """The named layout, or the first whose files exist."""
    if name is not None:
        found = next((entry for entry in card.layouts if entry.name == name), None)
        if found is None:
            choices = nearest(name, [entry.name for entry in card.layouts])
            raise DataCardError(f"the card {card.name} has no layout {name!r}; {choices}")
        return found
    for layout in card.layouts:
        if all(any(True for _ in root.glob(pattern)) for pattern in _needed(layout)):
            return layout
    raise DataCardError(
        f"the folder has none of the layouts of {card.name}", where=root, remedy=f"they need {needed(card)}"
    )


def needed(card: DataCard) -> str:
    """What each layout of a card wants to find in its folder."""
    return "; ".join(f"{entry.name}: {', '.join(_needed(entry))}" for entry in card.layouts)


def _needed(layout: Layout) -> list[str]:
    tables = layout.table.values() if isinstance(layout.table, dict) else [layout.table]
    sources = [*tables, layout.files, layout.arrays.file if layout.arrays else None]
    return [*layout.when, *(pattern_as_glob(s) for s in sources if s)]


def read_cases(card: DataCard, root: Path, *, layout: str | None = None) -> CaseTable:
    """Every case that the card finds under `root`.

    A row whose files are missing is left out, counted and named. What concerns the whole table stops: a path that leads
    out of the root, a column that is not there, a value that the card does not name, a case_id for two cases.
    """
    if not root.is_dir():
        raise DataError("no such folder", where=root, remedy=f"`medvfm data root {card.name} DIR` says where it lies")
    chosen = find_layout(card, root, layout)
    reader = _CaseReader(card, chosen, Inside(root))
    gathered = reader.gathered()
    cases, left_out = reader.cases(gathered)
    found = CaseTable(
        cases, chosen.name, left_out=[(case_id, reason.reason) for case_id, reason in left_out if reason.reason]
    )
    found.flow = _flow(chosen, reader, gathered, dict(left_out))
    if not cases:
        first = f": {found.left_out[0][1]}" if found.left_out else ""
        raise DataError(f"none of the {len(gathered)} cases of {card.name} can be read{first}", where=root)
    found.warnings += _warnings(card, chosen, reader, cases)
    return found


def cases_from_table(table: Path, root: Path | None = None, *, images: Sequence[str] = ("image",)) -> CaseTable:
    """Cases of a table in our own column names, without a card.

    A further column that holds nothing but 0, 1, -1 and empty cells is a class, any other a group; `images` names the
    columns of image files, which lie below `root` (the table's folder).
    """
    root = root or table.parent
    found = table_files.read_table(table)
    more = [c for c in found.columns if c not in PLAIN and c not in images]
    values = {c: {as_text(record[c]) for record in found.records} for c in more}
    classes = [c for c in more if values[c] & {"0", "1"} and values[c] <= {"0", "1", "-1", ""}]
    groups: dict[str, str | Group] = {c: Group(value=f"{{{c}}}", number=c == "age") for c in more if c not in classes}
    inside = table.resolve().relative_to(root.resolve()) if table.resolve().is_relative_to(root.resolve()) else None
    if inside is None:
        raise DataError("the table does not lie in the folder of its images", where=table)
    layout = Layout(
        table=inside.as_posix(),
        images={name: f"{{{name}}}" for name in images},
        classes={c: c for c in classes},
        groups=groups,
    )
    return read_cases(DataCard(name="table", title=table.name, layouts=(layout,)), root)


class _CaseReader:
    """Rows of one layout as cases. Fields that a table has under our own names need no mention in the card."""

    def __init__(self, card: DataCard, layout: Layout, inside: Inside) -> None:
        self.card, self.layout, self.inside = card, layout, inside
        self.rows = LayoutRows(layout, inside)
        self.owners: dict[str, str] = {}  # case_id to whom it belongs, of cases that are left out too
        self.labels = Labels(layout.classes, card.uncertain)
        self._patterns = [(entry.value, re.compile(entry.pattern)) for entry in layout.extract]

    def gathered(self) -> dict[str, list[LayoutRow | _LeftOut]]:
        """The rows of each case_id."""
        found: dict[str, list[LayoutRow | _LeftOut]] = {}
        for row in self.rows:
            entry: LayoutRow | _LeftOut
            try:
                row = entry = self._extracted(row)
            except _LeftOut as reason:
                entry = reason
            case_id = self._case_id(row, entry)
            found.setdefault(case_id, []).append(entry)
        doubled = sorted(case_id for case_id, rows in found.items() if len(rows) > 1)
        if doubled and self.layout.repeated == "refuse":
            raise DataError(
                f"{len(doubled)} case_id occur more than once: {', '.join(doubled[:5])}", where=self.layout.name
            )
        return found

    def _extracted(self, row: LayoutRow) -> LayoutRow:
        """The row with its extracted fields; rows that the card does not keep are left out first."""
        late = {name for _, pattern in self._patterns for name in pattern.groupindex}
        early = {n: values for n, values in self.layout.keep.items() if n in row.fields and n not in late}
        _keep(row, early)
        if row.lost is not None:
            raise _LeftOut("no entry in a joined source", f"no entry in {row.lost}")
        for value, pattern in self._patterns:
            match = pattern.search(row.filled(value))
            if match is None:
                raise _LeftOut("pattern not found", f"the pattern {pattern.pattern!r} is not in {value}")
            row = replace(row, fields={**row.fields, **{k: v or "" for k, v in match.groupdict().items()}})
        _keep(row, {name: values for name, values in self.layout.keep.items() if name not in early})
        return row

    def _case_id(self, row: LayoutRow, entry: LayoutRow | _LeftOut) -> str:
        if isinstance(entry, LayoutRow):
            _refuse_without(entry, "case_id", self.layout.case_id, _CASES, "")
            case_id = entry.filled(self.layout.case_id)
            if is_unknown(case_id):
                raise DataError("no case_id", where=row.place)
            return case_id
        return row.place

    def cases(
        self, gathered: Mapping[str, list[LayoutRow | _LeftOut]]
    ) -> tuple[list[Case], list[tuple[str, _LeftOut]]]:
        cases, left_out = [], []
        for case_id, entries in gathered.items():
            try:
                cases.append(self._case(case_id, entries))
            except _LeftOut as reason:
                left_out.append((case_id, reason))
        return cases, left_out

    def _case(self, case_id: str, entries: list[LayoutRow | _LeftOut]) -> Case:
        rows = [entry for entry in entries if isinstance(entry, LayoutRow)]
        if not rows:
            raise next(entry for entry in entries if isinstance(entry, _LeftOut))
        row, layout = rows[0], self.layout
        patient = self._patient(case_id, row)
        self.owners[case_id] = patient or case_id
        words = {name: self._shared_word(rows, name) for name in _WORDS}
        turns = self._turns(row)
        question, answer = turns[-1] if turns else (words["question"], words["answer"])
        date, side = self._word(row, "study_date"), self._word(row, "laterality")
        return Case(
            case_id,
            patient,
            self._images(row),
            self.labels.of(rows, layout.repeated),
            self._masks(rows),
            split=self._split(case_id, row),
            study_date=re.sub(r"^(\d{4})(\d{2})(\d{2})$", r"\1-\2-\3", date) if date else None,
            laterality=_SIDES.get(side.lower(), side) if side else None,
            groups={n: value for n, entry in layout.groups.items() if (value := group(n, entry, row)) is not None},
            text=words["text"],
            question=question,
            answer=answer,
            turns=turns[:-1],
            question_type=words["question_type"],
            image_id=words["image_id"],
            study_id=words["study_id"],
        )

    def _patient(self, case_id: str, row: LayoutRow) -> str | None:
        if self.card.patients == "none":
            return None
        _refuse_without(row, "patient_id", self.layout.patient_id, _PATIENTS, _NO_PATIENTS)
        patient = row.filled(self.layout.patient_id)
        if is_unknown(patient):
            raise DataError(
                f"case {case_id} has no patient",
                where=row.place,
                remedy="every case needs one, or the card says `patients: none`",
            )
        return patient

    def _word(self, row: LayoutRow, name: str) -> str | None:
        template = getattr(self.layout, name)
        if template is None and name not in row.fields:
            return None
        value = row.filled(template if template is not None else f"{{{name}}}")
        return None if is_unknown(value) else value

    def _shared_word(self, rows: Sequence[LayoutRow], name: str) -> str | None:
        """A field of the case; one that the card does not mention is taken only where all its rows agree. A text that
        the card mentions is that of every row, each once, in their order."""
        found = dict.fromkeys(self._word(row, name) for row in rows)
        if name == "text" and self.layout.text is not None:
            return " ".join(text for text in found if text is not None) or None
        return self._word(rows[0], name) if len(found) == 1 or getattr(self.layout, name) else None

    def _turns(self, row: LayoutRow) -> tuple[tuple[str, str], ...]:
        """Of a conversation, where the layout names a field with one."""
        if self.layout.turns is None:
            return ()
        names = fields_of(self.layout.turns)
        if self.layout.turns != f"{{{names[0]}}}":
            raise DataCardError(f"turns names one field, not {self.layout.turns!r}", where=self.layout.name)
        try:
            return turns_of(row[names[0]])
        except ValueError as reason:
            raise _LeftOut("no conversation", f"{names[0]}: {reason}") from reason

    def _split(self, case_id: str, row: LayoutRow) -> str | None:
        found = self._word(row, "split")
        found = self.layout.splits.get(found, found) if found is not None else None
        if found is not None and found not in SPLITS:
            raise DataError(f"case {case_id} is of split {found!r}; one of: {', '.join(SPLITS)}", where=row.place)
        return found

    def _images(self, row: LayoutRow) -> dict[str, tuple[Path, ...]]:
        found = {}
        for role, template in self.layout.images.items():
            several = (template,) if isinstance(template, str) else template
            files = tuple(path for one in several if (path := self._file(row, one)) is not None)
            if files:
                found[role] = files
        if not found and self.layout.images:
            raise _LeftOut("files missing", "it names no image")
        return found

    def _masks(self, rows: Sequence[LayoutRow]) -> dict[str, tuple[Path, ...]]:
        """The files of each mask: several only where they can be united, from one row or from all of a case."""
        can_unite = self.card.masks.kind == "grey"
        templates = self.layout.masks or ({"mask": "{mask}"} if "mask" in rows[0].fields else {})
        found = {}
        for name, template in templates.items():
            several = [self._files(row, template, can_unite) for row in (rows if can_unite else rows[:1])]
            if files := tuple(dict.fromkeys(path for files in several for path in files)):
                found[name] = files
        return found

    def _file(self, row: LayoutRow, template: str) -> Path | None:
        return next(iter(self._files(row, template, False)), None)

    def _files(self, row: LayoutRow, template: str, can_unite: bool) -> list[Path]:
        """What the template names; nothing where a field of it is empty."""
        files = row.files(template, self.inside)
        if files is None:
            return []
        if not files:
            meant = f"; the column is written {{{template}}}" if template in row.columns else ""
            raise _LeftOut("files missing", f"no such file: {row.filled(template)}{meant}")
        if len(files) > 1 and not can_unite:
            raise _LeftOut("several files where one is expected", f"{len(files)} files match {row.filled(template)}")
        return files


def _refuse_without(row: LayoutRow, key: str, template: str, usual: re.Pattern[str], otherwise: str) -> None:
    """Name the column that the layout wants and the table has not; only columns that may be it are proposed."""
    missing = [name for name in fields_of(template) if name not in row.fields]
    if not missing:
        return
    known = sorted({*row.fields, *row.columns} - {"row"})
    likely = next((name for name in known if usual.search(name)), None)
    remedy = f"say {key}: '{{{likely or 'COLUMN'}}}' in the layout{otherwise}"
    if (other := another_delimiter(known, missing[0])) is not None:
        remedy = other
    what = f"no column {missing[0]!r} for the {key.replace('_id', '')}s; its columns are {', '.join(known)}"
    raise DataCardError(what, where=row.place, remedy=remedy)


def _keep(row: LayoutRow, wanted: Mapping[str, Sequence[Any]]) -> None:
    for name, values in wanted.items():
        if as_text(row[name]) not in [text for v in values for text in spellings(v)]:
            raise _LeftOut(f"{name} not {', '.join(map(as_text, values))}", "")


def _flow(
    layout: Layout, reader: _CaseReader, gathered: Mapping[str, object], left_out: Mapping[str, _LeftOut]
) -> list[dict[str, Any]]:
    """From the rows to the cases; a patient is lost with the last of his or her cases."""
    remaining = list(gathered)
    owners = {reader.owners[c] for c in remaining if c in reader.owners}
    flow: list[dict[str, Any]] = [
        {"step": f"in the {'folder' if layout.files else 'table'}", "cases": len(remaining), "patients": len(owners)}
    ]
    for step in dict.fromkeys(reason.step for reason in left_out.values()):
        kept = [c for c in remaining if c not in left_out or left_out[c].step != step]
        still = {reader.owners[c] for c in kept if c in reader.owners}
        flow.append({"step": step, "cases": len(kept) - len(remaining), "patients": len(still) - len(owners)})
        remaining, owners = kept, still
    return flow


def _warnings(card: DataCard, layout: Layout, reader: _CaseReader, cases: Sequence[Case]) -> Iterator[str]:
    if card.patients == "none":
        yield "The data set names no patients, so that images of one may lie in several splits."
    elif card.patients != "known":
        yield f"The data set names no patients; cases of one {card.patients} are kept together instead."
    yield from dict.fromkeys(reader.rows.notes)
    for source, count in reader.rows.unmatched.items():
        yield f"{count} rows have no entry in {source}."
    if layout.split_lists and (without := sum(c.split is None for c in cases)):
        yield f"{without} cases are in none of the lists of splits."
