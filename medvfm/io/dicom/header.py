"""Parser of one DICOM data set: scanned once and without recursion, values decoded on access.

Only what a reader of images needs (PS3.5, chapter 7): implicit and explicit value representations in both byte orders,
sequences of either length, data sets without file meta information. Sequences are walked with a stack of bounded depth,
never by recursion, so that hostile nesting is an error and no crash. Nothing is decoded before it is asked for, which
makes a header of a hundred elements cost a tenth of what a general parser takes.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medvfm.core.errors import UnreadableImage
from medvfm.io.dicom.byte_source import ByteSource
from medvfm.io.dicom.dictionary import (
    BIG_ENDIAN,
    DEFLATED,
    DOUBLE_PIXEL_DATA,
    EXPLICIT,
    FLOAT_PIXEL_DATA,
    IMPLICIT,
    PIXEL_DATA,
    SYNTAX_NAMES,
    TAGS,
)

# where a value lies: (representation, first byte, length); UNDEFINED for a sequence that ends by a mark.
# A bare tuple: one is made for every element of every file.
Element = tuple[bytes | None, int, int]
UNDEFINED = 0xFFFFFFFF
_DEEPEST = 64
_WALKED_FROM = 16 * _DEEPEST  # bytes; a shorter sequence of defined length cannot nest too deep and is passed by
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_ITEM_LITTLE, _ITEM_BIG = b"\xfe\xff\0\xe0", b"\xff\xfe\xe0\0"
_PIXEL_GROUP = 0x7FE0
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_BINARY = {b"US": "H", b"SS": "h", b"UL": "L", b"SL": "l", b"FL": "f", b"FD": "d", b"OW": "H", b"UV": "Q", b"SV": "q"}
_SIZES = {code: struct.calcsize("<" + code) for code in _BINARY.values()}
_CODECS = {
    "ISO_IR 192": "utf-8",
    "GB18030": "gb18030",
    "GBK": "gbk",
    "ISO_IR 101": "iso8859-2",
    "ISO_IR 109": "iso8859-3",
    "ISO_IR 110": "iso8859-4",
    "ISO_IR 144": "iso8859-5",
    "ISO_IR 127": "iso8859-6",
    "ISO_IR 126": "iso8859-7",
    "ISO_IR 138": "iso8859-8",
    "ISO_IR 148": "iso8859-9",
    "ISO_IR 13": "shift_jis",
    "ISO_IR 166": "tis-620",
}


class NotDicom(UnreadableImage):
    """It does not even begin as a DICOM file does."""


class DataSet:
    """The elements of one level, by keyword; values are decoded on access, and no message quotes one."""

    def __init__(self, source: ByteSource, elements: dict[int, Element], *, explicit: bool, big: bool) -> None:
        self.source, self.elements, self.explicit, self.big = source, elements, explicit, big
        self.order = ">" if big else "<"

    @property
    def path(self) -> Path:
        """The file that it was read from."""
        return self.source.path

    def __contains__(self, keyword: str) -> bool:
        element = self.elements.get(TAGS[keyword][0])
        return element is not None and element[2] > 0

    def raw(self, keyword: str) -> bytes:
        """The bytes of a value, empty where it is absent."""
        element = self.elements.get(TAGS[keyword][0])
        if element is None:
            return b""
        _, at, length = element
        return bytes(self.source.data[at : at + length])

    def text(self, keyword: str, default: str = "") -> str:
        """A string without its padding."""
        element = self.elements.get(TAGS[keyword][0])
        if element is None:
            return default
        _, at, length = element
        return self.source.data[at : at + length].decode("latin-1").strip(" \0") or default

    def texts(self, keyword: str) -> tuple[str, ...]:
        """The values of a multi-valued string."""
        whole = self.text(keyword)
        return tuple(part.strip(" \0") for part in whole.split("\\")) if whole else ()

    def label(self, keyword: str) -> str:
        """A string in the character set that the data set names."""
        names = self.texts("SpecificCharacterSet")
        codec = _CODECS.get(names[-1] if names else "", "latin-1")
        return self.raw(keyword).decode(codec, errors="replace").strip(" \0")

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """Numbers of any representation, empty where there are none; refused where one is no finite number."""
        raw = self.raw(keyword)
        if not raw:
            return ()
        vr = self._vr(keyword)
        if vr in _BINARY:
            code = _BINARY[vr]
            count, rest = divmod(len(raw), _SIZES[code])
            if rest:
                raise UnreadableImage(f"{keyword} has {len(raw)} bytes, no whole number of values", where=self.path)
            values = struct.unpack(f"{self.order}{count}{code}", raw)
            if code not in "fd":
                return values
        else:
            try:
                values = _decimals(raw) if len(raw) > _REPEATED_BYTES else _repeated_decimals(raw)
            except ValueError as error:
                raise UnreadableImage(f"{keyword} is no number", where=self.path) from error
        if not all(map(math.isfinite, values)):
            raise UnreadableImage(f"{keyword} is no finite number", where=self.path)
        return values

    def number(self, keyword: str) -> float | None:
        """The first number, or None."""
        values = self.numbers(keyword)
        return values[0] if values else None

    def integer(self, keyword: str, default: int | None = None) -> int:
        """A whole number; refused where it is absent without a default."""
        tag, known = TAGS[keyword]
        element = self.elements.get(tag)
        if element is not None and element[2] == 2 and (element[0] or known) == b"US":  # a header has a dozen of these
            return int.from_bytes(self.source.data[element[1] : element[1] + 2], "big" if self.big else "little")
        value = self.number(keyword)
        if value is None:
            if default is None:
                raise UnreadableImage(f"it states no {keyword}", where=self.path)
            return default
        if value != int(value):
            raise UnreadableImage(f"{keyword} is no whole number", where=self.path)
        return int(value)

    def items(self, keyword: str) -> list[DataSet]:
        """The items of a sequence, empty where it is absent."""
        element = self.elements.get(TAGS[keyword][0])
        if element is None or element[2] == 0:
            return []
        explicit, big = self.explicit, self.big
        if element[0] == b"UN":  # PS3.5, 6.2.2, note 2: the content is implicit little endian
            explicit, big = False, False
        return list(_items(self.source, element, explicit, big))

    def item(self, keyword: str) -> DataSet | None:
        """The first item of a sequence, or None."""
        items = self.items(keyword)
        return items[0] if items else None

    def private_raw(self, creator: str, group: int, number: int) -> bytes:
        """The bytes of the element (group, xx and `number`) of a private block (PS3.5, 7.8.1), empty if it is absent.

        The creator's name reserves the block xx; files that have lost it mostly keep the first one.
        """
        for block in range(0x10, 0x100):
            named = self.elements.get(group << 16 | block)
            if named is not None and self._bytes(named).decode("latin-1").strip(" \0") == creator:
                break
        else:
            block = 0x10
            if group << 16 | block in self.elements:  # another's
                return b""
        element = self.elements.get(group << 16 | block << 8 | number)
        return b"" if element is None else self._bytes(element)

    def private_text(self, creator: str, group: int, number: int) -> str:
        """A string of a private block without its padding."""
        return self.private_raw(creator, group, number).decode("latin-1").strip(" \0")

    def private_number(self, creator: str, group: int, number: int) -> float | None:
        """A decimal string of a private block, None where it is absent or no finite number."""
        try:
            value = float(self.private_text(creator, group, number))
        except ValueError:
            return None
        return value if math.isfinite(value) else None

    def _bytes(self, element: Element) -> bytes:
        _, at, length = element
        return b"" if length == UNDEFINED else bytes(self.source.data[at : at + length])

    def _vr(self, keyword: str) -> bytes:
        tag, known = TAGS[keyword]
        stored = self.elements[tag][0]
        vr = known if stored in (None, b"UN") else stored
        if vr == b"XS":
            return b"SS" if self.elements.get(TAGS["PixelRepresentation"][0]) and self.signed else b"US"
        return vr

    @property
    def signed(self) -> bool:
        """Whether stored values are signed (PixelRepresentation)."""
        return self.integer("PixelRepresentation", 0) == 1


def _decimals(raw: bytes) -> tuple[float, ...]:
    """The numbers of a decimal string, none of one that is blank; ValueError where one is no number."""
    if b"_" in raw:  # which Python would take for a separator of thousands
        raise ValueError
    stripped = raw.strip(b" \0")
    return tuple(map(float, stripped.split(b"\\"))) if stripped else ()


_REPEATED_BYTES = 128  # longer values are seldom those of another file, and would fill the memory
_repeated_decimals = functools.lru_cache(maxsize=1024)(_decimals)  # the files of a series have most of theirs in common


class Header(DataSet):
    """The top level of a file, up to its pixels."""

    def __init__(
        self, source: ByteSource, elements: dict[int, Element], syntax: str, *, explicit: bool, big: bool
    ) -> None:
        super().__init__(source, elements, explicit=explicit, big=big)
        self.syntax = syntax

    @property
    def syntax_name(self) -> str:
        """The transfer syntax in words."""
        return SYNTAX_NAMES.get(self.syntax, self.syntax)

    @property
    def pixels(self) -> tuple[int, Element] | None:
        """Tag and place of the pixel data, None where there is none."""
        for tag in (PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA):
            if tag in self.elements:
                return tag, self.elements[tag]
        return None


def is_dicom(path: Path) -> bool:
    """By content: the mark behind the preamble, or a data set of group 2 or 8 from the first byte on."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(132 + 16)
    except OSError:
        return False
    return head[128:132] == b"DICM" or _bare(head) is not None


