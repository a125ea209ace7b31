"""Compressed frames: every codec against pydicom or its own encoder; what is cut or mislabelled is refused."""

from __future__ import annotations

import base64
import importlib.util
import io
import struct

import numpy as np
import pydicom
import pytest
from PIL import Image as Picture
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from medvfm.core.errors import UnreadableImage
from medvfm.io.dicom import codecs, codestream, read
from tests.samples.dicom import dataset, noise, pydicom_folder, save

ENCODERS = {RLELossless: "pydicom", JPEGLSLossless: "pyjpegls", JPEG2000Lossless: "pylibjpeg"}
LOSSLESS = [RLELossless, JPEGLSLossless, JPEG2000Lossless]
FILES = pydicom_folder() / "test_files"


def ramp(shape: tuple[int, ...], low: int, high: int) -> np.ndarray:
    """Smooth enough to be compressed, with some noise, from `low` to `high`."""
    values = np.linspace(low, high, int(np.prod(shape))).reshape(shape)
    values += np.random.default_rng(0).normal(size=shape) * (high - low) / 200
    return np.rint(values).clip(low, high)


def compressed(pixels: np.ndarray, syntax: str, **fields):
    ds = dataset(pixels, **fields)
    ds.compress(syntax, generate_instance_uid=False, encoding_plugin=ENCODERS[syntax])
    return ds


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda u: u.name[:10])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
@pytest.mark.parametrize("frames", [1, 3])
def test_lossless_codecs_give_back_what_went_in(tmp_path, syntax, dtype, frames):
    info = np.iinfo(dtype)
    shape = (64, 80) if frames == 1 else (frames, 64, 80)
    pixels = ramp(shape, info.min, info.max).astype(dtype)
    fields = {"Modality": "OT", "RescaleIntercept": 0}
    image = read.read_file(save(compressed(pixels, syntax, **fields), tmp_path / "c.dcm"))
    np.testing.assert_array_equal(image.voxels.transpose(2, 1, 0), pixels.reshape(frames, 64, 80))


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda u: u.name[:10])
def test_colour(tmp_path, syntax):
    pixels = ramp((2, 64, 80, 3), 0, 255).astype(np.uint8)
    image = read.read_file(save(compressed(pixels, syntax, Modality="US"), tmp_path / "c.dcm"))
    np.testing.assert_array_equal(image.voxels.transpose(2, 1, 0, 3), pixels)


@pytest.mark.parametrize("bits", [9, 12, 15])
@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda u: u.name[:10])
def test_fewer_bits_stored_than_allocated_and_their_sign(tmp_path, syntax, bits):
    pixels = ramp((64, 80), -(1 << (bits - 1)), (1 << (bits - 1)) - 1).astype(np.int16)
    ds = compressed(pixels, syntax, Modality="OT", RescaleIntercept=0, BitsStored=bits, HighBit=bits - 1)
    np.testing.assert_array_equal(read.read_file(save(ds, tmp_path / "c.dcm")).voxels[:, :, 0].T, pixels)


