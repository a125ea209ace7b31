"""What --resume needs: the state of training at the end of an epoch, moved into place whole."""

from __future__ import annotations

import os
import pickle
import shutil
import zipfile
from pathlib import Path

import torch

from medvfm.core.errors import RunError
from medvfm.core.protocols import Record

NAME = "last.pt"


def save(folder: Path, state: Record) -> None:
    """Replace the checkpoint; a kill at any moment leaves the old one or the new one."""
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".{NAME}.{os.getpid()}"
    with beside.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(folder / NAME)


def exists(folder: Path) -> bool:
    """Some training is on the disk: of this fit, of a fold or of a baseline below it."""
    return any(folder.rglob(NAME))


def load(folder: Path) -> Record | None:
    """The checkpoint, or None where there is none."""
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("not the container that torch writes")
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError) as broken:
        raise RunError("the checkpoint is damaged", where=path, remedy="delete it to start afresh") from broken


def remove(folder: Path) -> None:
    """The run is complete: what --resume needs is not needed any more."""
    shutil.rmtree(folder, ignore_errors=True)
