"""LoRA targets and blocks against what the libraries' layers are known to be called in this release."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch import nn

from medvfm.core.errors import RecipeError
from medvfm.models.encoders.load import load_encoder
from medvfm.models.structure import block_names, blocks, lora_targets, tail
from tests.samples.encoder_checkpoints import checkpoints

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 99,
}


@pytest.mark.parametrize("name", sorted(checkpoints().keys() - {"dinov3_convnext"}))  # which has no attention
def test_attention_of_every_block_and_nothing_else(name, published):
    backbone = load_encoder(str(published[name])).backbone
    targets = lora_targets(backbone)
    layers = 6 if name == "swin" else 5
    assert len(targets) == 4 * layers == len(set(targets))
    assert all("attn" in target or "attention" in target for target in targets)
    assert not any(word in target for target in targets for word in ("mlp", "fc", "head", "intermediate"))
    assert len(blocks(backbone)) == layers


def test_layers_as_an_older_release_names_them():
    """Query, key and value one module deeper than the output projection, as in transformers 5.3."""

    class SelfAttention(nn.Module):
        def __init__(self):
            super().__init__()
            self.query, self.key, self.value = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

    class Output(nn.Module):
        def __init__(self, width_in):
            super().__init__()
            self.dense = nn.Linear(width_in, 8)

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.output = SelfAttention(), Output(8)

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.output = Attention(), Output(32)
            self.intermediate = nn.Linear(8, 32)

    model = nn.Module()
    model.layer = nn.ModuleList(Layer() for _ in range(2))
    model.layernorm = nn.LayerNorm(8)
    inner = ["attention.attention.query", "attention.attention.key", "attention.attention.value"]
    assert lora_targets(model) == [f"layer.{i}.{n}" for i in (0, 1) for n in [*inner, "attention.output.dense"]]
    assert tail(model) == [model.layernorm]


@pytest.mark.parametrize("mlp_ratio", [1.0, 3.0, 4.0])
def test_fused_attention_of_timm(mlp_ratio):
    model = timm.create_model("vit_tiny_patch16_224", depth=3, embed_dim=48, num_heads=4, mlp_ratio=mlp_ratio)
    assert lora_targets(model) == [f"blocks.{i}.attn.{n}" for i in range(3) for n in ("qkv", "proj")]


def test_gated_mlps_are_no_attention():
    model = timm.create_model("vit_giant_patch14_dinov2", depth=2, embed_dim=48, num_heads=4, img_size=28)
    assert {target.rpartition(".")[2] for target in lora_targets(model)} == {"qkv", "proj"}


class CrossAttention(nn.Module):
    """As diffusers' Attention is built: the output projection lies in a list, behind it a dropout."""

    def __init__(self, width, context, heads_width):
        super().__init__()
        self.to_q = nn.Linear(width, heads_width, bias=False)
        self.to_k, self.to_v = (nn.Linear(context, heads_width, bias=False) for _ in range(2))
        self.to_out = nn.ModuleList([nn.Linear(heads_width, width), nn.Dropout(0.0)])


@pytest.mark.parametrize(("context", "heads_width"), [(24, 32), (32, 32), (48, 32), (64, 32), (24, 64), (32, 16)])
def test_cross_attention_to_a_context_of_any_width(context, heads_width):
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.proj = nn.Linear(32, 256)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attn1 = CrossAttention(32, 32, heads_width)
            self.attn2 = CrossAttention(32, context, heads_width)
            self.ff = nn.Sequential(Gated(), nn.Dropout(0.0), nn.Linear(128, 32))

    unet = nn.Module()
    unet.resnets = nn.ModuleList([nn.Sequential(nn.Conv2d(8, 32, 3), nn.Conv2d(32, 32, 3))])
    unet.transformer_blocks = nn.ModuleList([Block(), Block()])
    expected = [
        f"transformer_blocks.{i}.{attention}.{layer}"
        for i in (0, 1)
        for attention in ("attn1", "attn2")
        for layer in ("to_q", "to_k", "to_v", "to_out.0")
    ]
    assert lora_targets(unet) == expected


