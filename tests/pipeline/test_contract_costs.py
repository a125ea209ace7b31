"""The contract of an encoder in words, its golden tensor, and what mistakes cost on a card."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from medvfm.core.errors import RecipeError
from medvfm.models.inputs.contract import InputContract
from medvfm.models.inputs.golden import golden
from medvfm.pipeline import contract_costs

CARD = """name: stripes
title: stripes along rows or columns
layouts:
  - {table: t.csv, classes: {along: along}}
"""


@pytest.fixture
def card(tmp_path):
    """Stripes along rows are positive: exchanged axes turn the answer."""
    rng, lines = np.random.default_rng(0), ["case_id,patient_id,image,along"]
    for n in range(40):
        stripes = np.repeat(np.tile([40, 200], 16)[:, None], 32, 1) + rng.integers(-30, 30, (32, 32))
        Image.fromarray((stripes if n % 2 else stripes.T).astype(np.uint8)).save(tmp_path / f"{n}.png")
        lines.append(f"c{n:02d},p{n // 2:02d}{n % 2},{n}.png,{n % 2}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    (tmp_path / "card.yaml").write_text(CARD)
    return str(tmp_path / "card.yaml")


def test_the_contract_is_said_with_its_golden_tensor():
    text = "\n".join(contract_costs.lines("embedded"))
    assert all(word in text for word in ("224", "mean", "bicubic", "golden tensor", "sha256", "trap"))


def test_a_golden_tensor_changes_with_every_part_of_the_contract():
    contract = InputContract((32, 32), antialias=True)
    changed = [
        replace(contract, antialias=False), replace(contract, mean=(0.5,) * 3), replace(contract, scale=255.0),
        replace(contract, interpolation="bilinear"), replace(contract, size_px=(33, 32)),
    ]  # fmt: skip
    sums = [golden(c).sha256 for c in (contract, *changed)]
    assert len(set(sums)) == len(sums) and golden(contract).sha256 == sums[0]
    assert golden(contract).tensor.shape == (3, 32, 32)


def test_exchanged_axes_cost_where_direction_is_the_question(card):
    costs, measured = contract_costs.costs("tiny", card)
    by_name = {cost.name: cost for cost in costs}
    assert set(by_name) == {"window", "orientation", "mean and deviation", "double rescale", "no antialias"}
    value, interval = by_name["orientation"].deployed
    assert value < -0.5 and interval.high < 0
    assert abs(by_name["orientation"].trained[0]) < 0.2  # a probe that is fitted to exchanged axes does not mind
    moved, interval = by_name["double rescale"].moved
    assert moved > 0 and interval.low <= moved <= interval.high
    assert "40 cases of 40 patients" in measured[0] and "AUROC of along" in measured[1]


def test_without_a_class_only_features_are_compared(card, tmp_path):
    (tmp_path / "card.yaml").write_text(CARD.replace(", classes: {along: along}", ""))
    costs, measured = contract_costs.costs("tiny", card, most=8)
    assert all(cost.trained is None and cost.deployed is None for cost in costs) and "no class" in measured[1]
    with pytest.raises(RecipeError, match="no class 'x'"):
        contract_costs.costs("tiny", card, label="x")
