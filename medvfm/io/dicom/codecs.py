"""Decoders of compressed frames by transfer syntax, in a fixed order of preference, all permissively licensed.

JPEG 2000 and HTJ2K: pylibjpeg-openjpeg (BSD), then python-gdcm (BSD). JPEG-LS: pyjpegls (MIT), then python-gdcm.
JPEG baseline, extended and lossless: python-gdcm. RLE: here. pylibjpeg-libjpeg is GPL and never called.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Sequence

import numpy as np

from medvfm.core.errors import UnreadableImage
from medvfm.io.dicom import codestream
from medvfm.io.dicom.codestream import Codestream
from medvfm.io.dicom.dictionary import RLE
from medvfm.io.dicom.pixel_format import PixelFormat
from medvfm.io.formats import decoder_messages

Decode = Callable[[bytes, PixelFormat], tuple[np.ndarray, str]]
Choice = tuple[str, str, Decode]  # the module, the package that has it, the function here
# what libjpeg and OpenJPEG print of a frame that they fill all the same
_DAMAGED = re.compile(
    r"^(Corrupt JPEG data: (?!\d+ extraneous bytes before marker 0xd9)|Premature end|read: segment too long)"
)
_SURPLUS = re.compile(r"extraneous bytes before marker 0xd9")
_UIDS = "1.2.840.10008.1.2."
_JPEG = tuple(_UIDS + f"4.{n}" for n in (50, 51, 57, 70))
_JPEG_LS = tuple(_UIDS + f"4.{n}" for n in (80, 81))
_JPEG_2000 = tuple(_UIDS + f"4.{n}" for n in (90, 91))
_HTJ2K = tuple(_UIDS + f"4.{n}" for n in (201, 202, 203))


def decoders(syntax: str, name: str, where: object) -> tuple[Choice, ...]:
    """Those that are installed, in order; a frame and its format to (row, column[, 3]) and its colour space."""
    if syntax == RLE:
        return (("", "medvfm", _rle),)
    known = CHOICES.get(syntax)
    if known is None:
        raise UnreadableImage(
            f"its pixels are compressed as {name}, for which there is no decoder",
            where=where,
            remedy="save it with another transfer syntax, such as Explicit VR Little Endian",
        )
    installed = tuple(choice for choice in known if importlib.util.find_spec(choice[0]) is not None)
    if not installed:
        packages = " or ".join(package for _, package, _ in known)
        what = f"its pixels are compressed as {name}, and no decoder is installed"
        raise UnreadableImage(what, where=where, remedy=f"install {packages}")
    return installed


def decoded(packed: bytes, form: PixelFormat, choices: Sequence[Choice]) -> tuple[np.ndarray, str, list[str]]:
    """A frame by the first decoder that can: its samples, its colour space, and the repairs made.

    A decoder that fills a damaged frame and says so on the screen only, as those of JPEG do, has not read it. Where all
    refuse, zeros that an encoder left before the end mark are taken away. Raises what the last decoder raised.
    """
    trimmed = codestream.without_zeros_at_end(packed)
    attempts = [(choice, packed) for choice in choices]
    attempts += [(choice, trimmed) for choice in choices if len(trimmed) < len(packed)]
    refused: list[str] = []
    for number, ((_, package, decode), data) in enumerate(attempts):
        try:
            with decoder_messages.held_back() as printed:
                frame, colour = decode(data, form)
            if any(_DAMAGED.search(line) for line in printed):
                raise UnreadableImage("a compressed frame is damaged")
        except UnreadableImage:  # by the marks of the codestream, which are the same for all
            raise
        except Exception:  # decoders raise whatever damaged data makes them trip over
            if number == len(attempts) - 1:
                raise
            refused.append(package)
            continue
        repairs = []
        if refused:
            without = "" if data is packed else ", without the zero bytes before its end mark"
            named = " and ".join(dict.fromkeys(refused))
            repairs.append(f"compressed frames decoded by {package}{without}: {named} refused them as they are")
        if any(_SURPLUS.search(line) for line in printed):
            repairs.append("surplus bytes in a compressed frame ignored")
        return frame, colour, repairs
    raise AssertionError("there is at least one decoder")


def _checked(found: Codestream, form: PixelFormat) -> None:
    if (found.rows, found.columns, found.samples) != (form.rows, form.columns, form.samples):
        raise UnreadableImage(
            f"a compressed frame of {found.columns} x {found.rows} x {found.samples}, and its header declares "
            f"{form.columns} x {form.rows} x {form.samples}"
        )
    if found.precision > form.bits_allocated:
        what = f"a compressed frame of {found.precision} bits, and its header allocates {form.bits_allocated}"
        raise UnreadableImage(what)


def _openjpeg(packed: bytes, form: PixelFormat) -> tuple[np.ndarray, str]:
    from openjpeg import decode_pixel_data

    found = codestream.jpeg2000(packed)
    _checked(found, form)
    raw = bytes(decode_pixel_data(packed, version=2))
    return _shaped(raw, found, form), _jpeg2000_colour(found, form)


def _charls(packed: bytes, form: PixelFormat) -> tuple[np.ndarray, str]:
    from jpeg_ls import decode_pixel_data

    found = codestream.jpeg(packed)
    _checked(found, form)
    raw, info = decode_pixel_data(packed)
    planar = found.samples > 1 and info["interleave_mode"] == 0
    return _shaped(raw, found, form, planar=planar), _jpeg_colour(found, form)


def _shaped(raw: bytes | bytearray, found: Codestream, form: PixelFormat, *, planar: bool = False) -> np.ndarray:
    """(row, column[, 3]) in the type of the format; signs as PixelRepresentation says, which codestreams get wrong."""
    width = 1 if found.precision <= 8 else 2 if found.precision <= 16 else 4
    values = np.frombuffer(raw, f"<{'i' if form.signed else 'u'}{width}")
    spare = 8 * width - found.precision
    if spare and (found.signed or form.signed) and found.signed != form.signed:
        values = values << spare >> spare
    if planar:
        return values.reshape(form.samples, form.rows, form.columns).transpose(1, 2, 0)
    return values.reshape(form.shape[1:])


def _jpeg_colour(found: Codestream, form: PixelFormat) -> str:
    """The colour space as the codestream has it: component ids R, G, B, or a JFIF or Adobe mark of YBR."""
    if form.samples != 3:
        return form.photometric
    if found.ids in (tuple(b"RGB"), tuple(b"rgb")):
        return "RGB"
    transformed = found.jfif or found.transform == 1
    return "YBR_FULL" if transformed and not form.photometric.startswith("YBR") else form.photometric


def _jpeg2000_colour(found: Codestream, form: PixelFormat) -> str:
    """RGB where the decoder has undone the codestream's own transform; YBR_FULL without one is left as it is stored."""
    if form.photometric == "YBR_FULL" and not found.transform:
        return "YBR_FULL"
    return "RGB" if form.photometric.startswith("YBR_") else form.photometric


