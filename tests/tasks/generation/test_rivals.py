"""Rivals without a generator: their moments are those that they promise."""

import numpy as np
import pytest

from medvfm.tasks.generation import rivals


@pytest.fixture(scope="module", params=[(8, 8), (4, 4, 4)], ids=["pictures", "volumes"])
def train(request):
    rng, size = np.random.default_rng(0), request.param
    wide = rng.normal(size=(400, 1, *size))
    smooth = wide + np.roll(wide, 1, axis=2) + np.roll(wide, 1, axis=len(size) + 1)
    shade = rng.normal(size=(400, *[1] * (len(size) + 1)))
    return (0.5 + 0.04 * smooth + 0.1 * shade).clip(0, 1).astype(np.float32)


def moments(images):
    flat = images.reshape(len(images), -1).astype(np.float64)
    return flat.mean(0), np.cov(flat.T)


def test_gaussian_full_has_mean_and_covariance_of_the_training_images(train):
    mean, covariance = moments(rivals.gaussian_full(train, 4000, np.random.default_rng(1)))
    wanted_mean, wanted = moments(train)
    assert np.abs(mean - wanted_mean).max() < 0.02
    assert np.corrcoef(covariance.ravel(), wanted.ravel())[0, 1] > 0.98


def test_gaussian_has_the_deviation_of_each_pixel_and_no_covariance(train):
    mean, covariance = moments(rivals.gaussian(train, 4000, np.random.default_rng(1)))
    wanted_mean, wanted = moments(train)
    assert np.abs(mean - wanted_mean).max() < 0.02
    assert np.abs(np.diag(covariance) / np.diag(wanted) - 1).max() < 0.2
    apart = covariance - np.diag(np.diag(covariance))
    assert np.abs(apart).max() < 0.15 * wanted.max()


def test_noise_has_the_spectrum_of_the_training_images(train):
    made = rivals.noise(train, 2000, np.random.default_rng(1))

    def power(images):
        return np.mean(np.abs(np.fft.fftn(images - images.mean(0), axes=range(2, images.ndim))) ** 2, axis=0)

    assert np.abs(power(made) / power(train) - 1).max() < 0.2
    assert np.abs(made.mean(0) - train.mean(0)).max() < 0.02


def test_the_mean_image_is_the_mean_every_time(train):
    made = rivals.mean_image(train, 3, np.random.default_rng(1))
    assert np.allclose(made, train.mean(0)) and made.shape == (3, *train.shape[1:])


def test_blur_lowers_contrast_and_keeps_the_mean(train):
    once, twice = rivals.blurred(train, 1), rivals.blurred(train, 2)
    inner = (slice(None), slice(None), *[slice(1, side - 1) for side in train.shape[2:]])
    assert train[inner].std() > once[inner].std() > twice[inner].std()
    for axis in range(2, train.ndim):  # a step along any side is smoothed
        step = np.zeros(train[:1].shape, np.float32)
        step[(slice(None),) * axis + (slice(train.shape[axis] // 2, None),)] = 1
        assert len(np.unique(rivals.blurred(step, 1).round(4))) > 2
    assert once.mean() == pytest.approx(train.mean(), abs=0.01)


def test_classic_augmentation_changes_every_image_and_stays_within_0_and_1(train):
    made = rivals.augmented(train[:20], np.random.default_rng(1))
    assert made.shape == train[:20].shape and made.min() >= 0 and made.max() <= 1
    still = np.zeros((40, *train.shape[1:]), np.float32)
    still[(slice(None), 0, *[side // 2 for side in train.shape[2:]])] = 1
    places = {tuple(np.argwhere(one[0] > 0.5)[0]) for one in rivals.augmented(still, np.random.default_rng(2))}
    assert all(len({place[axis] for place in places}) > 1 for axis in range(len(train.shape) - 2))  # moved along each
    assert (np.abs(made - train[:20]).reshape(20, -1).max(axis=1) > 0).all()