def is_deflated(path: Path) -> bool:
    """Whether the file is deflated by its meta information; nothing is inflated."""
    with ByteSource(path, 1.0) as source:
        return source.data[128:132] == b"DICM" and _meta(source, 132)[0] == DEFLATED


@contextmanager
def opened(path: Path, *, limit_gib: float = 4.0) -> Iterator[Header]:
    """The header of a file, which stays open for its pixels; whatever is damaged becomes UnreadableImage."""
    with ByteSource(path, limit_gib) as source, damage_named(path):
        yield _header(source)


@contextmanager
def damage_named(where: object) -> Iterator[None]:
    """What a damaged file makes the code trip over becomes UnreadableImage, which quotes no value of the file."""
    try:
        yield
    except UnreadableImage:
        raise
    except Exception as error:
        raise UnreadableImage(f"damaged DICOM file ({type(error).__name__})", where=where) from error


def _header(source: ByteSource) -> Header:
    if not source.data:
        raise NotDicom("the file is empty", where=source.path)
    syntax, at = "", 0
    if source.data[128:132] == b"DICM":
        syntax, at = _meta(source, 132)
    elif _bare(source.data[:16]) is None:
        raise NotDicom("not a DICOM file", where=source.path)
    elif source.data[:2] == b"\x02\0":
        syntax, at = _meta(source, 0)
    if syntax == DEFLATED:
        source.inflate_from(at)
    source.need(at + 8)
    explicit, big = _encoding(source, at, syntax)
    elements, _ = _level(source, at, None, explicit, big)
    syntax = syntax or (BIG_ENDIAN if big else EXPLICIT if explicit else IMPLICIT)
    return Header(source, elements, syntax, explicit=explicit, big=big)


