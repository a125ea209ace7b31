"""A patient's identity as words, from DICOM headers, and whether a text holds any of them.

Folders and files are often named after patients. A text that is to be shown is compared with the names and numbers of
every header of the tree; these are kept as keyed hashes alone, so that a progress file on disk identifies nobody.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable
from functools import cached_property, lru_cache

from medvfm.io import patient_hashes
from medvfm.io.dicom.dictionary import TAGS
from medvfm.io.dicom.header import Header

IDENTITY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "OtherPatientIDs",
    "OtherPatientNames",
    "PatientBirthName",
    "AccessionNumber",
)
_SHORTEST = 3  # shorter ones are part of every other word
_DATE = r"(?<!\d)((?:18|19|20)\d\d)(\d\d)(\d\d)(?!\d)"
_LONGEST = 1024  # bytes of a value; a longer one is no name
HEAD_BYTES = 1 << 16
Token = tuple[int, str]  # length of a plain word, and its keyed hash


def plain(text: str) -> str:
    """Letters and digits alone, in lower case: `Smith^Ann-Marie` and `smith_annmarie` agree."""
    return "".join(c for c in text.casefold() if c.isalnum())


def values_of(header: Header) -> tuple[str, ...]:
    """Identity values of a header: names, numbers, the date of birth."""
    return tuple(header.label(keyword) for keyword in IDENTITY if keyword in header)


def values_in_bytes(head: bytes) -> tuple[str, ...]:
    """The same from the first bytes of a damaged file, whose elements cannot be walked: found by their tags."""
    found = []
    for keyword in IDENTITY:
        tag, vr = TAGS[keyword]
        mark = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
        at = head.find(mark)
        while at >= 0:
            explicit = head[at + 4 : at + 6] == vr
            length = int.from_bytes(head[at + 6 : at + 8] if explicit else head[at + 4 : at + 8], "little")
            if length <= _LONGEST:
                found.append(head[at + 8 : at + 8 + length].decode("latin-1"))
            at = head.find(mark, at + 4)
    return tuple(found)


@lru_cache(1 << 12)  # the files of a patient share them
def tokens_of(values: tuple[str, ...], key: bytes) -> tuple[Token, ...]:
    """The plain words in values: each whole, its parts, and the longer numbers in it; as (length, keyed hash)."""
    words = set()
    for value in values:
        parts = [value, *re.findall(r"[^\W_]+", value), *re.findall(r"\d{4,}", value)]
        parts += [day + month + year for year, month, day in re.findall(_DATE, value)]  # as folders write it
        parts += [month + day + year for year, month, day in re.findall(_DATE, value)]
        words |= {word for word in map(plain, parts) if len(word) >= _SHORTEST}
    return tuple(sorted((len(word), _hash(word, key)) for word in words))


def _hash(word: str, key: bytes) -> str:
    return hashlib.blake2b(word.encode(errors="replace"), key=key[:64], digest_size=8).hexdigest()


class Known:
    """Identity words of all patients of a folder tree, searched for in texts."""

    def __init__(self, tokens: Iterable[Token], key: bytes) -> None:
        self._tokens, self._key = set(tokens), key
        self._seen: dict[str, bool] = {}

    @cached_property
    def _lengths(self) -> list[int]:
        return sorted({length for length, _ in self._tokens})

    def stands_in(self, text: str) -> bool:
        """Whether the text holds any word of a patient, with any characters between its letters."""
        if text not in self._seen:
            word = plain(text)
            self._seen[text] = any(
                (length, _hash(word[at : at + length], self._key)) in self._tokens
                for length in self._lengths
                for at in range(len(word) - length + 1)
            )
        return self._seen[text]

    def safe(self, text: str, separator: str) -> str:
        """The text with each part between separators that holds such a word replaced by `~` and a keyed hash."""
        parts = text.split(separator)
        return separator.join(
            f"~{patient_hashes.hashed(part, self._key, 'name')}" if self.stands_in(part) else part for part in parts
        )
