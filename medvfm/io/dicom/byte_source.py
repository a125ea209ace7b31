"""Random access to the bytes of a DICOM file: a growing buffer, inflated piece by piece where it is deflated."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np

from medvfm.core.errors import UnreadableImage
from medvfm.io.formats.bounded_read import GIB

_FIRST = 1 << 14  # most headers fit
_CHUNK = 1 << 20
_HEADER_MOST_GIB = 0.5


class ByteSource:
    """`data` holds the file from its start as far as it was read; offsets count from the start of the file.

    A deflated data set is inflated behind the file meta information, so that offsets go on in the inflated stream.
    """

    def __init__(self, path: Path, limit_gib: float) -> None:
        self.path, self.limit_gib = path, limit_gib
        self.data = bytearray()
        self._inflater: zlib._Decompress | None = None
        self._tail = b""
        self._inflated = 0  # position in a deflated data set, which can only be read onwards
        self._file = -1
        self._open()
        self.size: int | None = os.fstat(self._file).st_size  # None where only inflating would tell
        self.data += os.pread(self._file, _FIRST, 0)

    def __enter__(self) -> ByteSource:
        if self._file < 0:
            self._open()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)
        self._file = -1

    def _open(self) -> None:
        try:
            self._file = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise UnreadableImage(f"cannot be read ({error.strerror})", where=self.path) from error

    @property
    def is_deflated(self) -> bool:
        """Whether it can only be read onwards, and not be opened again in the middle."""
        return self._inflater is not None

    def inflate_from(self, at: int) -> None:
        """What follows byte `at` is a raw deflate stream (PS3.5, A.5)."""
        self.need(at)
        del self.data[at:]
        os.lseek(self._file, at, os.SEEK_SET)
        self._inflater, self.size, self._inflated = zlib.decompressobj(-zlib.MAX_WBITS), None, at

    def inflates_within(self, most: int) -> bool:
        """Inflate the rest of a deflated file, kept nowhere: False as soon as more than `most` bytes have come."""
        while self._inflated <= most:
            if not self._more(_CHUNK):
                return True
        return False

    def need(self, end: int) -> bool:
        """True when `data` reaches to byte `end`; False where the file ends before."""
        if len(self.data) >= end:
            return True
        if self.size is not None and end > self.size:
            return False
        if end > min(self.limit_gib, _HEADER_MOST_GIB) * GIB:
            limit = min(self.limit_gib, _HEADER_MOST_GIB)
            raise UnreadableImage(f"its header is larger than {limit:g} GiB, which no image needs", where=self.path)
        while len(self.data) < end:
            piece = self._more(max(_FIRST, min(_CHUNK, end - len(self.data))))
            if not piece:
                return False
            self.data += piece
        return True

    def read_into(self, at: int, out: np.ndarray) -> None:
        """Fill the contiguous array with the bytes from `at` on; refused where the file ends before it is full."""
        view = out.reshape(-1).view(np.uint8).data
        got = min(max(len(self.data) - at, 0), len(view))
        view[:got] = self.data[at : at + got]
        if self._inflater is None:
            while got < len(view) and (count := os.preadv(self._file, [view[got:]], at + got)):
                got += count
        else:
            while self._inflated < at and self._more(min(_CHUNK, at - self._inflated)):
                pass
            while got < len(view) and (piece := self._more(min(_CHUNK, len(view) - got))):
                view[got : got + len(piece)] = piece
                got += len(piece)
        if got < len(view):
            raise UnreadableImage(
                f"the file ends early: {got:,} bytes of {len(view):,} of the pixels are there", where=self.path
            )

    def _more(self, count: int) -> bytes:
        if self._inflater is None:
            return os.pread(self._file, count, len(self.data))
        try:
            while not self._inflater.eof:
                packed = self._tail or os.read(self._file, _CHUNK)
                out = self._inflater.decompress(packed, count)
                self._tail = self._inflater.unconsumed_tail
                self._inflated += len(out)
                if out or not packed:
                    return out
        except zlib.error as error:
            raise UnreadableImage("its deflate stream is damaged", where=self.path) from error
        return b""
