"""Run the benchmarks that are named, or all, and print a table: python -m tests.benchmarks [NAME ...] [--json FILE]."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import tempfile
import warnings
from pathlib import Path

from tests.benchmarks.measure import Row

NAMES = (
    "dicom_series",
    "nifti_gz",
    "header_index",
    "index_cores",
    "inputs_224",
    "linear_probe",
    "set_distances",
    "ranks",
    "surfaces",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(NAMES)}; all without one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the rows as JSON")
    given = parser.parse_args()
    unknown = sorted(set(given.names) - set(NAMES))
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; one of: {', '.join(NAMES)}")
    warnings.filterwarnings("ignore", module="monai")
    found: list[Row] = []
    for name in given.names or NAMES:
        with tempfile.TemporaryDirectory() as folder:
            for row in importlib.import_module(f"tests.benchmarks.{name}").rows(Path(folder)):
                found.append(row)
                print(_line(row), flush=True)
    if given.json is not None:
        given.json.write_text(
            json.dumps({"machine": _machine(), "rows": [r.as_data() for r in found]}, indent=1) + "\n"
        )
    return 0 if all(row.equal for row in found) else 1


def _line(row: Row) -> str:
    goal = "" if row.goal is None else f" (goal {row.goal:g})"
    share = "" if row.share_of_limit is None else f", {100 * row.share_of_limit:.0f}% of the limit"
    outputs = "" if row.equal else ", OUTPUTS DIFFER"
    times = f"{1000 * row.medvfm:,.0f} ms, {row.peer_name} {1000 * row.peer:,.0f} ms"
    return f"{row.name:<14} {row.ratio:5.1f} x{goal}: {times}{share}{outputs}"


def _machine() -> dict[str, object]:
    """In words that name no machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cores": cores, "system": f"{platform.system()} {platform.machine()}", "python": sys.version.split()[0]}


if __name__ == "__main__":
    sys.exit(main())