def _bare(head: bytes | bytearray) -> tuple[bool, bool] | None:
    """(explicit, big) of a data set that starts without a preamble, None where it is none."""
    if len(head) < 16:
        return None
    for big in (False, True):
        group, element = struct.unpack_from(">HH" if big else "<HH", head)
        if group not in (0x0002, 0x0008) or element > 0x1200:
            continue
        if bytes(head[4:6]) in _SHORT or bytes(head[4:6]) in _LONG:
            return True, big
        length = struct.unpack_from("<L", head, 4)[0]
        if not big and group == 8 and length < 1024:
            return False, False
    return None


def _meta(source: ByteSource, at: int) -> tuple[str, int]:
    """Transfer syntax and where the data set begins; group 2 is explicit little endian (PS3.10, 7.1)."""
    syntax = ""
    while source.need(at + 8) and source.data[at : at + 2] == b"\x02\0":
        element, vr = struct.unpack_from("<H2s", source.data, at + 2)
        if vr in _LONG:
            source.need(at + 12)
            start, length = at + 12, struct.unpack_from("<L", source.data, at + 8)[0]
        else:
            start, length = at + 8, struct.unpack_from("<H", source.data, at + 6)[0]
        if not source.need(start + length):
            raise UnreadableImage("the file ends early, inside its header", where=source.path)
        if element == 0x0010:
            syntax = source.data[start : start + length].decode("latin-1").strip(" \0")
        at = start + length
    return syntax, at


def _encoding(source: ByteSource, at: int, syntax: str) -> tuple[bool, bool]:
    """(explicit, big): as the transfer syntax says, unless the first element shows that it is wrong."""
    first = bytes(source.data[at : at + 8])
    if len(first) < 8:
        raise UnreadableImage("the file ends early, before its data set", where=source.path)
    big = syntax == BIG_ENDIAN
    if not syntax:
        big = first[0] == 0 and first[1] != 0
    return first[4:6] in _SHORT or first[4:6] in _LONG, big


