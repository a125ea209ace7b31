"""Names of files made from names of cases and structures, whatever script they are written in: the only place."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

_BYTES = 120  # of a stem; file systems allow 255 of a name, and endings and a structure's name follow
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # devices on Windows, with any ending


def stems(names: Iterable[str]) -> dict[str, str]:
    """Each name to the part of a file's name before its ending; no two are alike, on a disk that ignores case either.

    Letters and digits of any script stay, and so do dot, dash and underscore; everything else becomes `_`. A name that
    had to be changed or cut, or that another name is mistaken for, ends with eight digits of its SHA-256, so that the
    result for a name does not depend on the order of the others.
    """
    unique = list(dict.fromkeys(names))
    shown = {name: _readable(name) for name in unique}
    alike = Counter(_folded(stem) for stem in shown.values())
    plain = {name for name, stem in shown.items() if stem == name and alike[_folded(stem)] == 1}
    for digits in (8, 16, 64):  # a name may look like another with its digits
        found = {name: stem if name in plain else _with_digits(stem, name, digits) for name, stem in shown.items()}
        if len({_folded(stem) for stem in found.values()}) == len(found):
            break
    return found


def stem(name: str) -> str:
    """The stem of a name that stands alone."""
    return stems([name])[name]


def _with_digits(stem: str, name: str, digits: int) -> str:
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:digits]
    return f"{_cut(stem, _BYTES - 1 - digits)}-{digest}"


def _readable(name: str) -> str:
    plain = unicodedata.normalize("NFC", name.encode(errors="replace").decode())
    kept = "".join(c if c.isalnum() or unicodedata.category(c)[0] == "M" or c in "._-" else "_" for c in plain)
    kept = _cut(re.sub(r"_{2,}", "_", kept) if kept != plain else kept, _BYTES).strip("._").lstrip("-") or "case"
    return f"{kept}_" if _RESERVED.fullmatch(kept) else kept


def _folded(stem: str) -> str:
    """What a disk that ignores case, width and accents' encoding takes a name for."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", stem).casefold())


def _cut(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8, whole characters."""
    return text.encode()[:limit].decode(errors="ignore")
