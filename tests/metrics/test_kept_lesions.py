"""Lesions erased and invented, on discs of known contrast."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medvfm.core.errors import Undefined
from medvfm.metrics import kept_lesions
from medvfm.metrics.kept_lesions import UsualLesion

Y, X = np.mgrid[:48, :48]


def disc(row, column, radius):
    return (Y - row) ** 2 + (X - column) ** 2 <= radius**2


HEAD, LESION, PLACE = disc(24, 24, 20), disc(18, 18, 4), disc(30, 30, 4)
HEALTHY = np.where(HEAD, 0.7, 0.0)
TRUTH = np.where(LESION, 0.4, HEALTHY)
LIKE = kept_lesions.usual([(TRUTH, LESION)])


def with_lesion(value, where=LESION, image=HEALTHY):
    return np.where(where, value, image)


def test_what_is_usual_is_measured_on_lesions():
    assert UsualLesion(pytest.approx(0.3), int(LESION.sum()) // 2, 1) == LIKE
    two = kept_lesions.usual([(TRUTH, LESION), (with_lesion(0.6, PLACE), PLACE), (with_lesion(0.6, PLACE), PLACE)])
    assert two.contrast == pytest.approx(0.1) and two.lesions == 3
    with pytest.raises(Undefined, match="no training image shows a lesion of 4 pixels"):
        kept_lesions.usual([(TRUTH, disc(18, 18, 0.5))])


@pytest.mark.parametrize(("value", "gone"), [(0.4, 0), (0.53, 0), (0.56, 1), (0.7, 1), (0.9, 1)])
def test_a_lesion_is_erased_where_less_than_half_of_its_contrast_is_left(value, gone):
    assert kept_lesions.erased(TRUTH, with_lesion(value), LESION, LIKE) == gone


def test_one_of_two_lesions_erased_counts_and_one_that_hardly_stands_out_does_not():
    both = LESION | PLACE
    truth = with_lesion(0.4, PLACE, TRUTH)
    assert kept_lesions.erased(truth, truth, both, LIKE) == 0
    assert kept_lesions.erased(truth, TRUTH, both, LIKE) == 1
    faint = with_lesion(0.6, PLACE, TRUTH)
    assert kept_lesions.erased(faint, TRUTH, both, LIKE) == 0
    with pytest.raises(Undefined, match="no lesion is seen"):
        kept_lesions.erased(with_lesion(0.6), HEALTHY, LESION, LIKE)
    with pytest.raises(Undefined, match="no lesion is seen"):
        kept_lesions.erased(HEALTHY, HEALTHY, np.zeros_like(HEAD), LIKE)


@pytest.mark.parametrize(("value", "shown"), [(0.7, 0), (0.6, 0), (0.45, 1), (0.2, 1), (1.0, 0)])
def test_a_lesion_is_invented_where_a_patch_like_one_appears(value, shown):
    assert kept_lesions.invented(TRUTH, with_lesion(value, PLACE, TRUTH), LESION, LIKE) == shown


def test_what_is_no_new_lesion():
    assert kept_lesions.invented(TRUTH, with_lesion(0.1), LESION, LIKE) == 0  # the true one, darker
    nothing = np.zeros_like(LESION)
    blurred = ndimage.gaussian_filter(HEALTHY, 1.5)
    assert np.abs(blurred - HEALTHY).max() > 0.3 and kept_lesions.invented(HEALTHY, blurred, nothing, LIKE) == 0
    assert kept_lesions.invented(HEALTHY, HEALTHY - 0.2, nothing, LIKE) == 0  # everything darker
    speck = disc(30, 30, 1.2)
    assert kept_lesions.invented(HEALTHY, with_lesion(0.1, speck), nothing, LIKE) == 0  # smaller than lesions are


def test_bright_lesions_are_told_from_dark_patches():
    turned, like = 1 - TRUTH, kept_lesions.usual([(1 - TRUTH, LESION)])
    assert like.contrast == pytest.approx(-0.3)
    assert kept_lesions.erased(turned, 1 - HEALTHY, LESION, like) == 1
    assert kept_lesions.invented(turned, 1 - with_lesion(0.3, PLACE, TRUTH), LESION, like) == 1
    assert kept_lesions.invented(turned, with_lesion(0.0, PLACE, turned), LESION, like) == 0
