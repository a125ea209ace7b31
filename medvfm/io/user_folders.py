"""The user's own folders: configuration, data, cache. Where they cannot be written, what to set is named."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from medvfm.core.errors import DataError


def config() -> Path:
    """Where roots.yaml and the key for hashes lie."""
    return Path(platformdirs.user_config_dir("medvfm"))


def data() -> Path:
    """Where the ledger of test sets lies."""
    return Path(platformdirs.user_data_dir("medvfm"))


def cache() -> Path:
    """Where prepared images and features lie: MEDVFM_CACHE, else the user's cache folder."""
    given = os.environ.get("MEDVFM_CACHE")
    return Path(given) if given else Path(platformdirs.user_cache_dir("medvfm"))


def made(folder: Path) -> Path:
    """The folder, made where it was not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as failed:
        raise DataError(
            f"this folder cannot be made: {failed.strerror}",
            where=folder,
            remedy="set XDG_CONFIG_HOME, XDG_DATA_HOME and MEDVFM_CACHE to folders that can be written",
        ) from failed
    return folder
