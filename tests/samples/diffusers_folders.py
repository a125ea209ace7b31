"""A small Stable Diffusion with random weights, written by diffusers and transformers themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,"
LIMIT = 16  # tokens of a text
SIDE = 32  # pixels of an image; latents have 16


def tokenizer(folder: Path) -> CLIPTokenizer:
    """CLIP's own kind, of single letters."""
    words = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: n for n, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=LIMIT)


def unet(channels: int = 4) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=SIDE // 2,
        in_channels=channels,
        out_channels=4,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
        norm_num_groups=4,
    )


def vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=SIDE,
    )


def pipeline(scratch: Path, prediction: str = "epsilon", channels: int = 4) -> StableDiffusionPipeline:
    """`scratch`: a folder for the vocabulary."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        words = tokenizer(scratch)
        config = CLIPTextConfig(
            vocab_size=len(words),
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=LIMIT,
            bos_token_id=words.bos_token_id,
            eos_token_id=words.eos_token_id,
            pad_token_id=words.pad_token_id,
        )
        scheduler = DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            prediction_type=prediction,
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        )
        parts: dict[str, Any] = {"vae": vae(), "text_encoder": CLIPTextModel(config), "unet": unet(channels)}
        made = StableDiffusionPipeline(
            **parts,
            tokenizer=words,
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    made.set_progress_bar_config(disable=True)
    return made


def write(folder: Path, prediction: str = "epsilon", channels: int = 4) -> StableDiffusionPipeline:
    """The pipeline that was written to `folder`."""
    made = pipeline(folder.with_name(f"{folder.name}-words"), prediction, channels)
    made.save_pretrained(folder)
    return made
