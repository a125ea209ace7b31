"""Reading and atomic writing of a run directory, which holds everything that one recipe produced."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from medvfm.core import yaml_scalars
from medvfm.core.errors import RunError
from medvfm.io.atomic_write import atomic_write

FORMAT = 1
RECORD = "run.json"
RECIPE = "recipe.yaml"
CARD = "card.yaml"  # as the run read it
PREDICTIONS = "predictions.parquet"
MEASURES = "measures.parquet"  # values of single cases
FEATURES = "features.safetensors"  # arrays that numbers of sets of images are computed from


@dataclass(frozen=True)
class Run:
    """A run directory: `directory`, `record` (run.json) and `metrics` (its rows as a table)."""

    directory: Path

    @cached_property
    def record(self) -> dict[str, Any]:
        return read_record(self.directory)

    @cached_property
    def metrics(self) -> pd.DataFrame:
        return pd.DataFrame(self.record["metrics"])


def write_bytes(path: Path, content: bytes) -> None:
    """Bytes as a file that is on the disk whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with atomic_write(path, sync=True) as part:
            part.write_bytes(content)
    except OSError as failed:
        raise RunError(f"could not be written: {failed.strerror}", where=path) from failed


def write_text(path: Path, text: str) -> None:
    """UTF-8 text, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, data: Any) -> None:
    """JSON without NaN or infinity: a number that does not exist is null."""
    write_bytes(path, (json.dumps(_finite(data), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def write_yaml(path: Path, data: Any) -> None:
    """YAML with keys in their order."""
    write_bytes(path, yaml_scalars.dumped(data).encode())


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Parquet or CSV, by the file's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part:
        if path.suffix == ".parquet":
            table.to_parquet(part, index=False)
        else:
            table.to_csv(part, index=False)


def read_record(directory: Path) -> dict[str, Any]:
    """run.json of a run directory."""
    path = directory / RECORD
    if not path.is_file():
        raise RunError("not a run directory: it has no run.json", where=directory)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as broken:
        raise RunError("damaged JSON", where=path) from broken
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise RunError(f"not a record of format {FORMAT}", where=path)
    return record


def open_new(directory: Path, digest: str, *, resume: bool) -> bool:
    """Make the directory, or take one that a stopped run of the same recipe left; a finished run stays untouched. True
    where the directory was made."""
    if (directory / RECORD).exists():
        record = read_record(directory)
        if record.get("status") == "complete":
            raise RunError(
                "holds a finished run, which is never overwritten", where=directory, remedy="give another --out"
            )
        if record.get("hash") != digest:
            raise RunError("holds a run of another recipe", where=directory, remedy="give another --out")
        if not resume:
            raise RunError(
                "holds an unfinished run", where=directory, remedy="go on with --resume, or give another --out"
            )
    elif directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise RunError("exists and is not a run directory", where=directory, remedy="give another --out")
    made = not directory.exists()
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as failed:
        raise RunError(f"cannot be made: {failed.strerror}", where=directory, remedy="give another --out") from failed
    return made


def free_unfinished(directory: Path, *, made: bool) -> None:
    """Take away what a run wrote that was refused before it trained: its directory can be used again. A complete run
    stays.

    made  the run made the directory too
    """
    if (directory / RECORD).is_file() and read_record(directory).get("status") == "complete":
        return
    for path in directory.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    if made:
        directory.rmdir()
