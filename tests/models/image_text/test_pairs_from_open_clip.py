"""open_clip's models against open_clip's own loading, transform and tokenizer."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from torch.nn.functional import cosine_similarity

from medvfm.core.errors import RecipeError, WeightsError
from medvfm.models import structure
from medvfm.models.image_text.load import load_pair
from medvfm.models.image_text.open_clip_contract import open_clip_contract
from tests.samples.image_text_checkpoints import write_biomedclip

TEXTS = ["a photo of lesion", "no  lesion", "", "a " * 50, "脑部病变"]
BIOMEDCLIP = "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"
TINY_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 20, "width": 32, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="module")
def biomed(tmp_path_factory):
    return write_biomedclip(tmp_path_factory.mktemp("biomed"), mean=[0.4, 0.5, 0.6], std=[0.2, 0.3, 0.25])


@pytest.fixture(scope="module")
def pair(biomed):
    return load_pair(f"local-dir:{biomed}")


@pytest.fixture(scope="module")
def theirs(biomed, tmp_path_factory):
    """open_clip alone. It looks for the text tower on the hub, so that its copy of the folder names a local one."""
    folder = shutil.copytree(biomed, tmp_path_factory.mktemp("theirs") / "copy")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["hf_model_name"] = str(folder)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    return model.eval(), transform, open_clip.get_tokenizer(f"local-dir:{folder}")


@pytest.fixture(scope="module")
def architecture(tmp_path_factory):
    """A small architecture with a name, and a checkpoint of it in CLIP's first layout."""
    folder = tmp_path_factory.mktemp("architecture")
    (folder / "tiny-clip.json").write_text(json.dumps(TINY_CLIP))
    open_clip.add_model_config(folder / "tiny-clip.json")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.create_model("tiny-clip")
        for parameter in model.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    torch.save({"epoch": 3, "state_dict": model.state_dict()}, folder / "epoch_3.pt")
    return folder / "epoch_3.pt", model.eval()


def test_biomedclip_equals_open_clip(pair, theirs, photograph, as_pictures):
    model, transform, tokenizer = theirs
    inputs = transform(Image.fromarray(photograph))[None]
    with torch.no_grad():
        wanted = model.encode_image(inputs)
        exact = pair.image_vectors(pair.image(inputs))
        ours = pair.image_vectors(pair.image(pair.image.contract.apply(as_pictures(photograph))))
        texts, own = model.encode_text(tokenizer(TEXTS)), pair.text(pair.text.tokens(TEXTS))
    torch.testing.assert_close(exact, wanted, atol=1e-5, rtol=0)
    assert cosine_similarity(ours, wanted).min() > 0.9999
    torch.testing.assert_close(own, texts, atol=1e-5, rtol=0)
    assert pair.scale == pytest.approx(float(model.logit_scale.detach().exp())) and pair.bias is None and pair.aligned
    assert pair.text.cut(TEXTS) == 1 and pair.text.limit == 20


def test_biomedclip_context_of_real_tokens_is_the_text_itself(pair):
    given = pair.text.with_context(pair.text.token_vectors("a photo of"), ["lesion", "the heart"])
    torch.testing.assert_close(given, pair.text(pair.text.tokens(["a photo of lesion", "a photo of the heart"])))


def test_biomedclip_patches_are_the_last_value_path(pair, theirs):
    pixels, trunk = torch.randn(1, 3, 160, 160), theirs[0].visual.trunk
    with torch.no_grad():
        tokens = trunk.forward_intermediates(pixels, indices=[len(trunk.blocks) - 2], output_fmt="NLC",
                                             intermediates_only=True)[0]  # fmt: skip
        block = trunk.blocks[-1]
        width = tokens.shape[-1]
        weight, bias = block.attn.qkv.weight[2 * width :], block.attn.qkv.bias[2 * width :]
        value = block.ls1(block.attn.proj(block.norm1(tokens) @ weight.T + bias))
        wanted = theirs[0].visual.head(trunk.fc_norm(trunk.norm(value)))
        found = pair.dense(pixels)
    torch.testing.assert_close(found.flatten(2).transpose(1, 2), wanted, atol=1e-5, rtol=0)


def test_biomedclip_blocks_and_towers(pair, biomed):
    assert len(pair.text.blocks()) == 2 and len(structure.lora_targets(pair.text.backbone)) == 8
    image, text = pair.towers()
    assert image["sha256"] != text["sha256"]
    assert load_pair(str(biomed)).towers()[0]["sha256"] == image["sha256"]


