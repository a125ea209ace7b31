"""`medvfm data index`: a folder of images as a table of series. Headers only, in parallel, and resumable.

Every file is told by its content. What is damaged is a row with its problem; what is no image and is not named like
one is passed by and counted. No link is followed. Without `identifiers` the table names nobody: patients, studies and
series are keyed hashes (equal ones stay equal, in this table and in the next; patients as in the runs of this
installation), and parts of a path that hold a name, a number or the birth date of any patient of the tree are hashes.
A name that no header states cannot be known, and stays.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from medvfm.core import cpu_count
from medvfm.core.errors import DataError
from medvfm.io import patient_hashes
from medvfm.io.console import SILENT, Console
from medvfm.io.index import file_facts, series_rows
from medvfm.io.index.file_facts import Describer, Entry
from medvfm.io.index.identity_tokens import Known
from medvfm.io.index.journal import Journal
from medvfm.io.run_directory import write_table

_ENDINGS = (".csv", ".parquet")
_CHUNK = 256  # files that one process describes before it reports
_WORTH_PROCESSES = (
    8192  # fewer are read before other processes have started: half a second each, a fifth of a ms a file
)
_LEADS_OUT = "a link that leads out of the folder, which is not followed"
_Found = tuple[str, os.stat_result]


@dataclass(frozen=True)
class Index:
    """What was done: rows of the table, and how many files it took."""

    table: Path
    rows: int
    files: int
    reread: int
    problems: int
    passed_by: int


def index(
    folder: str | Path,
    out: str | Path,
    *,
    identifiers: bool = False,
    workers: int | None = None,
    console: Console = SILENT,
) -> Index:
    """Write a table (.csv or .parquet, by its ending) with a row a series of DICOM files, or another image file.

    identifiers  patient IDs, UIDs and paths as they are
    workers      processes; one a core without it
    An interrupted call, repeated, goes on; `.NAME.progress` beside the table remembers what was read.
    """
    root, table = Path(folder), Path(out)
    if not root.is_dir():
        raise DataError("this is a file, not a folder" if root.exists() else "no such folder", where=root)
    if table.suffix not in _ENDINGS:
        raise DataError("the table's name must end in .csv or .parquet", where=table)
    key = patient_hashes.installation_key()
    journal = Journal(table.with_name(f".{table.name}.progress"), key, "plain" if identifiers else "hashed")
    found, refused = _walked(root, {table, journal.path})
    if not found and not refused:
        raise DataError("no file in it", where=root)
    missing = [(name, stat) for name, stat in found if journal.get(name, stat) is None]
    describer = Describer(key, identifiers)
    processes = 1 if len(missing) < _WORTH_PROCESSES else (workers or cpu_count.available())
    described = _described(root, missing, describer, processes, journal)
    if not missing:
        console.say(f"  every header has been read before: see {journal.path.name}")
    for _ in console.track(described, len(missing), "headers read") if missing else ():
        pass
    entries: dict[str, Entry] = {}
    for name, stat in found:
        if facts := journal.get(name, stat):
            entries[name] = file_facts.entry_of(facts, Path(name))
    entries |= {name: Entry("", problem=problem) for name, problem in refused.items()}
    known = None if identifiers else Known({t for entry in entries.values() for t in entry.tokens}, key)
    rows = series_rows.table_of(entries, known)
    try:
        write_table(table, rows)
    except OSError as failed:
        raise DataError(f"the table cannot be written: {failed.strerror}", where=table) from failed
    return Index(
        table,
        rows=len(rows),
        files=len(entries),
        reread=len(missing),
        problems=int(rows["problems"].notna().sum()),
        passed_by=len(found) + len(refused) - len(entries),
    )


def _walked(root: Path, ours: set[Path]) -> tuple[list[_Found], dict[str, str]]:
    """Regular files below the root in a fixed order; and what cannot be gone into, with the reason.

    Links are not followed: what one leads to inside of the root is found in its own place.
    """
    found: list[_Found] = []
    refused: dict[str, str] = {}
    real = root.resolve()
    own = {p.name: root / p.resolve().relative_to(real) for p in ours if p.resolve().is_relative_to(real)}
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(root / folder) as entries:
                listed = sorted(entries, key=lambda e: e.name)
        except OSError as failed:
            refused[folder.rstrip("/") or "."] = f"the folder cannot be listed ({failed.strerror})"
            continue
        for entry in listed:
            name = f"{folder}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                folders.append(f"{name}/")
            elif entry.is_symlink():
                if not _leads_inside(Path(entry.path), real):
                    refused[name] = _LEADS_OUT
            elif entry.is_file() and own.get(entry.name) != Path(entry.path):
                found.append((name, entry.stat()))
    return found, refused


def _leads_inside(link: Path, real: Path) -> bool:
    try:
        return link.resolve().is_relative_to(real)
    except (OSError, RuntimeError):  # a circle of links
        return False


def _described(
    root: Path, missing: Sequence[_Found], describer: Describer, processes: int, journal: Journal
) -> Iterator[str]:
    """Places of files whose facts are in the journal now, as they are done."""
    chunks = (missing[at : at + _CHUNK] for at in range(0, len(missing), _CHUNK))
    tasks = ((describer, root, {journal.place(name, stat): name for name, stat in chunk}) for chunk in chunks)
    for block, packed in _mapped(tasks, processes):
        journal.add(block, packed)
        yield from block


def _mapped(tasks: Iterator[file_facts.Task], processes: int) -> Iterator[file_facts.Block]:
    if processes == 1:
        yield from map(file_facts.described, tasks)
        return
    # spawned and not forked: the caller may hold threads and locks
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_quiet)
    try:
        yield from pool.map(file_facts.described, tasks)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _quiet() -> None:
    """An interruption is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
