"""The encoder as scikit-learn takes it: clone, pipelines, cross-validation, and its own checks where they apply."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

import medvfm
from medvfm.core.errors import MedvfmError

APPLY = (
    "check_no_attributes_set_in_init", "check_parameters_default_constructible", "check_estimator_cloneable",
    "check_estimator_repr", "check_get_params_invariance", "check_set_params", "check_estimator_tags_renamed",
)  # fmt: skip  # the others hand over tables of numbers, which hold no images


@pytest.fixture(scope="module")
def encoder():
    return medvfm.FoundationEncoder(weights="tiny", size=32)


@pytest.fixture
def pictures(tmp_path):
    """Bright and dark pictures, as paths."""
    rng = np.random.default_rng(0)
    for n in range(12):
        pixels = rng.integers(0, 60, (40, 40)) + 150 * (n % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{n:02d}.png")
    return [str(path) for path in sorted(tmp_path.glob("*.png"))], [n % 2 for n in range(12)]


@pytest.mark.parametrize("name", APPLY)
def test_scikit_learns_own_checks(name, encoder):
    getattr(estimator_checks, name)("FoundationEncoder", clone(encoder))


def test_pipelines_and_cross_validation(encoder, pictures):
    paths, labels = pictures
    model = make_pipeline(encoder, LogisticRegression(max_iter=500))
    assert cross_val_score(model, paths, labels, cv=3, scoring="roc_auc").mean() > 0.9
    assert len(model[:-1].fit(paths).get_feature_names_out()) == encoder.fit(paths).transform(paths[:1]).shape[1]


def test_all_ways_of_naming_images_give_the_same(encoder, pictures):
    paths, _ = pictures
    want = encoder.fit_transform(paths)
    arrays = [np.asarray(Image.open(path)) for path in paths]
    for given in (np.array(paths), pd.Series(paths), pd.DataFrame({"path": paths}), arrays, np.stack(arrays)):
        assert np.allclose(encoder.fit_transform(given), want, atol=1e-5)
    mixed = encoder.transform([arrays[3], paths[0], arrays[1]])
    assert np.allclose(mixed, want[[3, 0, 1]], atol=1e-5)


def test_a_file_that_changes_is_read_again(encoder, pictures):
    paths, _ = pictures
    before = encoder.fit_transform(paths[:2])
    Image.fromarray(np.full((41, 40), 77, np.uint8)).save(paths[0])
    after = encoder.transform(paths[:2])
    assert not np.allclose(before[0], after[0]) and np.array_equal(before[1], after[1])


@pytest.mark.parametrize(
    ("given", "said"),
    [([], "empty"), (np.zeros((4, 9)), "no list of images"), ("x.png", "no list"),
     (pd.DataFrame({"a": [1], "b": [2]}), "2 columns")],
)  # fmt: skip
def test_what_holds_no_images_is_refused(encoder, given, said):
    with pytest.raises(MedvfmError, match=said):
        encoder.fit(given)


def test_it_is_fitted_before_it_transforms():
    with pytest.raises(NotFittedError):
        medvfm.FoundationEncoder(weights="tiny").transform(["x.png"])


def test_cases_of_a_card():
    found = medvfm.cases("virtual_brain", patients=3)
    assert len(found) == 3 and len({case.patient_id for case in found}) == 3
    image = medvfm.read_image(found[0].images["image"][0])
    assert image.is_volume and len(repr(found[0])) < 2000