def _gdcm_pixels(packed: bytes, form: PixelFormat, uid: str, colour: str, width: int, bits: int) -> bytes:
    """Decoded samples of one frame, `width` bits apart, `bits` of them used.

    Without gdcm's parser of files, which crashes on deep nesting.
    """
    import gdcm  # large, and rarely needed

    gdcm.Trace.WarningOff()
    gdcm.Trace.ErrorOff()
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(packed)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((form.columns, form.rows, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType(colour)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    if form.samples > 1:
        image.SetPlanarConfiguration(int(form.planar))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(uid)))
    image.SetPixelFormat(gdcm.PixelFormat(form.samples, width, bits, bits - 1, int(form.signed)))
    return image.GetBuffer().encode("utf-8", "surrogateescape")  # gdcm hands char* over as str


def _gdcm_jpeg(packed: bytes, form: PixelFormat, kinds: tuple[int, ...], uid: str) -> tuple[np.ndarray, str]:
    """JPEG samples as they are stored: gdcm gets them as RGB, and would end the process for another colour space."""
    found = codestream.jpeg(packed)
    _checked(found, form)
    if found.kind not in kinds:
        what = f"a compressed frame of another JPEG process (frame marker {found.kind:X}) than its syntax says"
        raise UnreadableImage(what)
    colour = "RGB" if form.samples == 3 else "MONOCHROME2"
    bits = max(form.bits_stored, found.precision)
    raw = _gdcm_pixels(found.bare, form, uid, colour, form.bits_allocated, bits)
    values = np.frombuffer(raw, form.dtype.newbyteorder("<"))
    if form.samples == 3 and form.planar:
        return values.reshape(3, form.rows, form.columns).transpose(1, 2, 0), _jpeg_colour(found, form)
    return values.reshape(form.shape[1:]), _jpeg_colour(found, form)


