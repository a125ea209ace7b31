"""CLIP, SigLIP and SigLIP 2 against transformers' own model and processor."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn.functional import cosine_similarity

from medvfm.core.errors import WeightsError
from medvfm.models import structure
from medvfm.models.encoders.load import load_encoder
from medvfm.models.image_text.load import load_pair
from tests.samples.image_text_checkpoints import write_transformers

NAMES = ["clip", "siglip", "siglip2"]
TEXTS = ["a photo of lesion", "no lesion", "", "a " * 30, "脑部病变"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: write_transformers(name, tmp_path_factory.mktemp(name)) for name in NAMES}


@pytest.fixture(scope="module")
def pairs(folders):
    return {name: load_pair(str(folder)) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def theirs(folders):
    """transformers' model, image processor and tokenizer."""
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    kinds = (AutoModel, AutoImageProcessor, AutoTokenizer)
    return {name: [kind.from_pretrained(folder) for kind in kinds] for name, folder in folders.items()}


@pytest.mark.parametrize("name", NAMES)
def test_image_vectors_equal_the_librarys(name, pairs, theirs, photograph, as_pictures):
    pair, (model, processor, _) = pairs[name], theirs[name]
    picture = photograph[:400, :400] if name == "siglip2" else photograph  # NaFlex keeps the aspect ratio
    with torch.no_grad():
        wanted = model.eval().get_image_features(**processor(Image.fromarray(picture), return_tensors="pt"))
        found = pair.image_vectors(pair.image(pair.image.contract.apply(as_pictures(picture))))
    assert found.shape == wanted.pooler_output.shape == (1, pair.image_width)
    assert cosine_similarity(found, wanted.pooler_output).min() > 0.9999
    assert (found - wanted.pooler_output).abs().max() < 2e-3  # PIL's weights are whole numbers: a level may differ


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_image_vectors_of_the_same_pixels_are_exact(name, pairs, theirs):
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        wanted = theirs[name][0].eval().get_image_features(pixels).pooler_output
        found = pairs[name].image_vectors(pairs[name].image(pixels))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_text_vectors_equal_the_librarys(name, pairs, theirs):
    pair, (model, _, tokenizer) = pairs[name], theirs[name]
    inputs = tokenizer(TEXTS, padding="max_length", truncation=True, return_tensors="pt")
    with torch.no_grad():
        wanted = model.eval().get_text_features(**inputs).pooler_output
        found = pair.text(pair.text.tokens(TEXTS))
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=0)
    assert found.shape[1] == pair.text_width == pair.image_width
    assert pair.text.limit == 12 and pair.text.cut(TEXTS) >= 1


@pytest.mark.parametrize("name", NAMES)
def test_scale_bias_and_objective(name, pairs, theirs):
    model, pair = theirs[name][0], pairs[name]
    assert pair.aligned and pair.loss == ("clip" if name == "clip" else "siglip")
    assert pair.scale == pytest.approx(float(model.logit_scale.detach().exp()))
    assert pair.bias == (None if name == "clip" else pytest.approx(float(model.logit_bias.detach())))


@pytest.mark.parametrize("name", NAMES)
def test_towers_have_hashes_of_their_own(name, pairs, folders):
    image, text = pairs[name].towers()
    assert (image["role"], text["role"]) == ("image", "text")
    assert len(image["sha256"]) == len(text["sha256"]) == 64 and image["sha256"] != text["sha256"]
    assert pairs[name].towers() == load_pair(str(folders[name])).towers()


@pytest.mark.parametrize("name", NAMES)
def test_the_image_encoder_is_that_of_load_encoder(name, pairs, folders):
    alone = load_encoder(str(folders[name]))
    pixels = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(alone(pixels).cls, pairs[name].image(pixels).cls)
    assert replace(alone.contract, eight_bit=True) == pairs[name].image.contract
    assert alone.weights_record["sha256"] == pairs[name].image.weights_record["sha256"]


