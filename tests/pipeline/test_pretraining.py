"""Weights that saw the images of the card: said where the first number stands."""

from __future__ import annotations

import pytest

from medvfm import lookup, pipeline
from medvfm.cli import summary
from medvfm.core import recipe
from medvfm.engine import record as records
from medvfm.models import catalogue
from medvfm.pipeline import external, planning, pretraining
from medvfm.report import headline, page, run_view
from tests.samples import runs

SAW = "rad-dino saw images of NIH ChestX-ray14, pneumonia label against no finding in pretraining"


def test_every_set_of_the_catalogue_is_a_shipped_card():
    named = {card for model in catalogue.models().values() for card in model.saw_cards}
    assert named and named <= set(lookup.shipped("data_cards"))


@pytest.mark.parametrize(
    ("weights", "card", "saw"),
    [
        ("rad-dino", "nih_cxr_pneumonia", "yes"),
        ("microsoft/rad-dino@main", "rsna_pneumonia", "yes"),
        ("rad-dino", "busi", "unknown"),
        ("wanglab/medsam-vit-base", "busi", "unknown"),
        ("embedded", "nih_cxr_pneumonia", "no"),
        ("/models/mine", "nih_cxr_pneumonia", "unknown"),
    ],
)
def test_a_card_is_known_by_its_name_and_what_nobody_entered_is_unknown(weights, card, saw):
    found = pretraining.seen(weights, lookup.card(card))
    assert found is not None and found["saw"] == saw
    assert bool(records.pretraining_warning({"pretraining": found})) == (saw == "yes")


def test_random_weights_and_made_images_have_nothing_to_say():
    assert pretraining.seen("tiny", lookup.card("busi")) is None
    assert pretraining.seen(None, lookup.card("busi")) is None
    assert pretraining.seen("rad-dino", lookup.card("virtual_brain")) is None


def test_the_plan_holds_it_and_check_warns():
    loaded = recipe.load(lookup.recipe("cxr_pneumonia_probe"), lookup.model("rad-dino"))
    assert planning.plan(loaded).model.facts["pretraining"]["saw"] == "yes"
    assert any(line.startswith(f"warning: {SAW}") for line in pipeline.check(loaded, ready=False))
    plain = recipe.load(lookup.recipe("cxr_pneumonia_probe"))
    assert planning.plan(plain).model.facts["pretraining"]["saw"] == "no"
    assert not any("warning" in line for line in pipeline.check(plain, ready=False))


def test_the_first_warning_of_page_and_terminal_is_this(tmp_path, capsys):
    record = runs.write(tmp_path)
    found = pretraining.seen("rad-dino", lookup.card("nih_cxr_pneumonia"))
    record["model"]["pretraining"] = found
    record["warnings"] = [*record["warnings"], *records.pretraining_warning(record["model"])]
    runs.save(tmp_path, record)
    said = headline.build(run_view.load(tmp_path))
    assert said.warnings[0].startswith(SAW) and len(set(said.warnings)) == len(said.warnings)
    assert "seen in pretraining" in {chip.word for chip in said.evidence}
    html = page.render(tmp_path).read_text(encoding="utf-8")
    assert SAW in html and "Seen in pretraining" in html
    summary.show(tmp_path)
    assert SAW in " ".join(capsys.readouterr().out.split())


def test_a_test_on_another_set_asks_for_that_set():
    own = pretraining.seen("rad-dino", lookup.card("nih_cxr_pneumonia"))
    record = {"model": {"weights": "rad-dino", "pretraining": own}, "warnings": ["few cases"]}
    other = external._pretraining(record, lookup.card("busi"))
    assert other["model"]["pretraining"]["saw"] == "unknown" and other["warnings"] == ["few cases"]
    again = external._pretraining(record, lookup.card("siim_acr"))
    assert again["warnings"][0].startswith("rad-dino saw images of SIIM-ACR") and len(again["warnings"]) == 2
