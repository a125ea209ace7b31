"""The catalogue says what is true of the weights that are here, and its names stand for hub ids."""

from __future__ import annotations

import pytest

from medvfm import lookup
from medvfm.core import recipe
from medvfm.core.errors import RecipeError
from medvfm.models import catalogue
from medvfm.models.encoders.load import load_encoder
from medvfm.models.encoders.processor_contracts import contract_of
from medvfm.pipeline import planning

FIELD = (
    "facebook/dinov2-base", "microsoft/rad-dino", "facebook/dinov3-", "wanglab/medsam-vit-base",
    "facebook/sam2.1-hiera-", "facebook/sam3", "google/siglip2-", "google/medsiglip-448", "BiomedCLIP",
    "MahmoodLab/UNI2-h", "paige-ai/Virchow2", "MahmoodLab/CONCH", "RETFound", "stable-diffusion-v1-5", "RoentGen-v2",
    "llava-1.5-7b-hf", "llava-med-v1.5", "medgemma",
)  # fmt: skip


def test_every_model_of_the_field_is_listed_once_with_licence_gate_contract_and_trap():
    text = "\n".join(said for _, said in lookup.LISTS["models"]())
    assert [name for name in FIELD if name not in text] == []
    hubs = [model.hub for model in catalogue.models().values()]
    assert len(set(hubs)) == len(hubs) > 30
    assert "gated: by request" in text and "Apache-2.0" in text
    known = set(lookup.modules("adapters"))
    assert {model.adapter for model in catalogue.models().values()} - {None} <= known


def test_the_embedded_encoder_has_the_contract_of_the_catalogue():
    own, said = load_encoder("embedded").contract, catalogue.models()["embedded"].contract
    assert (own.size_px, own.resize, own.resize_px, own.interpolation) == (
        said.size_px, said.resize, said.resize_px, said.interpolation,
    )  # fmt: skip
    assert (own.mean, own.std) == said.mean_and_std


def test_weights_without_a_processor_get_the_contract_of_their_hub_id(tmp_path):
    found = contract_of(tmp_path, "microsoft/rad-dino@main", "dinov2", (518, 518), 3)
    assert found.size_px == (518, 518) and found.mean == (0.5307,) * 3 and "rad-dino" in found.origin
    other = contract_of(tmp_path, str(tmp_path), "dinov2", (518, 518), 3)
    assert other.size_px == (224, 224)


def test_a_name_stands_for_its_hub_id_where_its_adapter_is_asked(tmp_path, monkeypatch):
    assert catalogue.hub_of("dinov2-base", "dinov2") == "facebook/dinov2-base"
    assert catalogue.hub_of("facebook/dinov2-base", "dinov2") == "facebook/dinov2-base"
    assert catalogue.hub_of("embedded", "clip") == "embedded"
    with pytest.raises(RecipeError, match="a model of the adapter sam"):
        catalogue.hub_of("medsam", "dinov2")
    with pytest.raises(RecipeError, match="no adapter here"):
        catalogue.hub_of("conch", "clip")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dinov2-base").mkdir()
    assert catalogue.hub_of("dinov2-base", "dinov2") == "dinov2-base"


def test_a_recipe_and_the_command_line_take_names():
    loaded = recipe.load(lookup.recipe("quickstart"), lookup.model("rad-dino"))
    assert planning.plan(loaded).recipe.adapter.weights == "rad-dino"
    with pytest.raises(RecipeError, match="did you mean 'rad-dino'"):
        lookup.model("raddino")
    loaded = recipe.load(lookup.recipe("quickstart"), ["adapter.weights=medsam"])
    with pytest.raises(RecipeError, match=r"adapter\.weights.*a model of the adapter sam"):
        planning.plan(loaded)


def test_contracts_of_scans_say_windows_orientation_and_spacing():
    from medvfm.pipeline import contract_costs

    text = "\n".join(contract_costs.lines("medgemma"))
    assert "prepare: {windows: [[-1024, 1024], [-135, 215], [0, 80]]}" in text and "nothing was loaded" in text
    assert "axial slices PL, coronal slices IL, sagittal slices IP" in "\n".join(contract_costs.lines("raidium/curia"))
    ct_fm = "\n".join(contract_costs.lines("ct-fm"))
    assert "axes to SPL" in ct_fm and "3 x 1 x 1 mm" in ct_fm and "-1024 to 2048 HU become 0 to 1" in ct_fm
    assert "224 x 224 x 160" in "\n".join(contract_costs.lines("merlin"))


def test_what_is_said_of_ct_fm_is_what_is_done():
    from medvfm.models.encoders.volumes import CT_FM

    said = catalogue.models()["ct-fm"].contract
    assert (said.range, said.orientation, said.spacing_mm) == (CT_FM.range, CT_FM.orientation, CT_FM.spacing_mm)
    assert said.size_px == CT_FM.tile_vox and said.unit == CT_FM.unit
