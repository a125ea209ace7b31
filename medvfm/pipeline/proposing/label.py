"""Which column is the label and what its values mean, as classes of a card."""

from __future__ import annotations

from collections.abc import Sequence

from medvfm.core.errors import DataError, nearest
from medvfm.core.plurals import plural, some
from medvfm.pipeline.proposing import columns as roles
from medvfm.pipeline.proposing.found import Ask, Column, Proposal, Told, unclear

LEAST_CASES = 2  # of a class


def put(proposal: Proposal, columns: Sequence[Column], rows: int, told: Told, ask: Ask, where: str) -> None:
    """Classes and kind of the proposal, from the columns that may be labels."""
    if told.label is not None:
        chosen = [_named(name.strip(), columns) for name in told.label.split(",")]
    else:
        chosen = _chosen(columns, rows, ask, where)
    if len(chosen) > 1:
        wrong = [c.name for c in chosen if not roles.is_yes_or_no(c)]
        if wrong:
            raise unclear(
                f"several labels, and {some(wrong)} is not a yes or no", "say --label COLUMN, one of them", where
            )
        for column in chosen:
            _yes_or_no(proposal, column)
        proposal.kind = "multi_label"
    elif roles.is_yes_or_no(chosen[0]):
        _yes_or_no(proposal, chosen[0])
    else:
        _values(proposal, chosen[0])
    for column in chosen:
        if column.empty:
            proposal.note("classes", f"{column.name} is empty in {plural(column.empty, 'row')}: unknown, not used")


def _named(name: str, columns: Sequence[Column]) -> Column:
    found = next((c for c in columns if c.name == name), None)
    if found is None or not found.usable or len(found.counts) < 2:
        reason = f"no column {name!r}" if found is None else f"the column {name!r} has not two values"
        raise DataError(f"{reason}; {nearest(name, [c.name for c in columns])}", where="--label")
    return found


def _chosen(columns: Sequence[Column], rows: int, ask: Ask, where: str) -> list[Column]:
    """The one column that may be the label, or several of yes and no whose names say that they are labels."""
    able = roles.labels(columns, rows)
    if len(able) == 1:
        return able
    names = [c.name for c in able or columns]
    answer = ask("Which column is the label?", names)
    if answer is not None:
        return [_named(answer, columns)]
    if not able:
        raise unclear(
            "no column looks like a label (a few values, such as yes and no)",
            f"say --label COLUMN, one of: {', '.join(names)}",
            where,
        )
    several = f"{len(able)} columns may be the label: {', '.join(names)}"
    raise unclear(several, "say --label COLUMN, or --label A,B of several findings", where)


def _yes_or_no(proposal: Proposal, column: Column) -> None:
    by_meaning: dict[str, list[str]] = {"positive": [], "negative": [], "uncertain": []}
    for value in column.counts:
        meaning = "positive" if value.lower() in roles.YES else "negative" if value.lower() in roles.NO else "uncertain"
        by_meaning[meaning].append(value)
    name = roles.plain_name(column.name)
    proposal.classes[name] = {"column": column.name} | {k: v for k, v in by_meaning.items() if v}
    counted = ", ".join(f"{value}: {count}" for value, count in column.counts.items())
    proposal.note("classes", f"{name} from the column {column.name} ({counted})")
    if by_meaning["uncertain"]:
        proposal.note("classes", "the card's key `uncertain` says what an uncertain label becomes: ignore, zero or one")


def _values(proposal: Proposal, column: Column) -> None:
    """Each value a class, of which a case has one."""
    values = sorted(column.counts)
    names = [roles.plain_name(v, "value") for v in values]
    if len(set(names)) < len(names) or any(name.isdigit() for name in names):
        names = [f"{roles.plain_name(column.name)}_{name}" for name in names]
    if len(set(names)) < len(names):
        raise unclear(f"values of {column.name} differ in signs alone: {some(values)}", "give each a name of its own")
    for name, value in zip(names, values, strict=True):
        proposal.classes[name] = {"column": column.name, "positive": [value], "other": "negative"}
    proposal.kind = "multi_class"
    counted = ", ".join(f"{value}: {column.counts[value]}" for value in values)
    proposal.note("classes", f"the values of the column {column.name} ({counted})")
    if rare := [value for value in values if column.counts[value] < LEAST_CASES]:
        proposal.note("classes", f"too few to be learned: {some(rare)}; `keep` leaves rows out")
    if roles.is_number(column):
        proposal.note("classes", "if these numbers have an order, say kind: ordinal in the recipe, classes low to high")
