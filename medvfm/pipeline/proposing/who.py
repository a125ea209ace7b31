"""Who the patient is: a column or a part of the files' names that says so, or what the user says. Never a guess."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from medvfm.core.errors import DataError, nearest
from medvfm.core.plurals import plural, some
from medvfm.pipeline.proposing import columns as roles
from medvfm.pipeline.proposing.found import EACH_FILE, NOBODY, Ask, Column, Proposal, Told, unclear

_IN_A_NAME = r"(?:^|[/_ .-])(?P<patient>(?:pt|pat|patient|sub|subj|subject|participant|proband)[ _-]?[0-9]+)"
_ANSWERS = (
    "say --patient COLUMN; --patient 'REGEX' where the files' names hold it, as in 'case_([0-9]+)'; --patient file if "
    "no patient has two images; --patient none if nobody knows, and every report will carry a warning"
)


def of_table(proposal: Proposal, columns: Sequence[Column], records: Sequence[Mapping[str, object]], told: Told,
             ask: Ask, where: str) -> None:  # fmt: skip
    """Put the patient of a table's rows into the proposal, or refuse."""
    names = [c.name for c in columns]
    given = told.patient
    if given is None:
        known = _one(roles.patients(columns), records)
        if len(known) == 1:
            given = known[0].name
        elif len(known) > 1:
            listed = ", ".join(f"{c.name} ({plural(len(c.counts), 'value')})" for c in known)
            given = ask("Several columns may name the patient. Which one does?", [c.name for c in known])
            if given is None:
                raise unclear(f"several columns may name the patient: {listed}", "say --patient COLUMN", where)
        else:
            given = ask(
                "No column says who the patient is. Which one does? (file: no patient has two images; none: unknown)",
                [*names, EACH_FILE, NOBODY],
            )
            if given is None:
                raise unclear(
                    f"no column says who the patient is, and images of one patient in training and test make every "
                    f"number too good; its columns are {', '.join(names)}",
                    _ANSWERS,
                    where,
                )
    if given in names:
        _column(proposal, next(c for c in columns if c.name == given), where)
    else:
        _said(proposal, given, proposal.words.get("image_id", proposal.case_id), names)


def of_files(proposal: Proposal, paths: Sequence[str], told: Told, ask: Ask) -> None:
    """Put the patient of files without a table into the proposal, or refuse."""
    given = told.patient
    if given is None and all(re.search(_IN_A_NAME, path, re.IGNORECASE) for path in paths):
        match = re.search(_IN_A_NAME, paths[0], re.IGNORECASE)
        assert match is not None
        proposal.extract.append(("{path}", f"(?i){_IN_A_NAME}"))
        proposal.patient = "{patient}"
        proposal.note("patient_id", f"the part of the files' names that says so, as {match['patient']} in {paths[0]}")
        proposal.note("patient_id", "wrong if these numbers count scans: then one patient may lie in two splits")
        return
    if given is None:
        given = ask("The files' names do not say who the patient is. (file: each file is a patient of its own; none: "
                    "unknown; or a regular expression with one group, as case_([0-9]+))", [])  # fmt: skip
    if given is None:
        raise unclear(
            f"nothing says who the patient is: there is no table, and names such as {paths[0]} do not tell",
            _ANSWERS.replace("COLUMN; --patient ", ""),
        )
    _said(proposal, given, "{path}", [])
    if proposal.extract and (lost := [p for p in paths if not re.search(proposal.extract[-1][1], p)]):
        raise DataError(f"--patient {given!r} finds nothing in {some(lost)}", where="--patient")


def _one(found: list[Column], records: Sequence[Mapping[str, object]]) -> list[Column]:
    """The first of several columns that divide the rows in the same way."""
    if len(found) < 2:
        return found
    ways = {tuple(_numbered([str(record.get(c.name)) for record in records])) for c in found}
    return found[:1] if len(ways) == 1 else found


def _numbered(values: Sequence[str]) -> list[int]:
    """Each value as the place where it first stood."""
    first: dict[str, int] = {}
    return [first.setdefault(value, n) for n, value in enumerate(values)]


def _column(proposal: Proposal, column: Column, where: str) -> None:
    if column.empty:
        raise unclear(
            f"the column {column.name!r} of patients is empty in {plural(column.empty, 'row')}",
            "fill it, take these rows out, or say --patient another column",
            where,
        )
    proposal.patient = f"{{{column.name}}}"
    rows = sum(column.counts.values())
    proposal.note("patient_id", f"{plural(len(column.counts), 'patient')} in {plural(rows, 'row')}")
    if len(column.counts) == rows:
        proposal.note(
            "patient_id", "every row has one of its own: is it a patient, and not an image or an examination?"
        )


def _said(proposal: Proposal, given: str, path: str, names: Sequence[str]) -> None:
    if given == NOBODY:
        proposal.patient = NOBODY
        proposal.note("patients", "nobody knows whose images these are: every report carries a warning")
    elif given == EACH_FILE:
        proposal.patient = path
        proposal.note("patient_id", "you said that no patient has two images")
    elif "(" in given:
        proposal.extract.append((path, _pattern(given)))
        proposal.patient = "{patient}"
        proposal.note("patient_id", f"what {given} finds in the path of the image")
    else:
        choices = nearest(given, [*names, EACH_FILE, NOBODY])
        raise DataError(f"no column {given!r}; {choices}", where="--patient")


def _pattern(given: str) -> str:
    try:
        found = re.compile(given)
    except re.error as broken:
        raise DataError(f"no regular expression: {broken}", where="--patient") from None
    if "patient" in found.groupindex:
        return given
    if found.groups != 1:
        raise DataError(f"{given!r} needs one group in brackets, that finds the patient", where="--patient")
    return re.sub(r"(?<!\\)\((?!\?)", "(?P<patient>", given, count=1)
