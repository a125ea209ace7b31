"""Download of open data sets from their publisher: resumed, checked against a checksum, then moved into place.

A file stands under its own name only when it is whole and its checksum is right; until then it is `.NAME.part` beside
it. Only https is spoken, redirections included.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from filelock import FileLock

from medvfm.core.data_card import DataCard, Download
from medvfm.core.errors import DataError, nearest
from medvfm.io.console import Console
from medvfm.io.dataset.archives import extract
from medvfm.io.dataset.safe_paths import Inside

_CHUNK = 1 << 20
_TIMEOUT_S = 60.0
_SCHEMES = ("https",)


def wanted(card: DataCard, layout: str | None) -> tuple[Download, ...]:
    """What one layout needs: its own files, and those that every layout needs."""
    own = {entry.layout for entry in card.download} - {None}
    if own and layout not in own and all(entry.layout for entry in card.download):
        raise DataError(
            f"{card.name} has a download for each of its layouts",
            remedy=f"say which by data.layout; {nearest(layout, [str(name) for name in own])}",
        )
    return tuple(entry for entry in card.download if entry.layout in (None, layout))


def fetch(
    card: DataCard,
    folder: Path,
    console: Console,
    *,
    layout: str | None = None,
    schemes: Sequence[str] = _SCHEMES,
) -> Path:
    """Download the files that the card's layout needs, except those that exist; returns the folder.

    schemes  of addresses that are followed; anything but https is for tests on the machine itself.
    Raises DataError offline, for a file that is not the publisher's, and for a transfer that stopped (go on by asking
    again).
    """
    entries = wanted(card, layout)
    inside = Inside(folder)
    if all(_is_there(entry, inside) for entry in entries):
        return folder
    missing = [entry.url for entry in entries if not _is_there(entry, inside) and not inside.path(entry.file).is_file()]
    if missing and _offline():
        raise DataError(
            f"the data of {card.name} are not here, and HF_HUB_OFFLINE forbids to fetch them",
            remedy=f"get {', '.join(missing)} on another machine and put the files into {folder}, "
            f"or say where they lie: `medvfm data root {card.name} DIR`",
        )
    folder.mkdir(parents=True, exist_ok=True)
    licence = f", {card.licence.name}" if card.licence else ""
    console.say(f"fetching {card.title} (once{licence})")
    with FileLock(folder / ".lock"):
        for entry in entries:
            if not _is_there(entry, inside):
                _fetch_one(entry, inside, console, schemes)
    return folder


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")


def _is_there(entry: Download, inside: Inside) -> bool:
    path = inside.path(entry.file)
    return _mark(path).is_file() if entry.unpack else path.is_file()


def _mark(path: Path) -> Path:
    """Says that an archive is unpacked, since it is removed then."""
    return path.with_name(f".{path.name}.unpacked")


def _fetch_one(entry: Download, inside: Inside, console: Console, schemes: Sequence[str]) -> None:
    path = inside.path(entry.file)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        part = path.with_name(f".{path.name}.part")
        _transfer(entry.url, part, console, schemes)
        _verify(entry, part)
        part.replace(path)
    else:  # an archive that was brought by hand, or whose unpacking stopped
        _verify(entry, path)
    if entry.unpack:
        console.say(f"  unpacking {entry.file}")
        extract(path, inside.folder)
        _mark(path).touch()
        path.unlink()


def _transfer(url: str, part: Path, console: Console, schemes: Sequence[str]) -> None:
    """Download to `part`, resuming after the bytes that it holds where the server supports ranges."""
    have = part.stat().st_size if part.is_file() else 0
    try:
        with _opened(url, have, schemes) as answer:
            begins = _begins(answer, have)
            size = answer.headers.get("Content-Length")
            whole = begins + int(size) if size else None
            with part.open("r+b" if begins else "wb") as out:
                out.seek(begins)
                label = f"{part.name.removeprefix('.').removesuffix('.part')} (MiB)"
                chunks = -(-(whole - begins) // _CHUNK) if whole else 0
                for chunk in console.track(_chunks(answer), chunks, label):
                    out.write(chunk)
                done = out.tell()
    except urllib.error.HTTPError as refused:
        if refused.code == 416 and have:
            if refused.headers.get("Content-Range") == f"bytes */{have}":
                return None  # whole already
            part.unlink()  # no beginning of what the server has
            return _transfer(url, part, console, schemes)
        raise DataError(f"the server answers {refused.code} {refused.reason}", where=url) from refused
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, OSError) as failed:
        reason = getattr(failed, "reason", None) or failed
        raise DataError(
            f"the transfer stopped ({reason})", where=url, remedy="run the same command again to resume"
        ) from failed
    if whole is not None and done != whole:
        raise DataError(f"{done:,} of {whole:,} bytes came", where=url, remedy="run the same command again to resume")
    return None


def _chunks(answer: IO[bytes]) -> Iterator[bytes]:
    while chunk := answer.read(_CHUNK):
        yield chunk


def _begins(answer: Any, have: int) -> int:
    """Where the answer's first byte belongs: a server that cannot go on sends the file from its beginning."""
    if answer.status != 206:
        return 0
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
    if found is None or int(found.group(1)) != have:
        raise DataError("the server sent another part of the file than was requested", where=answer.url)
    return have


class _SameSchemes(urllib.request.HTTPRedirectHandler):
    def __init__(self, schemes: Sequence[str]) -> None:
        self._schemes = schemes

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # as the base class names them
        _refuse_scheme(newurl, self._schemes)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _refuse_scheme(url: str, schemes: Sequence[str]) -> None:
    if url.split("://")[0].lower() not in schemes:
        raise DataError("only https addresses are fetched", where=url)


def _opened(url: str, have: int, schemes: Sequence[str]) -> Any:
    _refuse_scheme(url, schemes)
    request = urllib.request.Request(url, headers={"User-Agent": "medvfm", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    return urllib.request.build_opener(_SameSchemes(schemes)).open(request, timeout=_TIMEOUT_S)


def _verify(entry: Download, path: Path) -> None:
    """A file that is not what the publisher said is removed."""
    kind, expected = ("sha256", entry.sha256) if entry.sha256 else ("md5", entry.md5)
    if expected is None:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, kind).hexdigest()
    if found != expected:
        path.unlink()
        raise DataError(
            f"its {kind} is {found}, and the card says {expected}",
            where=entry.url,
            remedy="it was removed: fetch it again, or ask the publisher whether it changed",
        )
