"""Identifying values of a patient, taken out of free text, and looked for in what is about to be written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property

MARK = "***"
_SHORTEST_WORD, _SHORTEST_VALUE = 3, 4
_INSIDE = 6  # from this length on a value is found inside longer words too
_SHORTEST_NUMBER = 7  # shorter numbers occur by chance among spacings and counts
_CODECS = ("utf-8", "latin-1", "utf-16-le", "utf-16-be")
_COMMON_WORDS = (
    "dr doctor doktor prof professor med md phd mrs miss herr frau sir the and der die das von van del unknown"
    " none null name anonymous anonymized anonymised patient phantom test hospital clinic"
)
_COMMON = frozenset(_COMMON_WORDS.split())
# Free text: dates, times, long numbers, addresses, telephone numbers, and names that a title introduces.
_PATTERNS = [
    re.compile(p, re.IGNORECASE)
    for p in (
        r"\b[\w.+-]+@[\w-]+\.[\w.-]+",
        r"\b(?:https?://|www\.)\S+",
        r"\b\d{1,4}[./-]\d{1,2}[./-]\d{1,4}\b",
        r"\b\d{1,2}(?:st|nd|rd|th)?\.?\s*(?:of\s+)?(?:jan|feb|m[aä]r|apr|ma[iy]|jun|jul|aug|sep|o[ck]t|nov|de[cz])[a-zä]*\.?,?\s*\d{2,4}\b",
        r"\b(?:jan|feb|m[aä]r|apr|ma[iy]|jun|jul|aug|sep|o[ck]t|nov|de[cz])[a-zä]*\.?\s+\d{1,2}(?:st|nd|rd|th)?,?\s+\d{2,4}\b",
        r"(?<![\d.])\+?\d[\d ()/-]{4,}\d(?!\.?\d)",
    )
]
_UID = re.compile(r"\b(?!1\.2\.840\.10008\.)\d+(?:\.\d+){5,}")
_TITLED = re.compile(
    r"\b((?i:dr|prof|mr|mrs|ms|miss|doctor|professor|doktor|herr|frau|signed by|dictated by)\b\.?"
    r"(?:\s*(?i:med|dr)\.)*\s+)"
    r"[A-ZÄÖÜÉÈ][\w'’-]*(?:[ ,]+[A-ZÄÖÜÉÈ][\w'’.-]*){0,2}"
)


class Secrets:
    """Values that must not be left: names and their words, identifiers and the numbers in them."""

    def __init__(self, names: Iterable[str] = (), values: Iterable[str] = ()) -> None:
        self.values: set[str] = set()
        for name in (group for value in names for group in value.split("=")):  # alphabetic, ideographic, phonetic
            self._add(name)
            for word in re.split(r"[\^\s,.()]+", name):
                if word.casefold() not in _COMMON:
                    self._add(word, _SHORTEST_WORD)
        for value in values:
            self._add(value)
            for number in re.findall(r"\d+", value):
                self._add(number, _SHORTEST_NUMBER)

    def _add(self, value: str, shortest: int = _SHORTEST_VALUE) -> None:
        value = value.strip().strip("\0^=").strip()
        if len(value) >= shortest and value.casefold() not in _COMMON:
            self.values.add(value)

    def update(self, other: Secrets) -> None:
        """Add what another file of the same patient knows."""
        if not other.values <= self.values:
            self.values |= other.values
            self.__dict__.pop("_pattern", None)

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        parts = [_bounded(r"[\s^]+".join(map(re.escape, re.split(r"[\s^]+", v))), v) for v in self._longest_first()]
        return re.compile("|".join(parts), re.IGNORECASE) if parts else None

    def _longest_first(self) -> list[str]:
        return sorted(self.values, key=lambda v: (-len(v), v))

    def scrub(self, text: str) -> str:
        """The text with every identifying value and every UID replaced."""
        text = _UID.sub(MARK, text)
        return self._pattern.sub(MARK, text) if self._pattern else text

    def scrub_prose(self, text: str) -> str:
        """As scrub, and without dates, long numbers, addresses and names after a title: more than the header knows."""
        for pattern in _PATTERNS:
            text = pattern.sub(MARK, text)
        return self.scrub(_TITLED.sub(rf"\g<1>{MARK}", text))

    def left_in(self, raw: bytes, allowed: Iterable[str] = (), shortest: int = _SHORTEST_VALUE) -> bool:
        """Whether these bytes hold an identifying value in any usual encoding; `allowed` values may stand there.

        Numbers count from seven digits on and words from six letters on: shorter ones stand there by chance.
        """
        exempt, raw = set(allowed), raw.upper()
        kept = [v for v in self.values if v not in exempt and len(v) >= (_SHORTEST_NUMBER if v.isdigit() else shortest)]
        for value in (v for v in kept if len(v) >= _INSIDE or not v.isalpha()):
            spelled = (value, value.upper(), value.lower())  # bytes know the case of ASCII letters only
            for form in {s.encode(codec, "ignore").upper() for codec in _CODECS for s in spelled}:
                alone = rb"(?<![\d.])" + re.escape(form) + rb"(?![\d.])" if form.isdigit() else re.escape(form)
                if len(form) >= shortest and form in raw and re.search(alone, raw):
                    return True
        return False


def _bounded(pattern: str, value: str) -> str:
    """Short words count as whole words only, and numbers only as whole numbers."""
    if value.isdigit():
        return rf"(?<![\d.]){pattern}(?!\d|\.\d)"
    return pattern if len(value) >= _INSIDE else rf"(?<!\w){pattern}(?!\w)"
