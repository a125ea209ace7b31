"""Run lengths: every way of counting beside a slow encoder, cases of several rows, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as Picture

from medvfm.core.data_card import DataCard
from medvfm.core.errors import DataError
from medvfm.core.layout import RunLengths
from medvfm.io.dataset import cases, run_length_masks
from medvfm.io.dataset.truth_masks import MaskTruthReader
from medvfm.io.read import read_image

SIZE = (9, 7)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDVFM_CACHE", str(tmp_path / "cache"))


def encoded(mask: np.ndarray, order: str, start: str) -> str:
    """Pixel by pixel, as the competitions' own programs do it."""
    words, run, end = [], 0, 0
    flat = list((mask.T if order == "down" else mask).ravel())
    for place, value in enumerate([*flat, False]):
        if value:
            run += 1
        elif run:
            first = place - run
            words += [first - end if start == "relative" else first + 1, run]
            run, end = 0, place
    return " ".join(map(str, words))


@pytest.mark.parametrize("order", ["down", "across"])
@pytest.mark.parametrize("start", ["absolute", "relative"])
def test_what_was_encoded_comes_back(order, start):
    wanted = RunLengths(column="runs", size_px=SIZE, order=order, start=start)
    for seed in range(20):
        mask = np.random.default_rng(seed).random(SIZE) < 0.5
        np.testing.assert_array_equal(run_length_masks.decoded(encoded(mask, order, start), wanted, "here"), mask)
    assert not run_length_masks.decoded("", wanted, "here").any()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 2 3", "a start without its length"),
        ("1 x", "no whole numbers"),
        ("1.5 2", "no whole numbers"),
        ("60 9", "lead out of a picture of 7 x 9"),
        ("0 3", "lead out"),
        ("5 -2", "lead out"),
        ("99999999999999999999999 1", "no whole numbers"),
    ],
)
def test_what_is_no_mask_of_the_picture_is_refused(text, said):
    with pytest.raises(DataError, match=said):
        run_length_masks.decoded(text, RunLengths(column="runs", size_px=SIZE), "table.csv, row 3")


def test_rows_of_one_picture_are_united_and_an_empty_mask_is_no_missing_one(tmp_path):
    first, second = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    first[1:4, 2:5], second[6:8, 0:3] = True, True
    lines = ["name,runs", *(f"a,{encoded(m, 'down', 'absolute')}" for m in (first, second)), "b,-1", "c,"]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    for name in "abc":
        Picture.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / f"{name}.png")
    layout = {
        "table": "table.csv", "repeated": "any", "case_id": "{name}", "images": {"image": "{name}.png"},
        "run_lengths": {"column": "runs", "size_px": SIZE, "nothing": ["-1"]},
    }  # fmt: skip
    card = DataCard.model_validate(
        {"name": "lake", "title": "t", "patients": "none", "masks": {"kind": "grey"}, "layouts": [layout]}
    )
    found = {case.case_id: case for case in cases.read_cases(card, tmp_path).cases}

    truth = MaskTruthReader.of(card, ["thing"], "semantic")
    image = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(truth(found["a"], image)[:, :, 0].T, first | second)
    assert not truth(found["b"], image).any() and found["c"].masks == {}
