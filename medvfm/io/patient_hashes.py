"""Keyed hashes of patient identifiers (HMAC): stable on this machine, meaningless without this machine's key."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable

from medvfm.core.errors import DataError
from medvfm.io import user_folders


def installation_key() -> bytes:
    """The secret key of this installation, generated once, readable by its user alone."""
    path = user_folders.config() / "patients.key"
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        user_folders.made(path.parent)
    made = secrets.token_bytes(32)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(made)
        os.link(beside, path)  # unlike a rename, a link never replaces a key that another process wrote meanwhile
    except FileExistsError:
        pass
    except OSError as failed:
        raise DataError(f"the key for patient hashes cannot be written: {failed.strerror}", where=path) from failed
    finally:
        beside.unlink(missing_ok=True)
    return path.read_bytes()


def hashes(patients: Iterable[str]) -> dict[str, str]:
    """Patient to a hash of 16 hexadecimal digits (HMAC-SHA256)."""
    key = installation_key()
    return {p: hashed(p, key) for p in set(patients)}


def hashed(value: str, key: bytes, kind: str = "") -> str:
    """16 hexadecimal digits (HMAC-SHA256); values of another `kind` than a patient have hashes of their own."""
    text = f"{kind}\0{value}" if kind else value
    return hmac.new(key, text.encode(errors="surrogateescape"), hashlib.sha256).hexdigest()[:16]
