"""The header scanner: the same elements and values as pydicom, and no harm from hostile files."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medvfm.core.errors import UnreadableImage
from medvfm.io.dicom import header as dicom_header
from medvfm.io.dicom import read
from medvfm.io.dicom.dictionary import TAGS
from tests.samples.dicom import dataset, deflated, noise, pydicom_folder, save

NUMBERS = ("DS", "IS", "US", "SS", "UL", "SL", "FL", "FD")
TEXTS = ("CS", "UI", "SH", "DT", "TM", "DA", "AS")
SEEN_OTHERWISE = {
    "badVR.dcm",  # a number that is none
    "rtplan_truncated.dcm",  # cut: refused here
    "DICOMDIR-nooffset",  # its sequence runs beyond the file: refused here
    "emri_small_jpeg_2k_lossless_too_short.dcm",  # cut in its pixels: pydicom gives up
}
GIB = 2**30


def test_the_dictionary_is_that_of_the_standard():
    for keyword, (tag, vr) in TAGS.items():
        assert tag_for_keyword(keyword) == tag, keyword
        known = dictionary_VR(tag)
        assert vr.decode() in known.replace("US or SS", "US or SS or XS").split(" or "), keyword


def compare(mine: dicom_header.DataSet, theirs: Dataset, name: str) -> int:
    count = 0
    behind_pixels = {0xFFFCFFFC}
    assert set(mine.elements) == {int(t) for t in theirs.keys()} - behind_pixels, name  # noqa: SIM118
    for keyword, (tag, _) in TAGS.items():
        if tag not in theirs:
            continue
        element = theirs[tag]
        value = element.value
        many = [] if value is None or value == "" else list(value) if element.VM > 1 else [value]
        if element.VR == "SQ":
            items = mine.items(keyword)
            assert len(items) == len(value), (name, keyword)
            count += sum(compare(a, b, name) for a, b in zip(items, value, strict=True))
        elif element.VR in NUMBERS:
            assert list(mine.numbers(keyword)) == [float(v) for v in many], (name, keyword)
            count += 1
        elif element.VR in TEXTS:
            assert mine.text(keyword).strip() == "\\".join(map(str, many)).strip(), (name, keyword)
            count += 1
    return count


def test_every_value_is_that_of_pydicom(shared_data):
    data_store = pytest.importorskip("data_store")
    folders = (pydicom_folder() / "test_files", pydicom_folder() / "charset_files", Path(data_store.__file__).parent)
    count = 0
    for path in (
        p for folder in (*folders, shared_data / "dicom_seg") for p in sorted(folder.rglob("*")) if p.is_file()
    ):
        if not read.is_dicom(path) or path.name in SEEN_OTHERWISE:
            continue
        with warnings.catch_warnings(), dicom_header.opened(path) as header:
            warnings.simplefilter("ignore")
            count += compare(header, pydicom.dcmread(path, force=True), path.name)
    assert count > 7900


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"", "the file is empty"), (b"text " * 100, "not a DICOM file"), (b"\0" * 128 + b"DICM", "before its data set")],
)
def test_no_dicom_at_all(tmp_path, data, said):
    path = tmp_path / "bad.dcm"
    path.write_bytes(data)
    with pytest.raises(UnreadableImage, match=said) as caught:
        read.read_file(path)
    assert "bad.dcm" in str(caught.value)


def test_every_cut_is_refused(tmp_path):
    whole = save(dataset(noise((5, 7))), tmp_path / "whole").read_bytes()
    path = tmp_path / "cut"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(UnreadableImage, match="cut:"):
            read.read_file(path)


def nested(depth: int, defined: bool) -> bytes:
    """Implicit little endian: a private sequence in a sequence, `depth` deep."""
    item, sequence = b"\xfe\xff\x00\xe0", b"\x40\x00\x40\xa7"  # ContentSequence
    if not defined:
        ends = b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
        return (sequence + b"\xff" * 4 + item + b"\xff" * 4) * depth + ends * depth
    inner = b""
    pieces, length = [], 0
    for _ in range(depth):
        pieces.append(sequence + (length + 8).to_bytes(4, "little") + item + length.to_bytes(4, "little"))
        length += 16
    return b"".join(reversed(pieces)) + inner


def with_nesting(tmp_path: Path, depth: int, defined: bool) -> Path:
    ds = dataset(noise((5, 7)), syntax="1.2.840.10008.1.2")
    data = save(ds, tmp_path / "plain").read_bytes()
    at = data.index(b"\xe0\x7f\x10\x00")
    path = tmp_path / "nested.dcm"
    path.write_bytes(data[:at] + nested(depth, defined) + data[at:])
    return path


@pytest.mark.parametrize("defined", [True, False])
def test_sequences_nested_20000_deep(tmp_path, defined):
    path = with_nesting(tmp_path, 20_000, defined)
    with pytest.raises(UnreadableImage, match="sequences are nested deeper than 64"):
        read.read_file(path)


@pytest.mark.parametrize("defined", [True, False])
def test_ordinary_nesting_is_read(tmp_path, defined):
    assert read.read_file(with_nesting(tmp_path, 12, defined)).shape_vox == (7, 5, 1)


HELD = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({cap}, {cap}))
from medvfm.core.errors import UnreadableImage
from medvfm.io.dicom import read
try:
    read.read_file(sys.argv[1])
except UnreadableImage as error:
    print(error)
# VmHWM, not ru_maxrss: that of a child begins at what its parent held when it forked
status = open("/proc/self/status").read()
peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
print("peak", peak)
assert peak < {peak}
"""


