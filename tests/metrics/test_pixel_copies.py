"""The training image that an image is most like, pixel by pixel: a slow search over moves as the witness."""

import itertools

import numpy as np
import pytest
import torch

from medvfm.metrics.pixel_copies import MOVE, MOVE_VOX, SIDE_PX, SIDE_VOX, most_alike


def images(count: int, seed: int) -> torch.Tensor:
    drawn = torch.randn(count, 1, SIDE_PX, SIDE_PX, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.avg_pool2d(drawn, 5, stride=1, padding=2)


def slowly(one: np.ndarray, other: np.ndarray) -> float:
    moves = range(-MOVE, MOVE + 1)
    return max(np.corrcoef(np.roll(other, (r, c), (0, 1)).ravel(), one.ravel())[0, 1] for r in moves for c in moves)


def test_the_most_alike_is_that_of_a_search_over_moves():
    given, among = images(3, 0), images(4, 1)
    values, places, _ = most_alike(given, among)
    for row in range(3):
        each = [slowly(given[row, 0].numpy(), among[k, 0].numpy()) for k in range(4)]
        assert values[row].item() == pytest.approx(max(each), abs=1e-5)
        assert places[row].item() == int(np.argmax(each))


def test_a_copy_that_was_moved_and_changed_in_contrast_is_found():
    among = images(6, 2)
    copy = 0.5 * torch.roll(among[4:5], (2, -3), (2, 3)) + 0.2
    values, places, _ = most_alike(copy, among)
    assert places.item() == 4 and values.item() == pytest.approx(1, abs=1e-5)


def test_volumes_are_searched_in_all_three_directions():
    drawn = torch.randn(7, 1, *[SIDE_VOX] * 3, generator=torch.Generator().manual_seed(6))
    smooth = torch.nn.functional.avg_pool3d(drawn, 3, stride=1, padding=1)
    given, among = smooth[:2], smooth[2:]
    values, places, _ = most_alike(given, among)
    steps = range(-MOVE_VOX, MOVE_VOX + 1)
    for row in range(2):
        each = [
            max(
                np.corrcoef(np.roll(a.numpy(), move, (0, 1, 2)).ravel(), given[row, 0].numpy().ravel())[0, 1]
                for move in itertools.product(steps, steps, steps)
            )
            for a in among[:, 0]
        ]
        assert values[row].item() == pytest.approx(max(each), abs=1e-5)
        assert places[row].item() == int(np.argmax(each))


def test_a_volume_of_another_size_that_was_moved_is_found():
    """Twice as large: moved by four of its voxels, which are two of the small ones."""
    drawn = torch.randn(5, 1, 32, 48, 32, generator=torch.Generator().manual_seed(7))
    among = torch.nn.functional.avg_pool3d(drawn, 9, stride=1, padding=4)
    copy = 0.5 * torch.roll(among[3:4], (4, 6, -4), (2, 3, 4)) + 0.2
    values, places, _ = most_alike(copy, among)
    assert places.item() == 3 and values.item() == pytest.approx(1, abs=0.01)
    turned = most_alike(copy.flip(2), among).values
    assert turned.item() < 0.9


def test_images_of_one_set_are_not_compared_with_themselves():
    given = images(5, 3)
    values, places, _ = most_alike(given, given, skip_same=True)
    assert (places != torch.arange(5)).all() and (values < 0.999).all()


def test_an_image_without_contrast_is_like_nothing():
    values, *_ = most_alike(torch.full((1, 1, 40, 40), 0.3), images(3, 4))
    assert values.item() == pytest.approx(0, abs=1e-6)


def test_colour_and_other_sizes_are_compared_as_small_grey_images():
    among = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(5))
    values, places, _ = most_alike(among[1:2], among)
    assert places.item() == 1 and values.item() == pytest.approx(1, abs=1e-5)


def test_a_copy_is_singled_out_and_a_smooth_image_is_not():
    """The mean of a set correlates with each of it better than these do with each other, and is a copy of none."""
    among = images(40, 8) + images(1, 9)
    noisy = among[3:4] + 0.02 * images(1, 10)
    mean, strange = among.mean(0, keepdim=True), images(1, 9) + images(1, 11)
    found = most_alike(torch.cat([noisy, mean, strange]), among)
    assert found.values[1] > found.values[2]
    assert found.singled[0] < 0.1 and (found.singled[1:] > 0.85).all()


def test_singled_out_is_the_distance_over_the_mean_of_the_next_ten():
    given, among = images(2, 12), images(30, 13)
    found = most_alike(given, among)
    for row in range(2):
        each = sorted((slowly(given[row, 0].numpy(), other[0].numpy()) for other in among), reverse=True)
        away = np.sqrt(2 - 2 * np.array(each[:11]))
        assert found.singled[row].item() == pytest.approx(away[0] / away[1:].mean(), abs=1e-4)
    few = most_alike(given, among[:1])
    assert torch.isnan(few.singled).all() and torch.isfinite(few.values).all()


def test_other_images_of_the_same_patient_do_not_hide_a_copy():
    """Twelve nearly equal images of one patient: a copy of one of them is no less a copy."""
    others = images(30, 14)
    same = images(1, 15) + 0.02 * images(12, 16)
    among = torch.cat([same, others])
    owners = torch.tensor([0] * 12 + list(range(1, 31)))
    copy = same[3:4]
    found = most_alike(copy, among, owners)
    assert found.places.item() == 3 and found.singled[0] < 0.01
    repeated = torch.cat([copy.repeat(12, 1, 1, 1), others])
    assert most_alike(copy, repeated).singled[0] == pytest.approx(1, abs=0.01)  # whose they are must be known
    assert most_alike(copy, repeated, owners).singled[0] < 0.01
    alone = most_alike(copy, same, torch.zeros(12))
    assert torch.isnan(alone.singled).all()
