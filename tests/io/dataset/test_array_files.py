"""Images inside array files: what is not as the card says is refused before it is read."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

import medvfm
from medvfm.core.errors import DataError
from medvfm.core.layout import Arrays
from medvfm.io.dataset import array_files
from medvfm.io.dataset.safe_paths import Inside

PIXELS = np.arange(2 * 6 * 8, dtype=np.uint8).reshape(2, 6, 8)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDVFM_CACHE", str(tmp_path / "cache"))


def rows(root, **more):
    wanted = Arrays(**{"file": "a.npz", "images": "x", "labels": "y", "splits": ("train",), **more})
    return [fields for fields, _ in array_files.arrays(wanted, Inside(root))]


def hdf5(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    return path.name


def test_pixels_and_labels_come_out_as_they_went_in(tmp_path):
    np.savez(tmp_path / "a.npz", x=PIXELS, y=[[3], [1]])
    hdf5(tmp_path / "valid.h5", x=PIXELS, y=np.array([[3, 0], [1, 1]]).reshape(2, 1, 1, 2))
    plain = rows(tmp_path)
    named = rows(tmp_path, file="{split}.h5", splits=("val",), names={"val": "valid"})
    assert [row["label"] for row in plain] == [3, 1]
    assert [(row["case_id"], row["label_0"], row["label_1"]) for row in named] == [
        ("val_000000", 3, 0),
        ("val_000001", 1, 1),
    ]
    for found in (plain, named):
        assert np.array_equal([medvfm.read_image(row["image"]).voxels[:, :, 0].T for row in found], PIXELS)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": PIXELS}, "no array 'y'; there are: x"),
        ({"x": PIXELS, "y": [1, 2, 3]}, "3 labels for 2 images"),
        ({"x": PIXELS.astype(float), "y": [1, 2]}, "expected uint8"),
        ({"x": np.array([None, {}], dtype=object), "y": [1, 2]}, "not readable as arrays"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, arrays, said):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=said):
        rows(tmp_path)


def test_damaged_and_missing_files_are_refused(tmp_path):
    for name in ("a.npz", "a.h5"):
        with pytest.raises(DataError, match="no such file"):
            rows(tmp_path, file=name)
        (tmp_path / name).write_bytes(b"PK\x03\x04 not more")
        with pytest.raises(DataError, match="not readable as arrays"):
            rows(tmp_path, file=name)


def test_arrays_of_other_files_are_refused(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    hdf5(outside / "b.h5", x=PIXELS)
    root = tmp_path / "root"
    root.mkdir()
    linked = {"x": h5py.ExternalLink(str(outside / "b.h5"), "x")}
    virtual = h5py.VirtualLayout(PIXELS.shape, PIXELS.dtype)
    virtual[:] = h5py.VirtualSource(str(outside / "b.h5"), "x", PIXELS.shape)
    hdf5(root / "linked.h5", **linked, y=[1, 2])
    hdf5(root / "group.h5", **{"x/x": PIXELS, "y": [1, 2]})
    with h5py.File(root / "virtual.h5", "w") as file:
        file.create_virtual_dataset("x", virtual)
        file["y"] = [1, 2]
    for name in ("linked.h5", "group.h5", "virtual.h5"):
        with pytest.raises(DataError, match="no array of this file"):
            rows(root, file=name)
