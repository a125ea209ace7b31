"""Counts evaluations on a card's test set on this machine, to expose adaptive overfitting."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from filelock import FileLock

from medvfm.io import user_folders
from medvfm.io.run_directory import write_json


def _path() -> Path:
    return user_folders.data() / "test_openings.json"


def _key(card: str, task: str, classes: tuple[str, ...]) -> str:
    return hashlib.sha256(json.dumps([card, task, sorted(classes)]).encode()).hexdigest()[:16]


def open_test_set(card: str, task: str, classes: tuple[str, ...]) -> int:
    """Count one more evaluation on the test set; returns the number so far, this one included."""
    path = _path()
    user_folders.made(path.parent)
    with FileLock(path.with_suffix(".lock")):
        try:
            counts = json.loads(path.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            counts = {}
        key = _key(card, task, classes)
        counts[key] = int(counts.get(key, 0)) + 1
        write_json(path, counts)
    return counts[key]
