"""Names without their endings, and the masks of a folder by their names."""

import pytest

from medvfm.io.dataset.file_endings import masks_of, without_ending


@pytest.mark.parametrize(
    ("name", "left"),
    [("v1.nii.gz", "v1"), ("v1.NII", "v1"), ("1.2.840.7", None), ("a.b.png", "a.b"), (".png", None), ("x.dcm", "x")],
)
def test_only_a_known_ending_is_cut(name, left):
    assert without_ending(name) == left


def test_masks_of_a_folder_are_grouped_and_others_passed_by(tmp_path):
    for name in ("c1.nii", "c1.nii.gz", "c2.png", "c3.jpg", ".c4.png", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "c5.png").mkdir()
    found = {name: [p.name for p in paths] for name, paths in masks_of(tmp_path).items()}
    assert found == {"c1": ["c1.nii", "c1.nii.gz"], "c2": ["c2.png"]}