def held(path: Path, *, cap_gib: float = 2.0, peak_gib: float = 1.0) -> str:
    """What reading the file in a process with a memory cap prints; it must not crash."""
    code = HELD.format(cap=int(cap_gib * GIB), peak=int(peak_gib * GIB))
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_deflated_file_is_read(tmp_path):
    pixels = noise((50, 70))
    image = read.read_file(deflated(dataset(pixels), tmp_path / "d.dcm"))
    np.testing.assert_array_equal(image.voxels[:, :, 0].T, pixels.astype(int) - 1024)
    assert image.header["transfer_syntax"] == "Deflated Explicit VR Little Endian"


def test_a_deflated_bomb_behind_the_pixels_is_not_inflated(tmp_path):
    path = deflated(dataset(noise((5, 7))), tmp_path / "bomb.dcm", zeros_mib=6000)
    assert path.stat().st_size < 8e6  # of 6 GB
    assert "bomb.dcm" not in held(path, peak_gib=0.3)  # what is behind the pixels is not looked at


def test_a_deflated_bomb_in_its_pixels(tmp_path):
    ds = dataset(noise((5, 7)), Rows=65535, Columns=65535, NumberOfFrames=1)
    path = deflated(ds, tmp_path / "bomb.dcm", zeros_mib=6000)
    assert "8.0 GiB to decode, more than the limit of 4 GiB; raise limit_gib" in held(path, peak_gib=0.3)


def test_a_deflated_bomb_in_its_header(tmp_path):
    private = b"\x09\x10\x10\x10UN\0\0" + (3 << 30).to_bytes(4, "little")
    path = deflated(dataset(noise((5, 7))), tmp_path / "bomb.dcm", zeros_mib=3 << 10, only=private)
    assert "its header is larger than 0.5 GiB" in held(path)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"Rows": 0}, "Rows is 0"),
        ({"Columns": 0}, "Columns is 0"),
        ({"NumberOfFrames": 0}, "NumberOfFrames is 0"),
        ({"NumberOfFrames": -3}, "NumberOfFrames is -3"),
        (
            {"Rows": 65535, "Columns": 65535, "NumberOfFrames": 1000},
            "7,999.8 GiB to decode, more than the limit of 4 GiB; raise",
        ),
        ({"Rows": 30000, "Columns": 30000}, "the file ends early|its header declares"),
        ({"BitsAllocated": 12}, "12 bits allocated"),
        ({"BitsStored": 17}, "17 bits stored of 16"),
        ({"HighBit": 3}, "high bit 3"),
        ({"SamplesPerPixel": 2}, "2 samples per pixel"),
        ({"PhotometricInterpretation": "HSV"}, "photometric interpretation is missing or unknown"),
        ({"RescaleSlope": 0}, "rescale slope is 0"),
    ],
)
def test_sizes_and_formats_that_cannot_be(tmp_path, fields, said):
    path = save(dataset(noise((5, 7)), **fields), tmp_path / "bad.dcm")
    with pytest.raises(UnreadableImage, match=said):
        read.read_file(path)


