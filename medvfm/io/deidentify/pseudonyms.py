"""Pseudonyms, new UIDs and date shifts from one secret key: equal for equal values, useless without the key."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import re
import uuid
from pathlib import Path

from medvfm.core.errors import DataError
from medvfm.io import patient_hashes

_SHIFT_DAYS = (365, 3650)  # back in time; never so little that a shifted date could be the true one
_DATE = re.compile(r"(\d{4})(\d{2})?(\d{2})?(.*)", re.DOTALL)
_OLD_DATE = re.compile(r"(\d{4})\.(\d{2})\.(\d{2})")  # ACR-NEMA 2.0, still met
_SHORTEST_KEY = 16


def read_key(path: Path | None) -> bytes:
    """The key in this file, or the one of this installation."""
    if path is None:
        return patient_hashes.installation_key()
    remedy = 'make one with: python -c "import secrets; print(secrets.token_hex(32))" > FILE'
    try:
        found = path.read_bytes().strip()
    except OSError as failed:
        raise DataError(f"the key cannot be read: {failed.strerror}", where=path, remedy=remedy) from failed
    if len(found) < _SHORTEST_KEY:
        raise DataError(
            f"a key of {len(found)} bytes can be guessed; {_SHORTEST_KEY} at least", where=path, remedy=remedy
        )
    return found


class Pseudonymizer:
    """What one key makes of identifiers (HMAC-SHA256), each kind in a domain of its own so that none can be matched."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def _digest(self, domain: str, value: str) -> bytes:
        return hmac.new(self._key, f"medvfm deidentify {domain}\0{value}".encode(), hashlib.sha256).digest()

    def pseudonym(self, domain: str, value: str, digits: int = 12) -> str:
        """P and hexadecimal digits in capitals: 13 characters fit every string representation of DICOM."""
        return "P" + self._digest(domain, value).hex()[:digits].upper()

    def uid(self, old: str) -> str:
        """A new UID under 2.25 (PS3.5, B.2: a UUID as one decimal number)."""
        return f"2.25.{uuid.UUID(bytes=self._digest('uid', old.strip())[:16], version=4).int}"

    def shift_days(self, patient: str) -> int:
        """How far this patient's dates move: whole days back, at least a year, so that intervals stay."""
        least, most = _SHIFT_DAYS
        return -(least + int.from_bytes(self._digest("days", patient)[:8], "big") % (most - least + 1))


def shift(value: str, days: int) -> str | None:
    """A DA or DT value moved by whole days, its precision and time of day kept; None where it is no date.

    A value without a day (YYYY, YYYYMM) is moved as the first of its year or month.
    """
    text = _OLD_DATE.sub(r"\1\2\3", value.strip())
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    year, month, day, rest = found.groups()
    if rest and (day is None or re.fullmatch(r"\d{0,6}(\.\d{1,6})?([+-]\d{4})?", rest) is None):
        return None
    try:
        moved = datetime.date(int(year), int(month or 1), int(day or 1)) + datetime.timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    text = f"{moved.year:04d}{moved.month:02d}{moved.day:02d}"
    return text[: 8 if day else 6 if month else 4] + rest