@pytest.mark.parametrize(
    "name",
    ["MR_small_jp2klossless", "MR_small_jpeg_ls_lossless", "693_J2KI", "SC_rgb_gdcm_KY", "examples_jpeg2k",
     "JPEGLSNearLossless_08", "JPEGLSNearLossless_16", "SC_rgb_jls_lossy_line", "SC_rgb_jls_lossy_sample",
     "J2K_pixelrep_mismatch"],
)  # fmt: skip
def test_the_second_decoder_gives_the_same(name, monkeypatch):
    path = FILES / f"{name}.dcm"
    first = read.read_file(path)
    syntax = pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID
    missing = codecs.CHOICES[syntax][0][0]
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None if module == missing else find(module))
    second = read.read_file(path)
    lossy = name in ("693_J2KI",)  # irreversible wavelets: decoders may round otherwise
    np.testing.assert_allclose(first.voxels, second.voxels, atol=1 if lossy else 0)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("MR_small_jp2klossless", r"JPEG 2000 Lossless, and no decoder.*install pylibjpeg-openjpeg or python-gdcm"),
        ("MR_small_jpeg_ls_lossless", r"JPEG-LS Lossless, and no decoder.*install pyjpegls or python-gdcm"),
        ("SC_rgb_jpeg_gdcm", r"JPEG Lossless SV1, and no decoder.*install python-gdcm"),
        ("SC_rgb_jpeg_dcmtk", r"JPEG Baseline, and no decoder.*install python-gdcm"),
    ],
)
def test_a_missing_decoder_is_named(name, said, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    with pytest.raises(UnreadableImage, match=said):
        read.read_file(FILES / f"{name}.dcm")


def test_a_syntax_without_a_decoder_is_named(tmp_path):
    ds = compressed(noise((9, 11)), RLELossless)
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"
    with pytest.raises(UnreadableImage, match=r"MPEG-4 AVC/H\.264 High Profile, for which there is no decoder; save"):
        read.read_file(save(ds, tmp_path / "c.dcm"))


def test_no_gpl_decoder_is_in_the_order():
    packages = {package for row in codecs.CHOICES.values() for _, package, _ in row}
    assert packages == {"python-gdcm", "pyjpegls", "pylibjpeg-openjpeg"}


def frame_of(name: str) -> tuple[pydicom.Dataset, bytes]:
    ds = pydicom.dcmread(FILES / f"{name}.dcm")
    return ds, next(generate_frames(ds.PixelData, number_of_frames=1))


@pytest.mark.parametrize(
    "name",
    ["MR_small_jp2klossless", "693_J2KI", "MR_small_jpeg_ls_lossless", "SC_rgb_jpeg_gdcm", "SC_rgb_jpeg_dcmtk",
     "JPGExtended", "MR_small_RLE"],
)  # fmt: skip
def test_every_cut_of_a_frame_is_refused(tmp_path, name):
    ds, frame = frame_of(name)
    whole = frame.rstrip(b"\0")
    for length in sorted({1, 2, 20, 60, len(whole) // 4, len(whole) // 2, len(whole) - 300, len(whole) - 2}):
        if not 0 < length < len(whole):
            continue
        cut = whole[:length] + b"\0" * (length % 2)
        ds.PixelData = encapsulate([cut])
        with pytest.raises(UnreadableImage, match=r"c\.dcm: .*(damaged|truncated)"):
            read.read_file(save(ds, tmp_path / "c.dcm"))


def test_a_frame_of_another_size_than_the_header_says(tmp_path):
    for name in ("MR_small_jp2klossless", "MR_small_jpeg_ls_lossless", "SC_rgb_jpeg_gdcm", "SC_rgb_jpeg_dcmtk"):
        ds = pydicom.dcmread(FILES / f"{name}.dcm")
        ds.Rows = ds.Rows - 1
        with pytest.raises(UnreadableImage, match=r"a compressed frame of .*, and its header declares"):
            read.read_file(save(ds, tmp_path / "c.dcm"))


def test_a_codestream_that_claims_to_be_huge_takes_no_memory(tmp_path):
    ds, frame = frame_of("MR_small_jp2klossless")
    at = frame.index(b"\xff\x51") + 6
    ds.PixelData = encapsulate([frame[:at] + struct.pack(">LL", 2**31 - 1, 2**31 - 1) + frame[at + 8 :]])
    with pytest.raises(UnreadableImage, match="a compressed frame of 2147483647 x 2147483647"):
        read.read_file(save(ds, tmp_path / "c.dcm"))


def test_rle_that_unpacks_to_more_than_a_frame_stops_there(tmp_path):
    ds = compressed(np.zeros((64, 64), np.uint8), RLELossless, Modality="OT", RescaleIntercept=0)
    bomb = struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\x07" * 500_000  # 64 MB of sevens
    ds.PixelData = encapsulate([bomb])
    assert (read.read_file(save(ds, tmp_path / "c.dcm")).voxels == 7).all()
    ds.PixelData = encapsulate([struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\x07" * 31])
    with pytest.raises(UnreadableImage, match="RLE frame is truncated or damaged"):
        read.read_file(save(ds, tmp_path / "c.dcm"))
    ds.PixelData = encapsulate([struct.pack("<16L", 2, 64, 70, *[0] * 13) + b"\x81\x07" * 31])
    with pytest.raises(UnreadableImage, match="RLE frame of 2 segments, and its header declares 1"):
        read.read_file(save(ds, tmp_path / "c.dcm"))


def test_rle_leaves_overlays_and_unextended_signs_out(tmp_path):
    """As of native pixels: what lies outside the stored bits is none of the picture."""
    values = ramp((9, 11), -2000, 2000).astype(np.int16)
    ds = compressed((values & 0xFFF).astype(np.uint16), RLELossless, Modality="OT", RescaleIntercept=0)
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 12, 11, 1
    np.testing.assert_array_equal(read.read_file(save(ds, tmp_path / "a")).voxels[:, :, 0].T, values)
    ds = compressed((values & 0xFFF | 0x5000).astype(np.uint16), RLELossless, Modality="OT", RescaleIntercept=0)
    ds.BitsStored, ds.HighBit = 12, 11
    np.testing.assert_array_equal(read.read_file(save(ds, tmp_path / "b")).voxels[:, :, 0].T, values & 0xFFF)


def test_frames_in_several_colour_spaces_are_refused(tmp_path):
    """One codestream that is RGB by its component ids, and one of YBR by its JFIF mark."""
    rgb = np.stack([ramp((24, 32), 60, 190), ramp((24, 32), 190, 60), np.full((24, 32), 90)], axis=-1).astype(np.uint8)
    frames = []
    for kept in (True, False):
        out = io.BytesIO()
        Picture.fromarray(rgb).save(out, "JPEG", subsampling=0, keep_rgb=kept)
        frames.append(out.getvalue())
    fields = {"Modality": "OT", "PhotometricInterpretation": "YBR_FULL_422", "syntax": JPEGBaseline8Bit}
    ds = dataset(np.stack([rgb, rgb]), **fields)
    ds.PixelData = encapsulate(frames)
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    with pytest.raises(UnreadableImage, match="several colour spaces: RGB, YBR_FULL_422"):
        read.read_file(save(ds, tmp_path / "a"))


def test_jpeg_2000_that_keeps_ybr_without_a_transform(tmp_path):
    """PS3.5, 8.2.4: YBR_FULL is then what the components hold, and no codestream's transform is undone."""
    from openjpeg.utils import encode_array

    rgb = np.stack([ramp((64, 96), 60, 190), ramp((64, 96), 190, 60), np.full((64, 96), 90)], axis=-1).astype(np.uint8)
    ybr = pydicom.pixels.convert_color_space(rgb, "RGB", "YBR_FULL")
    ds = dataset(rgb, Modality="OT", PhotometricInterpretation="YBR_FULL", syntax=JPEG2000Lossless)
    ds.PixelData = encapsulate([bytes(encode_array(ybr, photometric_interpretation=0, use_mct=False))])
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    image = read.read_file(save(ds, tmp_path / "a"))
    assert np.abs(image.voxels[:, :, 0].transpose(1, 0, 2).astype(int) - rgb).max() <= 2


@pytest.mark.parametrize("table", [True, False])
@pytest.mark.parametrize("fragments", [1, 3])
def test_frames_are_found_with_and_without_offset_tables(tmp_path, table, fragments):
    pixels = noise((4, 40, 50), dtype=np.uint16)
    ds = compressed(pixels, JPEG2000Lossless, Modality="OT", RescaleIntercept=0)
    frames = list(generate_frames(ds.PixelData, number_of_frames=4))
    ds.PixelData = encapsulate(frames, fragments_per_frame=fragments, has_bot=table)
    image = read.read_file(save(ds, tmp_path / "c.dcm"))
    np.testing.assert_array_equal(image.voxels.transpose(2, 1, 0), pixels)


def test_an_extended_offset_table(tmp_path):
    pixels = noise((4, 40, 50), dtype=np.uint16)
    ds = compressed(pixels, JPEG2000Lossless, Modality="OT", RescaleIntercept=0)
    frames = list(generate_frames(ds.PixelData, number_of_frames=4))
    ds.PixelData, ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = encapsulate_extended(frames)
    image = read.read_file(save(ds, tmp_path / "c.dcm"))
    np.testing.assert_array_equal(image.voxels.transpose(2, 1, 0), pixels)


def test_fewer_frames_than_announced_and_damaged_offsets(tmp_path):
    ds = compressed(noise((4, 40, 50), dtype=np.uint16), JPEG2000Lossless, Modality="OT")
    frames = list(generate_frames(ds.PixelData, number_of_frames=4))
    ds.PixelData = encapsulate(frames[:3])
    with pytest.raises(UnreadableImage, match="3 compressed fragments, and its header declares 4 frames"):
        read.read_file(save(ds, tmp_path / "c.dcm"))
    packed = encapsulate(frames, fragments_per_frame=2, has_bot=True)
    ds.PixelData = packed[:12] + struct.pack("<L", 6) + packed[16:]
    with pytest.raises(UnreadableImage, match="table of frame offsets is damaged"):
        read.read_file(save(ds, tmp_path / "c.dcm"))


def test_compressed_pixels_under_a_native_syntax_and_the_other_way_round(tmp_path):
    ds = compressed(noise((9, 11)), RLELossless)
    path = save(ds, tmp_path / "c.dcm")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"1.2.840.10008.1.2.5\0", b"1.2.840.10008.1.2.1\0"))
    with pytest.raises(UnreadableImage, match="pixels are compressed, and its transfer syntax says Explicit VR"):
        read.read_file(path)
    path = save(dataset(noise((9, 11))), tmp_path / "d.dcm")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"))
    with pytest.raises(UnreadableImage, match="not packed as RLE Lossless should be"):
        read.read_file(path)


def test_a_lossy_frame_under_a_lossless_syntax(tmp_path):
    ds, _ = frame_of("SC_rgb_jpeg_dcmtk")
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.70"
    with pytest.raises(UnreadableImage, match=r"another JPEG process \(frame marker C0\) than its syntax says"):
        read.read_file(save(ds, tmp_path / "c.dcm"))


@pytest.mark.parametrize("transform", [0, 1, 2, 41, 255])
def test_colour_marks_that_end_gdcm_do_not_reach_it(tmp_path, transform):
    """An Adobe mark of YCbCr in lossless RGB makes gdcm end the whole process; here the samples come out as stored."""
    ds, frame = frame_of("SC_rgb_jpeg_gdcm")
    at = frame.index(b"Adobe") + 11
    ds.PixelData = encapsulate([frame[:at] + bytes([transform]) + frame[at + 1 :]])
    image = read.read_file(save(ds, tmp_path / "c.dcm"))
    assert image.voxels.shape == (100, 100, 1, 3)
    np.testing.assert_array_equal(image.voxels, read.read_file(FILES / "SC_rgb_jpeg_gdcm.dcm").voxels)  # ids R, G, B


def test_codestreams_tell_what_they_are():
    for name, depth in (("JPGExtended", 12), ("SC_rgb_jpeg_dcmtk", 8), ("MR_small_jpeg_ls_lossless", 16)):
        ds, frame = frame_of(name)
        found = codestream.jpeg(frame)
        assert (found.rows, found.columns, found.samples, found.precision) == (
            ds.Rows, ds.Columns, ds.SamplesPerPixel, depth,
        )  # fmt: skip
    ds, frame = frame_of("MR_small_jp2klossless")
    found = codestream.jpeg2000(frame)
    assert (found.rows, found.columns, found.precision, found.signed) == (64, 64, 16, True)


def test_lossless_colour_whose_components_are_only_numbered(tmp_path):
    """Without a colour mark, libjpeg takes components 1, 2, 3 for YCbCr; the samples come out as they are stored."""
    ds, frame = frame_of("SC_rgb_jpeg_gdcm")
    bare = codestream.jpeg(frame).bare
    data = bytearray(frame.replace(b"Adobe", b"Other"))
    frame_at, scan_at = data.index(b"\xff\xc3"), data.index(b"\xff\xda")
    for n in range(3):
        data[frame_at + 10 + 3 * n] = data[scan_at + 5 + 2 * n] = n + 1
    ds.PixelData = encapsulate([bytes(data)])
    image = read.read_file(save(ds, tmp_path / "c.dcm"))
    np.testing.assert_array_equal(image.voxels, read.read_file(FILES / "SC_rgb_jpeg_gdcm.dcm").voxels)
    assert bare.count(b"Adobe") == 1


def test_no_cut_of_a_jpeg_2000_frame_reaches_a_decoder():
    """One decoder refuses what is cut, another may fill it: the codestream's own marks tell before."""
    _, frame = frame_of("MR_small_jp2klossless")
    whole = frame.rstrip(b"\0")
    codestream.jpeg2000(whole)
    for length in (len(whole) - 1, len(whole) - 2, len(whole) - 50, len(whole) // 2, 150):
        with pytest.raises(UnreadableImage, match="truncated or damaged"):
            codestream.jpeg2000(whole[:length])
        if length != len(whole) - 2:  # of which the end mark makes it whole again
            with pytest.raises(UnreadableImage, match="truncated or damaged"):
                codestream.jpeg2000(whole[:length] + b"\xff\xd9")


# (i * 3 + j * 5) % 256 of 32 columns and 24 rows, encoded by OpenJPH 0.26, which is none of the decoders here
HTJ2K = (
    "/0//UQApQAAAAAAgAAAAGAAAAAAAAAAAAAAAIAAAABgAAAAAAAAAAAABBwEB/1AACAACAAAAAv9SAAwAAgABAAUEBEAB/1wAEyBIUFBQUFBQUFBQUFBQ"
    "SEhI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAIwAAf+TwCXzAId0AMASwBKA7ACHdACqAQd0AMATQBIA1v4AAnQA7QozAMATwBUgqvqj"
    "I8J1ACzLssAAAb62AMAVUAVoJEn+54Cnp0J3AJSIiIj++nJ798nsuADAK2AWsAAAAPn+Kenp6eniegAIAAAAAAD+/3GBJ79knv2Se/ZJ7L8A/9k="
)


@pytest.mark.parametrize("number", [201, 202, 203])
def test_high_throughput_jpeg_2000(tmp_path, number):
    rows, columns = np.mgrid[:24, :32]
    pixels = ((columns * 3 + rows * 5) % 256).astype(np.uint8)
    ds = dataset(pixels, Modality="OT", RescaleIntercept=0)
    ds.file_meta.TransferSyntaxUID = f"1.2.840.10008.1.2.4.{number}"
    frame = base64.b64decode(HTJ2K)
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].is_undefined_length = True
    image = read.read_file(save(ds, tmp_path / "h.dcm"))
    np.testing.assert_array_equal(image.voxels[:, :, 0].T, pixels)
    ds.PixelData = encapsulate([frame[:-20]])
    with pytest.raises(UnreadableImage, match="truncated or damaged"):
        read.read_file(save(ds, tmp_path / "h.dcm"))


def padded(frame: bytes) -> bytes:
    """The same with zero bytes before the end mark, as some encoders leave them."""
    whole = frame.rstrip(b"\0")
    return whole[:-2] + b"\0\0" + whole[-2:]


@pytest.mark.parametrize(
    ("syntax", "absent", "said"),
    [
        (JPEGLSLossless, None, "decoded by python-gdcm: pyjpegls refused them"),
        (JPEGLSLossless, "gdcm", "decoded by pyjpegls, without the zero bytes before its end mark: pyjpegls refused"),
        (JPEG2000Lossless, None, "decoded by pylibjpeg-openjpeg, without the zero bytes before its end mark"),
    ],
)
def test_what_one_decoder_refuses_is_tried_with_the_next(tmp_path, capfd, monkeypatch, syntax, absent, said):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None if module == absent else find(module))
    pixels = ramp((2, 64, 80), 0, 1000).astype(np.uint16)
    ds = compressed(pixels, syntax, Modality="OT", RescaleIntercept=0)
    whole = read.read_file(save(ds, tmp_path / "a.dcm"))
    ds.PixelData = encapsulate([padded(frame) for frame in generate_frames(ds.PixelData, number_of_frames=2)])
    image = read.read_file(save(ds, tmp_path / "b.dcm"))
    np.testing.assert_array_equal(image.voxels.transpose(2, 1, 0), pixels)
    assert not whole.repairs
    assert any(said in repair for repair in image.repairs)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["JPGExtended", "SC_rgb_jpeg_dcmtk", "693_J2KI", "MR_small_jpeg_ls_lossless"])
def test_decoders_write_nothing_to_the_screen(name, capfd):
    read.read_file(FILES / f"{name}.dcm")
    assert capfd.readouterr() == ("", "")


def test_a_frame_that_the_decoder_fills_and_complains_of_is_refused(tmp_path, capfd):
    """libjpeg goes on with grey where the entropy-coded data break off, and says so on standard error alone."""
    ds, frame = frame_of("SC_rgb_jpeg_dcmtk")
    whole = frame.rstrip(b"\0")
    ds.PixelData = encapsulate([whole[: len(whole) * 3 // 4] + b"\xff\xd9"])
    with pytest.raises(UnreadableImage, match=r"c\.dcm: a compressed frame is damaged"):
        read.read_file(save(ds, tmp_path / "c.dcm"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("scale", [(1, 0), (40, -7)])
def test_values_beyond_the_stored_bits_do_not_wrap(tmp_path, photometric, scale):
    """Ten bits hold 1023; a codestream of 16 bits may hold more: clipped where they are inverted, else kept."""
    values = np.tile([[0, 1, 1022, 1023], [1024, 1030, 2000, 501]], (8, 8)).astype(np.uint16)
    slope, intercept = scale
    ds = compressed(values, JPEGLSLossless, Modality="CR", PhotometricInterpretation=photometric,
                    RescaleSlope=slope, RescaleIntercept=intercept)  # fmt: skip
    ds.BitsStored, ds.HighBit = 10, 9
    image = read.read_file(save(ds, tmp_path / "c.dcm"))
    stored = values.astype(int)
    wanted = stored if photometric == "MONOCHROME2" else 1023 - stored.clip(0, 1023)
    np.testing.assert_array_equal(image.voxels[:, :, 0].T.astype(float), wanted * slope + intercept)
    assert any("192 values beyond the 10 bits stored" in repair for repair in image.repairs)