@pytest.mark.parametrize("name", NAMES)
def test_context_of_real_tokens_is_the_text_itself(name, pairs):
    text = pairs[name].text
    start, ends = ("no ", ["ag", "fg"]) if name == "siglip2" else ("a photo of", ["lesion", "the heart"])
    whole = [f"{start.strip()} {end}" for end in ends]
    torch.testing.assert_close(text.with_context(text.token_vectors(start), ends), text(text.tokens(whole)))
    text.requires_grad_(False)
    context = torch.randn(3, text.token_width, requires_grad=True)
    text.with_context(context, ends).sum().backward()
    assert (context.grad.abs().sum(1) > 0).all()


def test_maskclip_patches_of_clip_are_the_last_value_path(pairs, theirs):
    """Against transformers' own hidden states, with the weights multiplied by hand."""
    pair, model, pixels = pairs["clip"], theirs["clip"][0].eval(), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        before = model.vision_model(pixels, output_hidden_states=True).hidden_states[-2]
        layer = model.vision_model.encoder.layers[-1]
        value = layer.layer_norm1(before) @ layer.self_attn.v_proj.weight.T + layer.self_attn.v_proj.bias
        value = value @ layer.self_attn.out_proj.weight.T + layer.self_attn.out_proj.bias
        wanted = model.visual_projection(model.vision_model.post_layernorm(value))[:, 1:]
        found = pair.dense(pixels)
    assert found.shape == (2, 24, 4, 4)
    torch.testing.assert_close(found.flatten(2).transpose(1, 2), wanted, atol=1e-5, rtol=0)


def test_patches_of_siglip_are_what_its_head_says_of_each_alone(pairs, theirs):
    """A map of one and the same token everywhere is pooled to what the head says of that token."""
    pair, model, pixels = pairs["siglip"], theirs["siglip"][0].eval(), torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        tokens = model.vision_model(pixels).last_hidden_state
        wanted = model.vision_model.head(tokens[:, 6:7].expand(-1, 16, -1))
        found = pair.dense(pixels)
    torch.testing.assert_close(found[:, :, 1, 2], wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_text_blocks_and_targets_are_found(name, pairs):
    text = pairs[name].text
    assert len(text.blocks()) == 2 and len(structure.lora_targets(text.backbone)) == 8 and text.unused() == []


@pytest.mark.parametrize("size_px", [48, 33])
def test_size(folders, size_px):
    if size_px == 33:
        with pytest.raises(WeightsError, match="does not fit patches"):
            load_pair(str(folders["clip"]), size_px=33)
    else:
        pair = load_pair(str(folders["clip"]), size_px=48)
        assert pair.dense(torch.zeros(1, 3, 48, 48)).shape == (1, 24, 6, 6)


@pytest.mark.parametrize("change", ["missing", "unexpected", "shape"])
def test_every_key_is_accounted_for(folders, tmp_path, change):
    folder = shutil.copytree(folders["clip"], tmp_path / "copy")
    state = load_file(folder / "model.safetensors")
    if change == "missing":
        del state["text_projection.weight"]
    elif change == "unexpected":
        state["text_model.encoder.layers.5.mlp.fc1.weight"] = torch.zeros(2)
    else:
        state["visual_projection.weight"] = torch.zeros(5, 32)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"keys do not fit|cannot load"):
        load_pair(str(folder))


def test_left_padding_is_that_of_the_tokenizer(folders, tmp_path):
    """The context stands before each text of a batch of unequal lengths, wherever a row begins."""
    folder = shutil.copytree(folders["siglip"], tmp_path / "copy")
    text = load_pair(str(folder)).text
    text.tokenizer.pads_left = True
    rows = text.tokens(["no lesion", "a"])["input_ids"]
    assert (rows[:, -1] == 3).all() and rows[0, 0] == 0
    whole = text(text.tokens(["a photo of lesion", "a photo of the heart"]))
    torch.testing.assert_close(text.with_context(text.token_vectors("a photo of"), ["lesion", "the heart"]), whole)
