"""Every layout of every shipped card reads the files that its publisher gives out; none is forgotten."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from pydicom.sr.codedict import codes

import medvfm
from medvfm.core.data_card import load_card
from medvfm.engine import dataset_check
from medvfm.io.console import SILENT
from medvfm.io.dataset import cases as tables
from medvfm.io.dataset import roots
from medvfm.io.dataset.truth_masks import MaskTruthReader
from tests.cards import sets
from tests.cards.files import lay

CARDS = {path.stem: load_card(path) for path in sorted((Path(__file__).parents[2] / "data_cards").glob("*.yaml"))}
COLLECTED = {name: card for name, card in CARDS.items() if card.generator is None}
LAYOUTS = [(name, layout.name) for name, card in COLLECTED.items() for layout in card.layouts]
NAMED = {
    ("nih_chestxray14", "official_sex"),
    ("vqa_rad", "organs"),
    ("vqa_rad", "answers"),
}  # others of the same files; data.layout asks for them


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    structures = tuple(CARDS["totalsegmentator"].layouts[0].masks)
    return sets.known(structures, tmp_path_factory.mktemp("pictures"))


def test_none_is_forgotten(known):
    assert [(card, layout) for card in sorted(known) for layout in sorted(known[card])] == sorted(LAYOUTS)


@pytest.mark.parametrize(("name", "layout"), LAYOUTS, ids=["-".join(pair) for pair in LAYOUTS])
def test_files_become_the_cases_that_they_are(known, tmp_path, name, layout):
    card, expected = COLLECTED[name], known[name][layout]
    lay(tmp_path, expected.files)
    found = tables.read_cases(card, tmp_path, layout=layout if (name, layout) in NAMED else None)
    assert found.layout == layout
    cases = {case.case_id: case for case in found.cases}
    assert sorted(cases) == sorted(made.case_id for made in expected.cases)
    assert found.flow[0]["cases"] - len(cases) == expected.passed_over
    assert len(found.left_out) == expected.left_out
    for made in expected.cases:
        _same(made, cases[made.case_id], tmp_path)
    assert _classes(found.cases) == _classes_of(card, layout)
    _readable(card, found.cases[0])


def _same(made, case, root):
    assert (case.patient_id, case.split) == (made.patient, made.split)
    if made.images is not None:
        images = {"image": made.images} if isinstance(made.images, str) else made.images
        assert {role: [p.relative_to(root).as_posix() for p in files] for role, files in case.images.items()} == {
            role: [path] for role, path in images.items()
        }
    if made.masks is not None:
        masks = made.masks if isinstance(made.masks, Mapping) else {"mask": made.masks}
        assert {n: [p.relative_to(root).as_posix() for p in files] for n, files in case.masks.items()} == {
            n: [files] if isinstance(files, str) else list(files) for n, files in masks.items()
        }
    for target, value in made.targets.items():
        got = case.targets[target]
        assert math.isnan(got) if value is None else got == value, (case.case_id, target, got)
    for attribute, value in made.more.items():
        assert getattr(case, attribute) == value, (case.case_id, attribute)


def _classes(cases):
    return {name for case in cases for name in case.targets}


def _classes_of(card, name):
    return set(next(layout for layout in card.layouts if layout.name == name).classes)


def _readable(card, case):
    """The first case's images are read as the card says, and so is the truth on their grid."""
    images = [medvfm.read_image(path, **card.reading) for path in case.files]
    assert all(image.voxels.size for image in images)
    if card.modality == ("CT",):
        assert {image.unit for image in images} <= {"HU", "RGB", "arbitrary"} - (
            {"arbitrary"} if card.reading else set()
        )
    if case.masks:
        classes = [label.name for label in card.labels.values()] if "mask" in case.masks else sorted(case.masks)[:2]
        kind = "instances" if card.masks.kind == "instances" else "multi_label"
        assert np.any(MaskTruthReader.of(card, classes, kind)(case, images[0]))


@pytest.mark.slow
def test_the_generated_card_makes_its_own_files(tmp_path):
    card = CARDS["virtual_brain"]
    roots.make(card, tmp_path / "made", card.options_with({"patients": 2}), SILENT)
    found = tables.read_cases(card, tmp_path / "made")
    assert len({case.patient_id for case in found.cases}) == 2
    assert medvfm.read_image(found.cases[0].files[0]).shape_vox


@pytest.mark.parametrize("name", CARDS)
def test_a_card_states_what_a_reader_needs(name):
    card = CARDS[name]
    for part in ("version", "statement", "licence", "modality", "population", "truth", "known_flaws", "confounders",
                 "intended_use", "out_of_scope", "citation"):  # fmt: skip
        assert getattr(card, part) or (part == "confounders" and card.simulated), part
    assert card.generator or (card.links and (card.instructions or card.download))
    assert card.generator or card.counts
    parts = {"all", "train", "val", "test", *(layout.name for layout in card.layouts)}
    assert set(card.counts) <= parts
    assert len({entry.layout for entry in card.download}) != 1 or card.download[0].layout is None
    assert {entry.layout for entry in card.download} <= {None, *(layout.name for layout in card.layouts)}
    if card.access in ("registered", "credentialed"):
        assert not card.download
        assert card.instructions
    nifti_ct = card.modality == ("CT",) and any(".nii" in (layout.files or "") for layout in card.layouts)
    assert not nifti_ct or card.reading.get("unit") == "HU"


def test_codes_are_those_that_dicom_uses():
    """pydicom's dictionary holds the concepts of the standard's context groups."""
    known = {getattr(codes.SCT, keyword).value for keyword in codes.SCT.dir()}
    used = {c for card in CARDS.values() for label in card.labels.values() for c in (label.category, label.type) if c}
    assert {(c.value, c.meaning) for c in used if c.scheme == "SCT" and c.value not in known} == set()


def test_a_check_counts_against_the_layout_that_is_there(known, tmp_path):
    lay(tmp_path, known["kits"]["kits19"].files)
    table = tables.read_cases(CARDS["kits"], tmp_path)
    found = dataset_check.check(CARDS["kits"], table, SILENT, 0)
    assert [w for w in found.warnings if "complete copy" in w] == ["kits19: 2 cases, and a complete copy has 210"]


@pytest.mark.parametrize("name", ["kvasir_seg", "totalsegmentator", "data_science_bowl_2018", "msd_brain_tumour"])
def test_a_check_reads_every_kind_of_mask(known, tmp_path, name):
    lay(tmp_path, known[name]["official"].files)
    found = dataset_check.check(CARDS[name], tables.read_cases(CARDS[name], tmp_path), SILENT, 0)
    assert found.errors == []


def test_archives_of_the_decathlon_are_those_that_monai_knows():
    from monai.apps import DecathlonDataset

    entries = [card.download[0] for name, card in CARDS.items() if name.startswith("msd_")]
    assert {entry.file.removesuffix(".tar"): (entry.url, entry.md5) for entry in entries} == {
        task: (url, DecathlonDataset.md5[task]) for task, url in DecathlonDataset.resource.items()
    }


def test_questions_on_one_image_are_looked_at_together(known, tmp_path, monkeypatch):
    lay(tmp_path, known["vqa_rad"]["official"].files)
    read = []
    monkeypatch.setattr(dataset_check, "read_image", lambda path, **more: read.append(path) or medvfm.read_image(path))
    found = dataset_check.check(CARDS["vqa_rad"], tables.read_cases(CARDS["vqa_rad"], tmp_path), SILENT, 0)
    assert len(found.cases) == len(found.looks) == 3
    assert len(read) == 2
