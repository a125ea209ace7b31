"""Instruction data: kinds, sources, one image token, the same bytes twice, and what cannot be made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medvfm import lookup
from medvfm.core.case import Case
from medvfm.core.errors import DataError
from medvfm.io.dataset import instruction_data as made
from medvfm.pipeline import instructing

ROOT = Path("/data")


@pytest.fixture(scope="module")
def card():
    return lookup.card("virtual_brain")


def case(number, **more):
    return Case(f"c{number}", f"p{number}", {"image": (ROOT / f"images/{number}.png",)}, **more)


def test_captions_and_labels_give_three_kinds(card):
    found = made.samples(card, [case(1, text="A dark lesion.", targets={"lesion": 1.0, "wide_ventricles": 0.0})], ROOT)
    by_kind = {sample["kind"]: sample for sample in found}
    assert set(by_kind) == {"conversation", "detailed_description", "reasoning"}
    told = [turn["value"] for turn in by_kind["conversation"]["conversations"]]
    assert told[0].startswith("<image>\n") and "lesion" in told[0] and told[1] == "Yes."
    assert "wide ventricles" in told[2] and told[3] == "No."
    assert by_kind["detailed_description"]["conversations"][1]["value"] == "A dark lesion."
    assert by_kind["reasoning"]["conversations"][1]["value"] == (
        "The image shows this: A dark lesion. Therefore: Present: lesion. Not present: wide ventricles."
    )
    assert by_kind["reasoning"]["source"] == {
        "card": "virtual_brain", "version": card.version, "case_id": "c1",
        "fields": ["text", "classes.lesion", "classes.wide_ventricles"],
    }  # fmt: skip
    assert {sample["image"] for sample in found} == {"images/1.png"}


def test_questions_on_one_image_are_one_conversation(card):
    image = {"image": (ROOT / "a.png",)}
    cases = [Case(f"q{n}", "p", image, question=f"Why {n}? <image>", answer=f"because {n}") for n in range(3)]
    (sample,) = made.samples(card, cases, ROOT)
    assert [t["from"] for t in sample["conversations"]] == ["human", "gpt"] * 3
    assert sum(t["value"].count("<image>") for t in sample["conversations"]) == 1
    assert sample["conversations"][5]["value"] == "because 2"


def test_labels_that_are_unknown_say_nothing(card):
    with pytest.raises(DataError, match="no case of virtual_brain has a caption"):
        made.samples(card, [case(1, targets={"lesion": float("nan")}), case(2)], ROOT)


def test_wording_depends_on_the_case_and_the_seed_alone(card):
    cases = [case(n, text="Seen.", targets={"lesion": float(n % 2)}) for n in range(12)]
    whole = made.samples(card, cases, ROOT)
    assert made.samples(card, cases[5:], ROOT) == [s for s in whole if int(s["source"]["case_id"][1:]) >= 5]
    assert made.samples(card, cases, ROOT, seed=1) != whole
    assert len({s["conversations"][0]["value"] for s in whole if s["kind"] == "detailed_description"}) > 1


def test_a_card_is_written_the_same_twice(tmp_path):
    options = {"patients": 4, "format": "nifti"}
    for name in ("a.json", "b.json"):
        kinds = instructing.write("virtual_brain", tmp_path / name, options=options)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    samples = json.loads((tmp_path / "a.json").read_text())
    assert kinds == {"conversation": 4, "detailed_description": 4, "reasoning": 4} and len(samples) == 12
    with pytest.raises(DataError, match=r"name a file that ends in \.json"):
        instructing.write("virtual_brain", tmp_path / "a.txt", options=options)