def _gdcm_other(packed: bytes, form: PixelFormat, uid: str) -> tuple[np.ndarray, str]:
    """JPEG-LS and JPEG 2000, where the first choice is not installed."""
    jpeg_2000 = uid in _JPEG_2000
    found = codestream.jpeg2000(packed) if jpeg_2000 else codestream.jpeg(packed)
    _checked(found, form)
    width = 8 if found.precision <= 8 else 16 if found.precision <= 16 else 32
    raw = _gdcm_pixels(packed, form, uid, form.photometric, width, found.precision)
    if jpeg_2000:
        return _shaped(raw, found, form), _jpeg2000_colour(found, form)
    return _shaped(raw, found, form), _jpeg_colour(found, form)


def _lossy(uid: str) -> Decode:
    return lambda packed, form: _gdcm_jpeg(packed, form, (0xC0, 0xC1, 0xC2), uid)


def _lossless(uid: str) -> Decode:
    return lambda packed, form: _gdcm_jpeg(packed, form, (0xC3,), uid)


def _second(uid: str) -> Decode:
    return lambda packed, form: _gdcm_other(packed, form, uid)


def _rle(packed: bytes, form: PixelFormat) -> tuple[np.ndarray, str]:
    """PS3.5, annex G: one segment for each byte of a sample, the most significant first."""
    width = form.bits_allocated // 8
    header = np.frombuffer(packed, "<u4", 16)
    count, starts = int(header[0]), header[1:].astype(np.int64)
    if count != width * form.samples:
        raise UnreadableImage(f"an RLE frame of {count} segments, and its header declares {width * form.samples}")
    pixels = form.rows * form.columns
    planes = np.empty((form.samples, pixels, width), np.uint8)
    for number in range(count):
        end = starts[number + 1] if number + 1 < count else len(packed)
        if not 64 <= starts[number] <= end <= len(packed):
            raise UnreadableImage("an RLE frame is damaged")
        sample, byte = divmod(number, width)
        planes[sample, :, width - 1 - byte] = _packbits(packed, int(starts[number]), int(end), pixels)
    values = planes.reshape(form.samples, -1).view(form.dtype.newbyteorder("<"))
    frame = values.reshape(form.samples, form.rows, form.columns)
    return (frame[0] if form.samples == 1 else frame.transpose(1, 2, 0)), form.photometric


def _packbits(packed: bytes, at: int, end: int, count: int) -> np.ndarray:
    """PS3.5, G.3.1; stops when `count` bytes are out, so that no segment can grow beyond its frame."""
    out = bytearray()
    while at < end and len(out) < count:
        code = packed[at]
        if code < 128:
            out += packed[at + 1 : at + 2 + code]
            at += code + 2
        elif code > 128:
            out += packed[at + 1 : at + 2] * (257 - code)
            at += 2
        else:
            at += 1
    if len(out) < count:
        raise UnreadableImage("an RLE frame is truncated or damaged")
    return np.frombuffer(out, np.uint8, count)


CHOICES: dict[str, tuple[Choice, ...]] = {
    **{uid: (("gdcm", "python-gdcm", _lossy(uid)),) for uid in _JPEG[:2]},
    **{uid: (("gdcm", "python-gdcm", _lossless(uid)),) for uid in _JPEG[2:]},
    **{uid: (("jpeg_ls", "pyjpegls", _charls), ("gdcm", "python-gdcm", _second(uid))) for uid in _JPEG_LS},
    **{uid: (("openjpeg", "pylibjpeg-openjpeg", _openjpeg), ("gdcm", "python-gdcm", _second(uid)))
       for uid in _JPEG_2000},
    **dict.fromkeys(_HTJ2K, (("openjpeg", "pylibjpeg-openjpeg", _openjpeg),)),
}  # fmt: skip