@pytest.mark.parametrize("text", ["nan", "inf", "1_0", "0,5", "five", "1e999", "0x1"])
def test_decimal_strings_that_are_no_finite_number(tmp_path, text):
    data = save(dataset(noise((5, 7)), RescaleSlope="1.0000000"), tmp_path / "x").read_bytes()
    assert data.count(b"1.0000000 ") == 1
    path = tmp_path / "bad.dcm"
    path.write_bytes(data.replace(b"1.0000000 ", text.encode().ljust(10)))
    with pytest.raises(UnreadableImage, match=r"RescaleSlope is no (finite )?number"):
        read.read_file(path)


def test_huge_frames_take_no_memory(tmp_path):
    ds = dataset(noise((5, 7)), Rows=65535, Columns=65535, NumberOfFrames=1000)
    assert "more than the limit of 4 GiB" in held(save(ds, tmp_path / "huge.dcm"), peak_gib=0.3)


def test_a_file_without_pixels_says_what_it_is(tmp_path):
    with pytest.raises(UnreadableImage, match=r"holds no pixels \(modality SR\)"):
        read.read_file(pydicom_folder() / "test_files" / "test-SR.dcm")
    with pytest.raises(UnreadableImage, match="a DICOMDIR: an index of other files; give the folder itself"):
        read.read_file(pydicom_folder() / "test_files" / "dicomdirtests" / "DICOMDIR")


def test_no_patient_data_in_messages_or_on_standard_error(tmp_path, capfd):
    ds = dataset(noise((5, 7)), PatientComments="seen by Doktor Hasenbein")
    ds.OtherPatientIDsSequence = Sequence([Dataset()])
    ds.OtherPatientIDsSequence[0].PatientID = "PID-550123"
    whole = save(ds, tmp_path / "x.dcm").read_bytes()
    path = tmp_path / "y.dcm"
    r = np.random.default_rng(0)
    said = [repr(read.read_file(tmp_path / "x.dcm"))]
    for _ in range(300):
        data = bytearray(whole)
        for at in r.integers(132, len(whole), 4):
            data[at] = int(r.integers(256))
        path.write_bytes(data)
        try:
            said.append(str(dict(read.read_file(path).header)))
        except UnreadableImage as error:
            said.append(f"{error} {error!r}")
    out = capfd.readouterr()
    for secret in ("Hasenbein", "550123", "Ottilie"):
        assert secret not in "".join(said) + out.out + out.err


def test_random_damage_is_an_error_or_an_image(tmp_path):
    r = np.random.default_rng(0)
    names = ("CT_small", "MR_small_RLE", "SC_rgb_jpeg_dcmtk", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless",
             "SC_rgb_jpeg_gdcm", "rtdose", "image_dfl", "MR_small_expb")  # fmt: skip
    refused = 0
    path = tmp_path / "bad.dcm"
    for name in names:
        whole = (pydicom_folder() / "test_files" / f"{name}.dcm").read_bytes()
        for _ in range(40):
            data = bytearray(whole)
            for at in r.integers(132, min(len(data), 6000), 4):
                data[at] = int(r.integers(256))
            path.write_bytes(data[: int(r.integers(200, len(data)))] if r.random() < 0.3 else data)
            try:
                read.read_file(path)
            except UnreadableImage as error:
                assert error.where == str(path)
                refused += 1
    assert refused > 100
