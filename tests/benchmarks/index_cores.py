"""What other cores bring to an index: the same tree in one process and in one a core."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from medvfm.core import cpu_count as cores
from medvfm.io.index.folder import index
from tests.benchmarks import scans
from tests.benchmarks.measure import Row, fastest

SERIES, SLICES = 240, 100


def rows(folder: Path) -> Iterator[Row]:
    """Beside medvfm's own index in one process; without a goal, since it hangs on the cores that there are."""
    tree, small = folder / "tree", np.zeros((32, 32), np.int16)
    for series in range(SERIES):
        scans.write_ct_series(tree / f"series{series:03d}", [small] * SLICES, series)

    def table(processes: int) -> str:
        out = folder / f"{processes}.csv"
        (folder / f".{out.name}.progress").unlink(missing_ok=True)
        index(tree, out, identifiers=True, workers=processes)
        return out.read_text()

    count = cores.available()
    equal = table(count) == table(1)
    found = fastest({"medvfm": lambda: table(count), "one": lambda: table(1)}, 3)
    workload = f"{SERIES * SLICES:,} CT files to a table of series, {count} processes; tables equal"
    yield Row("index_cores", workload, "medvfm in one process", found["medvfm"], found["one"], None, equal)
