"""Identifying values of a patient: removed from free text, and searched for in what is about to be written."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cached_property

MARK = "***"
_SHORTEST_WORD, _SHORTEST_VALUE = 3, 4
_INSIDE = 6  # from this length on a value is found inside longer words too
_SHORTEST_NUMBER = 7  # shorter numbers occur by chance among spacings and counts
_CODECS = ("utf-8", "latin-1", "utf-16-le", "utf-16-be")
_ASIAN_CODECS = ("iso2022_jp", "shift_jis", "euc_jp", "gb18030", "euc_kr")  # those of DICOM (PS3.3, C.12.1.1.2)
_ESCAPES = re.compile(rb"\x1b\$?[()]?[@-Z]")
_ASIAN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uff66-\uff9f]")
_KANJI_OR_HANGUL = re.compile(r"[\u3400-\u9fff\uac00-\ud7af]{2,}")  # most family names have two such letters or one
_WRITTEN_OUT = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "ø": "oe", "å": "aa"}
)
_BETWEEN = r"[\s^,_]"
_COMMON_WORDS = (
    "dr doctor doktor prof professor med md phd mrs miss herr frau sir the and der die das von van del unknown"
    " none null name anonymous anonymized anonymised patient phantom test hospital clinic"
)
# What a de-identifier wrote, this one too, identifies nobody.
_DUMMIES = ("removed", "19000101", "19000101000000", "000000")
_COMMON = frozenset((*_COMMON_WORDS.split(), *_DUMMIES))
_MONTH = (
    r"(?:jan|feb|f[eé]v|m[aä]r|mrt|apr|avr|abr|ma[iy]|magg|jun|jui|giu|jul|lugl|aug|ao[uû]t|agosto|sep|sett"
    r"|o[ck]t|ott|nov|de[cz]|d[eé]c|dic|genn|enero)\w*\.?"
)
# Free text: dates, times, long numbers, addresses, telephone numbers, and names that a title introduces.
_PATTERNS = [
    re.compile(p, re.IGNORECASE)
    for p in (
        r"\b[\w.+-]+@[\w-]+\.[\w.-]+",
        r"\b(?:https?://|www\.)\S+",
        r"(?<!\d)\d{1,4}[./-]\d{1,2}[./-]\d{1,4}(?!\d)",
        r"\b\d{1,2}\.\s\d{1,2}\.\s\d{2,4}\b",
        rf"\b\d{{1,2}}(?:st|nd|rd|th)?[\s./-]*(?:(?:of|de)\s+)?{_MONTH},?[\s./-]*(?:de\s+)?\d{{2,4}}\b",
        rf"\b{_MONTH}[\s/-]*\d{{1,2}}(?:st|nd|rd|th)?[,\s/-]\s*\d{{2,4}}\b",
        rf"\b{_MONTH},?[\s/-]*(?:de\s+)?(?:1[89]|20)\d\d\b",
        r"(?:\w\w)?\d{1,4}年\s*\d{1,2}月(?:\s*\d{1,2}日)?",
        r"\b(?:9\d|1[0-3]\d)[\s-]*(?:years?|yrs?|y/?o|jahre|jährig\w*)\b",  # ages over 89, as in the header
        r"\bage[d:]*\s*(?:9\d|1[0-3]\d)\b",
        r"(?<![\d.])\+?\d{2,4}(?:\.\d{2,4}){2,4}(?![\d.])",
        r"(?<![\d.])(?:\(|\+)?\d[\d ()/-]{4,}\d(?!\.?\d)",
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
            for spelled in _spellings(name):
                self._add(spelled)
                words = [w for w in re.split(r"[\^\s,.()]+", spelled) if w and w.casefold() not in _COMMON]
                if len(words) > 1:  # either may be too short to be looked for alone
                    self._add(f"{words[1]}^{words[0]}")
                    self._add(f"{words[0]}^{words[1]}")
                for word in (*words, *(part for w in words for part in w.split("-"))):
                    self._add(word, 2 if _KANJI_OR_HANGUL.fullmatch(word) else _SHORTEST_WORD)
        for value in values:
            self._add(value)
            for number in re.findall(r"\d+", value):
                self._add(number, _SHORTEST_NUMBER)

    def _add(self, value: str, shortest: int = _SHORTEST_VALUE) -> None:
        value = value.strip().strip("\0^=").strip()
        if not any(c.isalnum() for c in value):
            return
        if len(value) >= (2 if _KANJI_OR_HANGUL.search(value) else shortest) and value.casefold() not in _COMMON:
            self.values.add(value)

    def update(self, other: Secrets) -> None:
        """Add what another file of the same patient knows."""
        if not other.values <= self.values:
            self.values |= other.values
            self.__dict__.pop("_pattern", None)

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        parts = [_bounded(_joined(v), v) for v in self._longest_first()]
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
        """Whether these bytes hold an identifying value in any usual encoding; `allowed` values may occur.

        Numbers count from seven digits on and words from six letters on: shorter ones stand there by chance.
        """
        exempt, raw = set(allowed), raw.upper()
        kept = [v for v in self.values - exempt if len(v) >= _least(v, shortest)]
        for value in (v for v in kept if len(v) >= _INSIDE or not v.isalpha() or _ASIAN.search(v)):
            spelled = (value, value.upper(), value.lower())  # bytes know the case of ASCII letters only
            forms = {s.encode(codec, "ignore").upper() for codec in _CODECS for s in spelled}
            for form in forms | _asian_forms(value):
                alone = rb"(?<![\d.])" + re.escape(form) + rb"(?![\d.])" if form.isdigit() else re.escape(form)
                if len(form) >= shortest and form in raw and re.search(alone, raw):
                    return True
        return False


def _least(value: str, shortest: int) -> int:
    """How long a value must be to be looked for in bytes; among pixels, four bytes of a name occur by chance."""
    if value.isdigit():
        return _SHORTEST_NUMBER
    return 2 if shortest <= _SHORTEST_VALUE and _KANJI_OR_HANGUL.search(value) else shortest


def _spellings(name: str) -> set[str]:
    """A name as it is, without its accents, and with umlauts written out: Müller, Muller, Mueller."""
    if _ASIAN.search(name):  # taking marks off kana makes other letters of them
        return {name}
    out = name.translate(_WRITTEN_OUT)
    return {
        name,
        out,
        *("".join(c for c in unicodedata.normalize("NFKD", n) if not unicodedata.combining(c)) for n in (name, out)),
    }


def _asian_forms(value: str) -> set[bytes]:
    """The value in the multi-byte codes of Japan, China and Korea, without the escapes that switch to them."""
    if not _ASIAN.search(value):
        return set()
    found = set()
    for codec in _ASIAN_CODECS:
        try:
            found.add(_ESCAPES.sub(b"", value.encode(codec)).upper())
        except UnicodeEncodeError:
            continue
    return found


def _joined(value: str) -> str:
    """Its words in their order, with any characters between them: nothing, in names of Japan and China."""
    between = _BETWEEN + ("*" if _ASIAN.search(value) else "+")
    return between.join(re.escape(word) for word in re.split(_BETWEEN + "+", value) if word)


def _bounded(pattern: str, value: str) -> str:
    """Short words count as whole words only, and numbers only as whole numbers."""
    if value.isdigit():
        return rf"(?<![\d.]){pattern}(?!\d|\.\d)"
    if len(value) >= _INSIDE or _ASIAN.search(value):
        return pattern
    return rf"(?<![^\W_]){pattern}(?![^\W_])"