def _level(
    source: ByteSource, at: int, end: int | None, explicit: bool, big: bool, *, nested: bool = False
) -> tuple[dict[int, Element], int]:
    """The elements from `at` to `end`, an item's end mark, the pixels or the end of the file; and where that is."""
    form = ">HH2sH" if big else "<HH2sH"
    long_form = ">L" if big else "<L"
    unpack, unpack_long = struct.Struct(form).unpack_from, struct.Struct(long_form).unpack_from
    data, have, size = source.data, len(source.data), source.size
    elements: dict[int, Element] = {}
    short: frozenset[bytes] = _SHORT if explicit else frozenset()
    pixel_group = _PIXEL_GROUP
    while end is None or at < end:
        if at + 12 > have:
            source.need(at + 12)
            have = len(data)
            if at + 8 > have:
                if nested or any(data[at:have]):
                    raise UnreadableImage("the file ends early, inside its header", where=source.path)
                break
        last = have - 12 if end is None else min(have - 12, end - 1)  # where an element can begin that is there
        group, element, vr, length = unpack(data, at)
        while vr in short and group < pixel_group and (stop := at + 8 + length) <= last:  # nearly all: what costs least
            elements[group << 16 | element] = (vr, at + 8, length)
            at = stop
            group, element, vr, length = unpack(data, at)
        tag = group << 16 | element
        if tag == _ITEM_END:
            at += 8
            break
        if not explicit or group == 0xFFFE:
            (length,), start, vr = unpack_long(data, at + 4), at + 8, None
        elif vr in _SHORT:
            start = at + 8
        elif vr in _LONG:
            if at + 12 > have:
                raise UnreadableImage("the file ends early, inside its header", where=source.path)
            (length,), start = unpack_long(data, at + 8), at + 12
        elif vr.isupper() and vr.isalpha():  # a representation of a later standard has a long length
            (length,), start = unpack_long(data, at + 8), at + 12
        else:  # an implicit element in an explicit data set
            (length,), start, vr = unpack_long(data, at + 4), at + 8, None
        elements[tag] = (vr, start, length)
        if not nested and tag in (PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA):
            break
        if length >= _WALKED_FROM and (
            length == UNDEFINED or vr == b"SQ" or (vr is None and _opens(source, start, big))
        ):
            inner = (False, False) if vr == b"UN" else (explicit, big)
            at = _behind_sequence(source, start, length, *inner)
        else:
            at = start + length
            if at > have and ((size is not None and at > size) or not source.need(at)):
                raise UnreadableImage("the file ends early, inside its header", where=source.path)
        have = len(data)
    return elements, at


def _opens(source: ByteSource, start: int, big: bool) -> bool:
    """Whether an implicit value is a sequence: one that begins with an item."""
    return source.need(start + 4) and source.data[start : start + 4] == (_ITEM_BIG if big else _ITEM_LITTLE)


def _behind_sequence(source: ByteSource, at: int, length: int, explicit: bool, big: bool) -> int:
    """The first byte behind a sequence, whatever it nests: walked with a stack, its depth bounded.

    The stack holds what is open, sequences and items by turns, each with the byte where it ends or None for a mark.
    """
    form = struct.Struct(">HHL" if big else "<HHL").unpack_from
    data, where = source.data, source.path
    stack: list[int | None] = [None if length == UNDEFINED else at + length]
    kinds = [explicit]
    while stack:
        if stack[-1] is not None and at >= stack[-1]:
            stack.pop(), kinds.pop()
            continue
        if not source.need(at + 8):
            raise UnreadableImage("the file ends early, inside a sequence", where=where)
        group, element, size = form(data, at)
        tag, start = group << 16 | element, at + 8
        if tag in (_ITEM_END, _SEQUENCE_END):
            stack.pop(), kinds.pop()
            at = start
            continue
        vr, inner = None, kinds[-1]
        if tag != _ITEM and kinds[-1]:
            vr = bytes(data[at + 4 : at + 6])
            if vr in _SHORT:
                size = struct.unpack_from(">H" if big else "<H", data, at + 6)[0]
            elif vr.isalpha() and vr.isupper():
                if not source.need(at + 12):
                    raise UnreadableImage("the file ends early, inside a sequence", where=where)
                size, start = struct.unpack_from(">L" if big else "<L", data, at + 8)[0], at + 12
                inner = vr != b"UN"
            else:
                vr = None
        opens = tag == _ITEM or vr == b"SQ" or (vr is None and size >= 8 and _opens(source, start, big))
        if size == UNDEFINED or opens:
            if len(stack) >= 2 * _DEEPEST:
                raise UnreadableImage(f"its sequences are nested deeper than {_DEEPEST}", where=where)
            stack.append(None if size == UNDEFINED else start + size)
            kinds.append(inner)
            at = start
        else:
            at = start + size
            if not source.need(at):
                raise UnreadableImage("the file ends early, inside a sequence", where=where)
    return at


def _items(source: ByteSource, element: Element, explicit: bool, big: bool) -> Iterator[DataSet]:
    _, at, whole = element
    end = None if whole == UNDEFINED else at + whole
    form = struct.Struct(">HHL" if big else "<HHL").unpack_from
    while end is None or at < end:
        group, number, length = form(source.data, at)
        if group << 16 | number != _ITEM:
            break
        stop = None if length == UNDEFINED else at + 8 + length
        elements, at = _level(source, at + 8, stop, explicit, big, nested=True)
        yield DataSet(source, elements, explicit=explicit, big=big)