def test_a_named_architecture_with_a_checkpoint(architecture):
    file, model = architecture
    pair = load_pair(f"open_clip:tiny-clip={file}")
    pixels, texts = torch.randn(2, 3, 32, 32), ["effusion", "", "脑部病变", "effusion " * 40]
    with torch.no_grad():
        torch.testing.assert_close(
            pair.image_vectors(pair.image(pixels)), model.encode_image(pixels), atol=1e-5, rtol=0
        )
        tokens = open_clip.get_tokenizer("tiny-clip")(texts)
        assert torch.equal(pair.text.tokens(texts)["input_ids"], tokens)
        torch.testing.assert_close(pair.text(pair.text.tokens(texts)), model.encode_text(tokens), atol=1e-5, rtol=0)
        given = pair.text.with_context(pair.text.token_vectors("a photo of"), ["lung", "the heart"])
        whole = pair.text(pair.text.tokens(["a photo of lung", "a photo of the heart"]))
        torch.testing.assert_close(given, whole)
    assert pair.text.cut(texts) == 1 and len(pair.image.pyramid(pixels)) >= 2


def test_maskclip_patches_of_open_clip_are_the_last_value_path(architecture):
    file, model = architecture
    pair, pixels, visual = load_pair(f"open_clip:tiny-clip={file}"), torch.randn(2, 3, 32, 32), model.visual
    with torch.no_grad():
        x = visual.transformer.resblocks[0](visual._embeds(pixels))
        block = visual.transformer.resblocks[-1]
        value = block.ln_1(x) @ block.attn.in_proj_weight[128:].T + block.attn.in_proj_bias[128:]
        wanted = visual.ln_post(block.attn.out_proj(value))[:, 1:] @ visual.proj
    found = pair.dense(pixels)
    torch.testing.assert_close(found.flatten(2).transpose(1, 2), wanted, atol=1e-5, rtol=0)


def test_size_of_open_clips_own_transformer(architecture):
    file, _ = architecture
    pair = load_pair(f"open_clip:tiny-clip={file}", size_px=48)
    assert pair.image.contract.size_px == (48, 48) and pair.dense(torch.zeros(1, 3, 48, 48)).shape[-2:] == (6, 6)


@pytest.mark.parametrize("change", ["missing", "unexpected", "shape"])
def test_every_key_is_accounted_for(architecture, tmp_path, change):
    state = dict(architecture[1].state_dict())
    if change == "missing":
        del state["visual.proj"]
    elif change == "unexpected":
        state["visual.other"] = torch.zeros(2)
    else:
        state["positional_embedding"] = torch.zeros(30, 32)
    torch.save(state, tmp_path / "changed.pt")
    with pytest.raises(WeightsError, match="keys do not fit"):
        load_pair(f"open_clip:tiny-clip={tmp_path / 'changed.pt'}")


class Code:
    def __reduce__(self):
        return print, ("code of a pickle ran",)


def test_a_pickle_with_code_is_refused(architecture, tmp_path, capsys):
    (tmp_path / "bad.pt").write_bytes(pickle.dumps({"logit_scale": Code()}, protocol=2))
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        load_pair(f"open_clip:tiny-clip={tmp_path / 'bad.pt'}")
    assert "ran" not in capsys.readouterr().out


