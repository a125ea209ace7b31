"""Unpacking of downloaded archives, with the names that they give, and only below one folder.

Zip, tar (packed or not) and single gzip files. Links, devices, encrypted members and names that lead out are refused,
and so is what would not fit on the disk: sizes are counted while bytes come out, whatever the archive's table says.
"""

from __future__ import annotations

import gzip
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from medvfm.core.errors import DataError
from medvfm.io.dataset.safe_paths import Inside
from medvfm.io.formats import zip_archive

_KEEP_FREE = 1 << 28  # bytes of the disk that an archive may not take
_LITTER = ("__MACOSX", ".DS_Store")
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, NotImplementedError, OSError, ValueError)
_Member = tuple[str, IO[bytes]]


def extract(archive: Path, folder: Path) -> list[Path]:
    """Unpack an archive below `folder`, all files or none; existing files are replaced. Returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=folder))
    try:
        made = _all_members(archive, Inside(staging))
        target = Inside(folder)
        placed = [target.path(path.relative_to(staging).as_posix()) for path in made]
        for path, place in zip(made, placed, strict=True):
            place.parent.mkdir(parents=True, exist_ok=True)
            path.replace(place)
        return placed
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _all_members(archive: Path, inside: Inside) -> list[Path]:
    left = shutil.disk_usage(inside.folder).free - _KEEP_FREE
    made = []
    try:
        with _members(archive) as members:
            for name, stream in members:
                path = inside.path(name)
                path.parent.mkdir(parents=True, exist_ok=True)
                left -= zip_archive.copy_counted(stream, path, left)
                made.append(path)
    except zip_archive.TooManyBytes:
        raise DataError("not enough free disk space to unpack it", where=archive.name) from None
    except _BROKEN as broken:
        raise DataError(f"not readable as an archive ({broken})", where=archive.name) from broken
    if not made:
        raise DataError("an archive without files", where=archive.name)
    return made


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[_Member]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            yield _of_zip(packed, archive)
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as packed_tar:
            yield _of_tar(packed_tar, archive)
    elif archive.suffix == ".gz":
        with gzip.open(archive) as single:
            yield iter([(archive.name.removesuffix(".gz"), single)])  # type: ignore[list-item]
    else:
        raise DataError("neither a zip, nor a tar, nor a gzip file", where=archive.name)


def _of_zip(packed: zipfile.ZipFile, archive: Path) -> Iterator[_Member]:
    for member in packed.infolist():
        if member.is_dir() or _is_litter(member.filename):
            continue
        if zip_archive.is_link(member):
            raise DataError(f"the archive holds a link, {member.filename!r}", where=archive.name)
        if zip_archive.is_encrypted(member):
            raise DataError("the archive is encrypted", where=archive.name)
        with packed.open(member) as stream:
            yield member.filename, stream


def _of_tar(packed: tarfile.TarFile, archive: Path) -> Iterator[_Member]:
    for member in packed:
        if member.isdir() or _is_litter(member.name):
            continue
        stream = packed.extractfile(member) if member.isreg() else None
        if stream is None:
            raise DataError(f"the archive holds a link or a device, {member.name!r}", where=archive.name)
        with closing(stream):
            yield member.name, stream


def _is_litter(name: str) -> bool:
    first, last = name.split("/", 1)[0], name.rsplit("/", 1)[-1]
    return first in _LITTER or last in _LITTER or last.startswith("._")
