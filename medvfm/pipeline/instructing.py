"""Instruction data from the captions and labels of a card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medvfm import lookup
from medvfm.core.errors import DataError
from medvfm.io.console import Console
from medvfm.io.dataset import cases as tables
from medvfm.io.dataset import instruction_data, instruction_server, roots
from medvfm.io.dataset.instruction_server import Server


def write(
    card: str,
    out: Path,
    *,
    root: str | None = None,
    layout: str | None = None,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    server: Server | None = None,
    console: Console | None = None,
) -> Counter[str]:
    """Write the samples of a card as LLaVA's JSON; how many there are of each kind.

    Training, validation and test cases are all written: a run that trains on them sets `split.leaks: drop`, or names
    another card for its test. A `server`, which must be named, is asked in place of the templates.
    """
    found = lookup.card(card)
    if out.suffix != ".json":
        raise DataError("instruction data are written as JSON", where=out, remedy="name a file that ends in .json")
    given, beside = dict(options or {}), lookup.beside(card)
    console = console or Console()
    folder = roots.locate(found, root, given, console, layout=layout, beside=beside)
    table = tables.read_cases(found, folder, layout=layout)
    if server is None:
        made = instruction_data.samples(found, table.cases, Path(folder), seed)
    else:
        made = instruction_server.samples(found, table.cases, Path(folder), server, out, console)
    instruction_data.write(out, made)
    if server is not None:
        instruction_server.done(out)
    return Counter(sample["kind"] for sample in made)