def test_a_network_without_single_patches_says_so(tmp_path):
    vision = {"timm_model_name": "test_resnet", "timm_pool": "avg", "timm_proj": "linear", "image_size": 64}
    config = {**TINY_CLIP, "vision_cfg": vision}
    from open_clip.model import CustomTextCLIP

    model = CustomTextCLIP(**config).eval()
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    torch.save(model.state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    pair, pixels = load_pair(str(tmp_path)), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(
            pair.image_vectors(pair.image(pixels)), model.encode_image(pixels), atol=1e-5, rtol=0
        )
    with pytest.raises(RecipeError, match="no embedding of single patches"):
        pair.dense(pixels)


@pytest.mark.parametrize("shape", [(400, 300), (61, 97), (40, 40)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
def test_the_contract_is_open_clips_transform(mode, interpolation, shape, photograph, as_pictures):
    values = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25], "interpolation": interpolation, "resize_mode": mode}
    picture = np.ascontiguousarray(photograph[: shape[0], : shape[1]])
    transform = open_clip.image_transform(64, is_train=False, **values)
    wanted = transform(Image.fromarray(picture))
    contract = replace(open_clip_contract(values, 64, "test"), eight_bit=True)
    found = contract.normalise(contract.fit(as_pictures(picture)).half())[0]
    levels = (found - wanted).abs() * torch.tensor(values["std"]).view(3, 1, 1) * 255
    # PIL's weights are whole numbers, so that a value between two levels may fall to either
    assert levels.max() < 2.01 and levels.mean() < 0.03


def test_weights_that_are_not_here_name_the_repository():
    with pytest.raises(WeightsError, match="BiomedCLIP"):
        load_pair(f"hf-hub:{BIOMEDCLIP}")


def test_what_is_not_read_is_refused(biomed, tmp_path):
    with pytest.raises(WeightsError, match="did you mean 'ViT-B-32'"):
        load_pair("open_clip:ViT-B-33=x.pt")
    with pytest.raises(WeightsError, match="open_clip:ViT-B-32=FILE"):
        load_pair("open_clip:ViT-B-32")
    folder = shutil.copytree(biomed, tmp_path / "copy")
    content = json.loads((folder / "open_clip_config.json").read_text())
    content["model_cfg"]["multimodal_cfg"] = {}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    with pytest.raises(WeightsError, match="CoCa"):
        load_pair(str(folder))
    (folder / "open_clip_pytorch_model.bin").unlink()
    with pytest.raises(WeightsError, match="holds no weights"):
        load_pair(f"local-dir:{folder}")


def test_siglip_in_open_clips_layout(tmp_path):
    """Attention pooling of a timm trunk, the last token of a text without causal mask, a bias beside the scale."""
    from open_clip.model import CustomTextCLIP

    vision = {"timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none", "image_size": 160}
    text = {**TINY_CLIP["text_cfg"], "no_causal_mask": True, "pool_type": "last", "proj_bias": True}
    config = {"embed_dim": 64, "vision_cfg": vision, "text_cfg": text, "init_logit_bias": -10, "custom_text": True}
    values = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash", "interpolation": "bicubic"}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": values}))
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = CustomTextCLIP(**{k: v for k, v in config.items() if k != "custom_text"}).eval()
    torch.save(model.state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    pair, pixels, texts = load_pair(str(tmp_path)), torch.randn(1, 3, 160, 160), ["a lesion", ""]
    assert (pair.loss, pair.bias, pair.image.contract.resize) == ("siglip", -10, "squash")
    with torch.no_grad():
        wanted = model.encode_image(pixels)
        torch.testing.assert_close(pair.image_vectors(pair.image(pixels)), wanted, atol=1e-5, rtol=0)
        tokens = open_clip.SimpleTokenizer(context_length=20)(texts)
        torch.testing.assert_close(pair.text(pair.text.tokens(texts)), model.encode_text(tokens), atol=1e-5, rtol=0)
        trunk = model.visual.trunk
        place = trunk.num_prefix_tokens + 12
        alone = trunk.forward_features(pixels)[:, place : place + 1].expand(-1, 101, -1)
        found = pair.dense(pixels)
        torch.testing.assert_close(found[:, :, 1, 2], trunk.forward_head(alone), atol=1e-5, rtol=0)
    assert pair.text.projection.bias is not None and pair.text.unused() == []


def test_a_hub_repository_in_the_cache_loads_offline(biomed, pair, tmp_path, monkeypatch):
    """As `hf download` lays it out, without the markers of files that the repository lacks."""
    from huggingface_hub import constants

    commit, repository = "0123456789abcdef0123456789abcdef01234567", tmp_path / "models--someone--biomed"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    snapshot = shutil.copytree(biomed, repository / "snapshots" / commit)
    (snapshot / "README.md").write_text("---\nlicense: mit\n---\n")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("medvfm.models.weights._no_network", lambda: True)
    image, text = load_pair("hf-hub:someone/biomed").towers()
    assert image["sha256"] == pair.towers()[0]["sha256"] and text["sha256"] == pair.towers()[1]["sha256"]
    assert (image["weights"], image["revision"], image["licence"]) == ("hf-hub:someone/biomed", commit, "mit")
    (snapshot / "config.json").unlink()
    with pytest.raises(WeightsError, match="BiomedNLP-BiomedBERT"):  # whose shape the text tower has
        load_pair("hf-hub:someone/biomed")


def test_low_rank_updates_of_the_text_tower(pair, biomed):
    """tuning works on text encoders too, and a learned context passes through peft's wrapper."""
    from medvfm.models.encoders.tuning import Tuning, set_trainable

    text = load_pair(str(biomed)).text
    before = text(text.tokens(["no lesion"])).detach()
    set_trainable(text, "lora", Tuning(rank=2), None)
    trained = [name for name, parameter in text.named_parameters() if parameter.requires_grad]
    assert trained and all("lora_" in name for name in trained)
    torch.testing.assert_close(text(text.tokens(["no lesion"])), before)
    given = text.with_context(text.token_vectors("no"), ["lesion"])
    torch.testing.assert_close(given, before)
    given.sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in text.parameters())
