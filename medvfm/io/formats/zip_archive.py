"""Zip archives unpacked safely into a temporary folder for as long as they are read; checks of members.

No name from the archive is used: members become 000000, 000001, ..., since what they are is told by their content. So
nothing can be written outside. Sizes are counted while bytes come out, whatever the archive's table says.
"""

from __future__ import annotations

import stat
import tempfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from medvfm.core.errors import UnreadableImage
from medvfm.io.formats import bounded_read

_MEMBERS_MOST = 100_000
_CHUNK = 1 << 20
_NOT_IMAGES = ("__MACOSX/", ".DS_Store", "Thumbs.db")


class TooManyBytes(Exception):
    """More bytes come out of an archive than were allowed."""


@contextmanager
def unpacked(path: str | Path, *, suffixes: Collection[str] = (), limit_gib: float = 4.0) -> Iterator[Path]:
    """The single file of the archive, or a folder with all of its files; both vanish afterwards.

    suffixes  in lower case: members whose names end so keep that suffix (an empty `.dcm` is a slice that was lost)
    """
    path = Path(path)
    with tempfile.TemporaryDirectory(prefix="medvfm-zip-") as folder:
        try:
            made = _unpack(path, Path(folder), suffixes, limit_gib)
        except (
            zipfile.BadZipFile,
            EOFError,
            ValueError,
            NotImplementedError,
            RuntimeError,
            OSError,
            zlib.error,
        ) as error:
            raise UnreadableImage(f"damaged or unsupported zip archive ({error})", where=path) from error
        yield made[0] if len(made) == 1 else Path(folder)


def is_link(member: zipfile.ZipInfo) -> bool:
    """Whether a member is a symbolic link, which may lead anywhere."""
    return stat.S_ISLNK(member.external_attr >> 16)


def is_encrypted(member: zipfile.ZipInfo) -> bool:
    """Whether a member needs a password."""
    return bool(member.flag_bits & 1)


def copy_counted(source: IO[bytes] | zipfile.ZipExtFile, target: Path, most: int) -> int:
    """The bytes of a member as a new file, counted as they come out; TooManyBytes where they are more than `most`."""
    done = 0
    with target.open("xb") as out:
        while chunk := source.read(_CHUNK):
            done += len(chunk)
            if done > most:
                raise TooManyBytes
            out.write(chunk)
    return done


def _unpack(path: Path, folder: Path, suffixes: Collection[str], limit_gib: float) -> list[Path]:
    made: list[Path] = []
    left = int(limit_gib * bounded_read.GIB)
    with zipfile.ZipFile(path) as archive:
        members = [m for m in archive.infolist() if not m.is_dir() and not _is_litter(m.filename)]
        if not members or len(members) > _MEMBERS_MOST:
            what = f"{len(members):,} files in the archive; 1 to {_MEMBERS_MOST:,} are read"
            raise UnreadableImage(what, where=path)
        bounded_read.refuse_larger(sum(m.file_size for m in members), limit_gib, path)
        for number, member in enumerate(members):
            if is_link(member):
                raise UnreadableImage("the archive holds a link", where=path)
            if is_encrypted(member):
                raise UnreadableImage("the archive is encrypted", where=path, remedy="unpack it first")
            made.append(folder / f"{number:06d}{_suffix(member.filename, suffixes)}")
            with cast(zipfile.ZipExtFile, archive.open(member)) as source:
                if source.peek(4)[:4] == b"PK\x03\x04":
                    raise UnreadableImage("an archive inside the archive", where=path, remedy="unpack it first")
                try:
                    left -= copy_counted(source, made[-1], left)
                except TooManyBytes:
                    bounded_read.refuse_larger(int(limit_gib * bounded_read.GIB) + 1, limit_gib, path)
    return made


def _suffix(name: str, suffixes: Collection[str]) -> str:
    last = name.rsplit("/", 1)[-1].lower()
    return "" if last.startswith(".") else next((s for s in suffixes if last.endswith(s)), "")


def _is_litter(name: str) -> bool:
    return name.startswith(_NOT_IMAGES[0]) or name.rsplit("/", 1)[-1] in _NOT_IMAGES[1:]
