"""Bounded reads: a stated number of bytes from a plain or gzip file, never more memory than that."""

from __future__ import annotations

import bz2
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
from isal import igzip_lib, isal_zlib

from medvfm.core.errors import UnreadableImage

GZIP_MAGIC = b"\x1f\x8b"
GIB = 2**30
_DEFLATE_MOST = 1032  # no deflate stream grows by more than this (zlib's technical notes: 1032 to 1)
_SLACK_BYTES = 4096  # padding behind the voxels that some writers leave
_CHUNK = 1 << 20


class ByteStream(Protocol):
    """What is read from: a raw file or a gzip reader."""

    def readinto(self, buffer: memoryview) -> int | None: ...


def refuse_larger(nbytes: int, limit_gib: float, where: object) -> None:
    """Refuse before memory is taken. `nbytes` is all that decoding holds at once, conversions included."""
    if nbytes > limit_gib * GIB:
        raise UnreadableImage(
            f"takes {nbytes / GIB:,.1f} GiB to decode, more than the limit of {limit_gib:g} GiB",
            where=where,
            remedy="raise limit_gib if the size is right",
        )


def refuse_short_file(path: Path, nbytes: int, *, gzipped: bool) -> None:
    """Refuse a file that is too small to hold what its header declares, again before memory is taken."""
    size = path.stat().st_size
    if size * (_DEFLATE_MOST if gzipped else 1) < nbytes:
        raise UnreadableImage(f"its header declares {nbytes:,} bytes and the file cannot hold them", where=path)


def is_gzip(path: Path) -> bool:
    """By the first two bytes, not by the name."""
    with path.open("rb") as file:
        return file.read(2) == GZIP_MAGIC


@contextmanager
def opened(path: Path, *, at: int = 0, packing: str = "auto") -> Iterator[ByteStream]:
    """The bytes of a file from byte `at` on, inflated; damage of any kind becomes UnreadableImage.

    packing  `auto` (gzip where the file begins as gzip does), `raw`, `gzip`, `zlib` or `bzip2`
    """
    try:
        if packing == "auto":
            packing = "gzip" if is_gzip(path) else "raw"
        with path.open("rb", buffering=0) as file:
            file.seek(at)
            yield _unpacked(file, packing)
    except EOFError as error:
        raise UnreadableImage(
            f"the {packing} stream ends early, or something follows it: the file is truncated or damaged", where=path
        ) from error
    except (gzip.BadGzipFile, igzip_lib.IsalError, zlib.error) as error:  # type: ignore[misc]  # its stub declares no class
        raise UnreadableImage(f"the {packing} stream is damaged ({error})", where=path) from error
    except OSError as error:
        raise UnreadableImage(f"cannot be read ({error.strerror or error})", where=path) from error


def beside(path: Path, name: str) -> Path:
    """The data file that a header names: in the header's own folder, and nowhere else."""
    if not name or name in (".", "..") or "/" in name or "\\" in name or ":" in name:
        raise UnreadableImage(
            "its header names a file of voxels in another folder", where=path, remedy="put both files in one"
        )
    other = path.with_name(name)
    if not other.is_file():
        raise UnreadableImage(f"the file of its voxels ({name}) is not beside it", where=path)
    return other


def _unpacked(file: io.FileIO, packing: str) -> ByteStream:
    if packing == "gzip":  # the raw reader inflates straight into the array that it is given; the public one copies
        return isal_zlib._GzipReader(file, _CHUNK)
    if packing == "zlib":
        return _ZlibReader(file)
    if packing == "bzip2":
        return bz2.BZ2File(file)
    assert packing == "raw", packing
    return file


class _ZlibReader:
    """A zlib stream as MetaImage has it; its Adler-32 is compared at the end."""

    def __init__(self, file: io.FileIO) -> None:
        self.file, self.inflater, self.tail = file, zlib.decompressobj(), b""

    def readinto(self, buffer: memoryview) -> int:
        while not self.inflater.eof:
            packed = self.tail or self.file.read(_CHUNK)
            out = self.inflater.decompress(packed, len(buffer))
            self.tail = self.inflater.unconsumed_tail
            if out:
                buffer[: len(out)] = out
                return len(out)
            if not packed:
                raise EOFError
        return 0


def read_up_to(stream: ByteStream, count: int) -> bytes:
    """At most `count` bytes, fewer at the end of the file."""
    buffer = bytearray(count)
    return bytes(buffer[: _fill(stream, memoryview(buffer))])


def read_array(stream: ByteStream, count: int, where: object) -> np.ndarray:
    """Exactly `count` bytes as (count,) uint8."""
    out = np.empty(count, dtype=np.uint8)
    got = _fill(stream, out.data) if count else 0
    if got < count:
        raise UnreadableImage(f"the file ends early: {got:,} bytes of {count:,} are there", where=where)
    return out


def skip(stream: ByteStream, count: int, where: object) -> None:
    """Pass over `count` bytes; gzip has to be inflated all the same, piece by piece."""
    scratch = memoryview(bytearray(min(count, _CHUNK)))
    left = count
    while left > 0:
        got = stream.readinto(scratch[: min(left, _CHUNK)]) or 0
        if not got:
            raise UnreadableImage(f"the file ends early: {left:,} bytes are missing", where=where)
        left -= got


def finish(stream: ByteStream, where: object) -> int:
    """Read to the end, so that the checksum is compared; how many bytes followed (a little padding is allowed)."""
    surplus = len(read_up_to(stream, _SLACK_BYTES + 1))
    if surplus > _SLACK_BYTES:
        raise UnreadableImage("the file continues after the voxels that its header declares", where=where)
    return surplus


def _fill(stream: ByteStream, view: memoryview) -> int:
    done = 0
    while done < len(view):
        got = stream.readinto(view[done:]) or 0
        if not got:
            break
        done += got
    return done