@pytest.mark.parametrize("key_value_heads", [1, 2, 4])
@pytest.mark.parametrize("family", ["Llama", "Qwen2", "Mistral"])
def test_grouped_queries_are_attention_and_gated_mlps_are_not(family, key_value_heads):
    config = getattr(transformers, f"{family}Config")(
        **TEXT, num_key_value_heads=key_value_heads, pad_token_id=0, bos_token_id=1, eos_token_id=2
    )
    targets = lora_targets(getattr(transformers, f"{family}Model")(config))
    layers = ("q_proj", "k_proj", "v_proj", "o_proj")
    assert targets == [f"layers.{i}.self_attn.{layer}" for i in (0, 1) for layer in layers]


@pytest.mark.parametrize("width_of_context", [32, 48])
def test_a_text_decoder_that_reads_an_image_through_cross_attention(width_of_context):
    """BLIP's: query, key and value one module deeper than the projection, the context of another width."""
    config = transformers.BlipTextConfig(
        **TEXT, encoder_hidden_size=width_of_context, is_decoder=True, pad_token_id=0, bos_token_id=1, sep_token_id=2
    )
    inner = ("self.query", "self.key", "self.value", "output.dense")
    assert lora_targets(transformers.BlipTextModel(config, add_pooling_layer=False)) == [
        f"encoder.layer.{i}.{attention}.{layer}"
        for i in (0, 1)
        for attention in ("attention", "crossattention")
        for layer in inner
    ]
    config = transformers.BertConfig(**TEXT, is_decoder=True, add_cross_attention=True)
    assert len(lora_targets(transformers.BertModel(config, add_pooling_layer=False))) == 2 * 2 * 4


def test_text_encoders():
    clip = transformers.CLIPTextModel(transformers.CLIPTextConfig(**TEXT, eos_token_id=2, bos_token_id=1))
    assert {name.rpartition(".")[2] for name in lora_targets(clip)} == {"q_proj", "k_proj", "v_proj", "out_proj"}
    assert len(lora_targets(clip)) == 2 * 4
    # heads narrower than the model; decoders read the encoder in each layer
    t5 = transformers.T5Config(d_model=32, d_kv=4, d_ff=64, num_layers=2, num_heads=4, vocab_size=99)
    targets = lora_targets(transformers.T5Model(t5))
    assert len(targets) == 2 * 4 + 2 * 2 * 4
    assert all("Attention" in name for name in targets)


def test_packed_attention_is_named_as_a_whole():
    layer = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2), 2)
    assert lora_targets(layer) == ["layers.0.self_attn", "layers.1.self_attn"]


def test_convolutions_that_mix_channels():
    backbone = load_encoder("embedded").backbone
    targets = lora_targets(backbone)
    expected = [
        name
        for name, layer in backbone.named_modules()
        if isinstance(layer, nn.Conv2d) and layer.groups == 1 and name.startswith("blocks")
    ]
    assert targets == expected and len(targets) == 31
    assert len(block_names(timm.create_model("resnet10t"))) == 4


@pytest.mark.parametrize("weights", ["dinov2", "vit", "swin", "siglip", "embedded", "tiny"])
def test_a_saved_lora_loads_in_plain_peft_on_the_plain_model(weights, published, tmp_path):
    from peft import PeftModel

    encoder = load_encoder(str(published.get(weights, weights)))
    plain = copy.deepcopy(encoder)
    pixels = torch.randn(2, 3, *encoder.contract.size_px, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before, levels_before = encoder(pixels).pooled, encoder.pyramid(pixels)
    config = LoraConfig(r=4, target_modules=lora_targets(encoder.backbone), init_lora_weights=False)
    encoder.backbone = get_peft_model(encoder.backbone, config)
    trainable = {name for name, p in encoder.named_parameters() if p.requires_grad}
    assert trainable and all("lora_" in name for name in trainable)
    encoder.backbone.save_pretrained(tmp_path)
    encoder.eval()
    plain.backbone = PeftModel.from_pretrained(plain.backbone, tmp_path).eval()
    with torch.no_grad():
        after = encoder(pixels).pooled
        assert not torch.allclose(after, before)
        torch.testing.assert_close(plain(pixels).pooled, after)
        assert [level.shape for level in encoder.pyramid(pixels)] == [level.shape for level in levels_before]
    assert len(encoder.blocks()) == len(plain.blocks()) > 0


def test_last_blocks(published):
    encoder = load_encoder(str(published["dinov2"]))
    layers = encoder.backbone.encoder.layer
    assert encoder.last_blocks(2) == [layers[3], layers[4], encoder.backbone.layernorm]
    with pytest.raises(RecipeError, match="5 blocks"):
        encoder.last_blocks(6)
