"""Three planes of a volume side by side: head up, nose to the left in the sagittal one, in true proportions."""

import numpy as np

from medvfm.tasks.generation import volume_strips


def test_each_plane_is_the_right_way_round():
    pixels = np.zeros((1, 1, 8, 10, 12), np.float32)  # slices from the feet up, rows to the back, columns to the left
    pixels[0, 0, 7, 5, 6] = 1  # at the head, in the middle
    pixels[0, 0, 4, 0, 6] = 0.5  # at the nose
    (strip,) = volume_strips.of(pixels, None)
    axial, coronal, sagittal = np.split(strip[0], [12, 24], axis=1)
    assert strip.shape == (1, 10, 12 + 12 + 10)
    assert axial[0, 6] == 0.5 and axial.sum() == 0.5
    assert coronal[1, 6] == 1 and coronal.sum() == 1  # 8 slices in the middle of 10 rows
    assert sagittal[1, 5] == 1 and sagittal[1 + 3, 0] == 0.5


def test_planes_have_the_proportions_of_the_patient_and_pictures_stay():
    pixels = np.random.default_rng(0).random((2, 1, 8, 10, 12), np.float32)
    assert volume_strips.of(pixels, (3.0, 1.0, 2.0)).shape == (2, 1, 24, 24 + 24 + 10)
    assert volume_strips.of(pixels[:, :, 0], None) is not None
    np.testing.assert_array_equal(volume_strips.of(pixels[:, :, 0], None), pixels[:, :, 0])
