"""What a generated card says of one of its options is told where that option is set, and only there."""

from __future__ import annotations

from medvfm import lookup
from medvfm.engine import record
from tests.samples.studies import VolumeStudy


def test_what_holds_of_slices_is_told_of_slices_alone():
    card = lookup.card("virtual_brain")
    for options, told in (({}, False), ({"slices": 0}, False), ({"slices": 4}, True)):
        said = record.card_summary(card.told(options))
        flaws = " ".join(said["known_flaws"])
        assert ("Of a slice" in said["truth"]) is told and ("Of slices" in flaws) is told, options
        assert said["truth"].startswith("Drawn by the generator, exact.") and "One template" in flaws


def test_a_card_of_collected_data_stays_as_it_is(tmp_path):
    study = VolumeStudy(tmp_path, cases=1)
    card = lookup.card(str(study.folder / "drawn.yaml"))
    assert card.told({}) is card
