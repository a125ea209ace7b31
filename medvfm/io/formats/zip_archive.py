"""A zip archive unpacked into a folder of its own for as long as it is read.

No name from the archive is used: members become 000000, 000001, ... (with .dcm behind it where they are named so),
since what they are is told by their content. So nothing can be written outside. Sizes are counted while bytes come out,
whatever the archive's table says.
"""

from __future__ import annotations

import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medvfm.core.errors import UnreadableImage
from medvfm.io.dicom.dictionary import DICOM_SUFFIXES
from medvfm.io.formats import bounded_read

_MEMBERS_MOST = 100_000
_CHUNK = 1 << 20
_NOT_IMAGES = ("__MACOSX/", ".DS_Store", "Thumbs.db")


@contextmanager
def unpacked(path: str | Path, *, limit_gib: float = 4.0) -> Iterator[Path]:
    """The single file of the archive, or a folder with all of its files; both vanish afterwards."""
    path = Path(path)
    with tempfile.TemporaryDirectory(prefix="medvfm-zip-") as folder:
        try:
            made = _unpack(path, Path(folder), limit_gib)
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


def _unpack(path: Path, folder: Path, limit_gib: float) -> list[Path]:
    made: list[Path] = []
    left = int(limit_gib * bounded_read.GIB)
    with zipfile.ZipFile(path) as archive:
        members = [m for m in archive.infolist() if not m.is_dir() and not _is_litter(m.filename)]
        if not members or len(members) > _MEMBERS_MOST:
            what = f"{len(members):,} files in the archive; 1 to {_MEMBERS_MOST:,} are read"
            raise UnreadableImage(what, where=path)
        bounded_read.refuse_larger(sum(m.file_size for m in members), limit_gib, path)
        for number, member in enumerate(members):
            if stat.S_ISLNK(member.external_attr >> 16):
                raise UnreadableImage("the archive holds a link", where=path)
            if member.flag_bits & 1:
                raise UnreadableImage("the archive is encrypted", where=path, remedy="unpack it first")
            made.append(folder / f"{number:06d}{_suffix(member.filename)}")
            left -= _copy(archive, member, made[-1], left, limit_gib, path)
    return made


def _copy(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, left: int, limit_gib: float, path: Path
) -> int:
    done = 0
    with archive.open(member) as source, target.open("xb") as out:
        while chunk := source.read(_CHUNK):
            if done == 0 and chunk[:4] == b"PK\x03\x04":
                raise UnreadableImage("an archive inside the archive", where=path, remedy="unpack it first")
            done += len(chunk)
            if done > left:
                bounded_read.refuse_larger(int(limit_gib * bounded_read.GIB) + 1, limit_gib, path)
            out.write(chunk)
    return done


def _suffix(name: str) -> str:
    """What a file is told to be that may be nothing any more: an empty `.dcm` is a slice that was lost."""
    last = name.rsplit("/", 1)[-1].lower()
    return ".dcm" if last.endswith(DICOM_SUFFIXES) and not last.startswith(".") else ""


def _is_litter(name: str) -> bool:
    return name.startswith(_NOT_IMAGES[0]) or name.rsplit("/", 1)[-1] in _NOT_IMAGES[1:]
