"""Series of several volumes: echoes, phases, b-values, time points, localizers."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

from medvfm.core.errors import UnreadableImage
from medvfm.io.dicom import read
from tests.samples.dicom import dataset, noise, save, write_series


def two_volumes(tmp_path, first: dict, second: dict, **common) -> None:
    write_series(tmp_path / "a", seed=1, **common, **first)
    write_series(tmp_path / "b", seed=2, **common, **second)


@pytest.mark.parametrize(
    ("first", "second", "labels"),
    [
        ({"EchoNumbers": 1}, {"EchoNumbers": 2}, ["echo 1", "echo 2"]),
        ({"EchoTime": 4.6}, {"EchoTime": 9.2}, ["echo time 4.6", "echo time 9.2"]),
        ({"AcquisitionNumber": 1}, {"AcquisitionNumber": 3}, ["acquisition 1", "acquisition 3"]),
        ({"TemporalPositionIdentifier": 1}, {"TemporalPositionIdentifier": 2},
         ["temporal position 1", "temporal position 2"]),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M"]}, {"ImageType": ["ORIGINAL", "PRIMARY", "P"]},
         ["image type ORIGINAL\\PRIMARY\\M", "image type ORIGINAL\\PRIMARY\\P"]),
        ({"ContentTime": "101500"}, {"ContentTime": "101530.5"}, ["content time 36900", "content time 36930.5"]),
    ],
)  # fmt: skip
def test_what_differs_at_each_place_tells_volumes_apart(tmp_path, first, second, labels):
    two_volumes(tmp_path, first, second)
    volumes = read.list_volumes(tmp_path)
    assert [v.label for v in volumes] == labels
    assert [v.shape_vox for v in volumes] == [(17, 12, 6)] * 2
    assert all(v.problem is None for v in volumes)
    with pytest.raises(UnreadableImage, match=r"2 volumes .*say which with volume="):
        read.read_series(tmp_path)
    for n, label in enumerate(labels, 1):
        image = read.read_series(tmp_path, volume=label)
        alone = read.read_series(tmp_path / "ab"[n - 1])
        np.testing.assert_array_equal(image.voxels, alone.voxels)
        np.testing.assert_array_equal(read.read_series(tmp_path, volume=n).voxels, alone.voxels)
    with pytest.raises(UnreadableImage, match="no volume 'echo 7'; it holds"):
        read.read_series(tmp_path, volume="echo 7")


def test_two_attributes_together(tmp_path):
    for n, (echo, phase) in enumerate([(1, 1), (1, 2), (2, 1), (2, 2)]):
        write_series(tmp_path / str(n), seed=n, EchoNumbers=echo, TemporalPositionIdentifier=phase)
    labels = [v.label for v in read.list_volumes(tmp_path)]
    assert labels == [f"echo {e}, temporal position {p}" for e in (1, 2) for p in (1, 2)]


def test_phases_whose_clock_runs_on_from_slice_to_slice(tmp_path):
    """Cardiac cine: 5 places, 4 phases, trigger times that differ a little from place to place."""
    for place in range(5):
        for phase in range(4):
            ds = dataset(
                noise((12, 17), place * 10 + phase),
                Modality="MR",
                ImagePositionPatient=[0.0, 0.0, 3.0 * place],
                TriggerTime=round(40.0 * phase + 0.7 * place, 2),
                InstanceNumber=place * 4 + phase,
            )
            save(ds, tmp_path / f"{place}{phase}")
    volumes = read.list_volumes(tmp_path)
    assert [v.label for v in volumes] == [f"trigger time {n} of 4" for n in range(1, 5)]
    image = read.read_series(tmp_path, volume="trigger time 3 of 4")
    for k in range(5):
        np.testing.assert_array_equal(image.voxels[:, :, k].T, noise((12, 17), k * 10 + 2) - 1024)


def test_acquisitions_that_share_no_place_are_one_volume(tmp_path):
    write_series(tmp_path / "a", count=3, AcquisitionNumber=1)
    write_series(tmp_path / "b", count=3, AcquisitionNumber=2, start=(-10.0, -20.0, 37.5), seed=1)
    assert read.read_series(tmp_path).shape_vox == (17, 12, 6)


def test_contrasts_that_share_no_place_are_several_volumes(tmp_path):
    """Echoes in turn, evenly spaced: one grid, and no volume."""
    write_series(tmp_path / "a", count=3, places=[0, 2, 4], Modality="MR", EchoTime=10)
    write_series(tmp_path / "b", count=3, places=[1, 3, 5], Modality="MR", EchoTime=90, seed=1)
    assert [v.label for v in read.list_volumes(tmp_path)] == ["echo time 10", "echo time 90"]
    for path in tmp_path.glob("b/*"):
        ds = pydicom.dcmread(path)
        ds.EchoTime = 10.004  # the same in other decimals
        save(ds, path)
    assert read.read_series(tmp_path).shape_vox == (17, 12, 6)


def test_magnitude_and_phase_never_share_a_time_point(tmp_path):
    """Their order in time differs from place to place, and clocks run on from slice to slice."""
    kinds = [("M", 0), ("M", 1), ("P", 0), ("P", 1)]
    for place in range(3):
        for moment, (kind, time) in enumerate(kinds[::-1] if place == 1 else kinds):
            ds = dataset(
                np.full((4, 6), 1000 * (kind == "P") + time, np.int16),
                Modality="MR",
                ImagePositionPatient=[0.0, 0.0, 3.0 * place],
                ImageType=["ORIGINAL", "PRIMARY", kind],
                TriggerTime=100 * time + 3 * place,
                ContentTime=f"1000{moment:02d}.{place}",
                RescaleIntercept=0,
            )
            save(ds, tmp_path / f"{place}{moment}")
    values = [np.unique(read.read_series(tmp_path, volume=n).voxels).tolist() for n in (1, 2, 3, 4)]
    assert values == [[0], [1], [1000], [1001]]


@pytest.mark.parametrize("keyword", ["PatientID", "StudyInstanceUID"])
def test_a_series_uid_that_was_given_twice_mixes_no_patients(tmp_path, keyword):
    write_series(tmp_path / "a", count=3)
    write_series(tmp_path / "b", count=3, start=(-10.0, -20.0, 37.5), seed=1, **{keyword: "1.2.99"})
    assert [v.shape_vox for v in read.list_volumes(tmp_path)] == [(17, 12, 3)] * 2
    with pytest.raises(UnreadableImage, match="it holds 2 volumes"):
        read.read_series(tmp_path)


def test_localizers_of_three_planes(tmp_path):
    sagittal, coronal = (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1)
    for n, orientation in enumerate([(1, 0, 0, 0, 1, 0), sagittal, coronal]):
        write_series(tmp_path / str(n), count=3, orientation=orientation, seed=n)
    volumes = read.list_volumes(tmp_path)
    assert [v.orientation for v in volumes] == ["LPS", "PIR", "LIP"]
    with pytest.raises(UnreadableImage, match="orientation 1"):
        read.read_series(tmp_path)


def test_a_phase_with_a_slice_missing_is_told_and_not_filled(tmp_path):
    two_volumes(tmp_path, {"EchoNumbers": 1}, {"EchoNumbers": 2})
    lost = next(f for f in (tmp_path / "b").iterdir() if pydicom.dcmread(f).ImagePositionPatient[2] == 35)
    lost.unlink()
    first, second = read.list_volumes(tmp_path)
    assert first.problem is None
    assert second.problem == "1 slices are missing: the first behind slice 2 of 5"
    with pytest.raises(UnreadableImage, match="1 slices are missing"):
        read.read_series(tmp_path, volume="echo 2")


def test_every_file_of_a_folder_is_accounted_for(tmp_path, shared_data):
    folder = shared_data / "dicom_seg"
    volumes = read.list_volumes(folder)
    listed = {p for v in volumes for p in v.paths}
    assert listed == {p for p in folder.rglob("*") if p.is_file() and read.is_dicom(p)}
    for volume in volumes:
        assert volume.series_uid
        assert volume.patient_id not in repr(volume) or len(volume.patient_id) < 4
    series = next(v for v in volumes if len(v.paths) == 3)
    assert (series.modality, series.shape_vox, series.orientation) == ("CT", (512, 512, 3), "LPS")
    assert any(v.problem == "it holds no pixels" and v.modality == "SR" for v in volumes)


def test_damaged_files_are_rows_with_their_problem(tmp_path):
    write_series(tmp_path)
    file = sorted(tmp_path.iterdir())[0]
    (tmp_path / "cut").write_bytes(file.read_bytes()[:300])
    problems = {v.paths[0].name: v.problem for v in read.list_volumes(tmp_path)}
    assert "ends early" in problems["cut"]
    assert sum(p is None for p in problems.values()) == 1
