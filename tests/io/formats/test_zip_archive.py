"""Zip archives: read like what they hold, nothing written outside, bombs refused while they grow."""

from __future__ import annotations

import io
import stat
import struct
import tempfile
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medvfm.core.errors import UnreadableImage
from medvfm.io.formats.zip_archive import unpacked
from medvfm.io.read import read_image
from tests.samples.dicom import dataset, noise, save


@pytest.fixture
def volume(tmp_path) -> bytes:
    nibabel.save(nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4)), tmp_path / "v.nii.gz")
    return (tmp_path / "v.nii.gz").read_bytes()


def zipped(path: Path, members: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def refused(path: Path, match: str, **options) -> None:
    with pytest.raises(UnreadableImage, match=match) as caught:
        read_image(path, **options)
    assert path.name in str(caught.value)


def test_one_volume(tmp_path, volume):
    path = zipped(tmp_path / "a.zip", {"deep/down/v.nii.gz": volume, "__MACOSX/._v": b"x", "deep/.DS_Store": b"x"})
    assert np.array_equal(read_image(path).voxels, np.arange(60).reshape(3, 4, 5))


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil-absolute", "a/../../evil", "..\\evil", "C:\\evil"])
def test_nothing_is_written_outside(tmp_path, volume, name, monkeypatch):
    inside = tmp_path / "x" / "y"
    inside.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(inside))
    path = zipped(tmp_path / "a.zip", {name: volume})
    before = set(tmp_path.rglob("*"))
    with unpacked(path) as made:
        assert made.resolve().is_relative_to(inside.resolve())
        assert set(tmp_path.rglob("*")) - before == {made, made.parent}
    assert set(tmp_path.rglob("*")) == before
    assert not Path("/tmp/evil-absolute").exists()


def test_links_and_archives_inside_are_refused(tmp_path, volume):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    refused(tmp_path / "a.zip", "link")
    inner = zipped(tmp_path / "inner.zip", {"v.nii.gz": volume}).read_bytes()
    refused(zipped(tmp_path / "b.zip", {"inner.zip": inner, "v": volume}), "archive inside the archive")


def test_a_slice_that_came_out_empty_is_not_left_out(tmp_path):
    slices = {}
    for k in range(3):
        save(dataset(noise((4, 6), k), ImagePositionPatient=[0.0, 0.0, 3.0 * k]), tmp_path / "slice")
        slices[f"a/{k}.DCM"] = (tmp_path / "slice").read_bytes()
    assert read_image(zipped(tmp_path / "a.zip", slices)).shape_vox == (6, 4, 3)
    with pytest.raises(UnreadableImage, match="1 of its DICOM files cannot be read"):
        read_image(zipped(tmp_path / "b.zip", {**slices, "a/2.DCM": b""}))


def test_empty_damaged_and_unreadable(tmp_path, volume):
    refused(zipped(tmp_path / "a.zip", {}), "0 files")
    refused(zipped(tmp_path / "b.zip", {"note.txt": b"nothing to see"}), "inside the archive: not an image")
    path = zipped(tmp_path / "c.zip", {"v.nii.gz": volume}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    for broken in (bytes(data[: len(data) // 2]), bytes(data[:-10])):
        path.write_bytes(broken)
        refused(path, "zip archive")
    data[60] ^= 0xFF
    path.write_bytes(data)
    refused(path, "zip archive")


def test_bombs(tmp_path):
    path = zipped(tmp_path / "a.zip", {f"{n}": bytes(8 << 20) for n in range(4)})
    refused(path, "limit of 0.02 GiB", limit_gib=0.02)
    # a table that lies about the size: the bytes that come out are counted
    lying = bytearray(path.read_bytes())
    at = 0
    while (at := lying.find(b"PK\x01\x02", at)) >= 0:
        struct.pack_into("<I", lying, at + 24, 1)
        at += 4
    path.write_bytes(lying)
    with pytest.raises(UnreadableImage):
        read_image(path, limit_gib=0.02)


def test_an_encrypted_archive(tmp_path, volume):
    path = zipped(tmp_path / "a.zip", {"v.nii.gz": volume})
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.find(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    refused(path, "encrypted")


def test_what_was_unpacked_vanishes(tmp_path, volume, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = zipped(tmp_path / "a.zip", {"v": io.BytesIO(volume).getvalue(), "w": volume})
    before = set(tmp_path.iterdir())
    with unpacked(path) as folder:
        assert folder.is_dir() and len(list(folder.iterdir())) == 2
    assert set(tmp_path.iterdir()) == before
