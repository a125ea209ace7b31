"""Adjusted p-values against scipy and against the stepwise procedures as they are written."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from medvfm.statistics.multiplicity import benjamini_hochberg, holm


def holm_rejects(p: np.ndarray, alpha: float) -> np.ndarray:
    """Holm 1979: go up from the smallest, stop at the first that is above alpha / (those left)."""
    rejected = np.zeros(len(p), dtype=bool)
    for step, index in enumerate(np.argsort(p)):
        if p[index] > alpha / (len(p) - step):
            break
        rejected[index] = True
    return rejected


@pytest.mark.parametrize("seed", range(10))
def test_adjusted_values_decide_as_the_procedures(seed: int) -> None:
    p = np.random.default_rng(seed).beta(0.3, 2, 12)
    np.testing.assert_allclose(benjamini_hochberg(p), false_discovery_control(p, method="bh"))
    for alpha in (0.01, 0.05, 0.2):
        np.testing.assert_array_equal(holm(p) <= alpha, holm_rejects(p, alpha))
    assert (holm(p) >= benjamini_hochberg(p)).all()
    assert (benjamini_hochberg(p) >= p).all()


def test_a_known_example_and_order() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.005])
    assert holm(p).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert benjamini_hochberg(p).tolist() == pytest.approx([0.02, 0.04, 0.04, 0.02])


def test_tests_that_were_not_made_do_not_count() -> None:
    p = np.array([0.01, np.nan, 0.02])
    assert holm(p).tolist() == pytest.approx([0.02, np.nan, 0.02], nan_ok=True)
    assert np.isnan(benjamini_hochberg(np.array([np.nan]))).all()
    assert holm(np.array([])).shape == (0,)
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm(np.array([0.5, 1.5]))
