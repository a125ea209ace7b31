"""Small checkpoints in their libraries' own format, written by the tests, and real pictures to see them agree on."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

PROJECT = Path(__file__).resolve().parents[2]
SMALL = {
    "hidden_size": 48,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "image_size": 64,
    "patch_size": 16,
}
DINO = {**SMALL, "image_size": 70, "patch_size": 14}
TEXT = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 99}
DECODER = {
    "decoder_hidden_size": 32,
    "decoder_num_attention_heads": 4,
    "decoder_num_hidden_layers": 1,
    "decoder_intermediate_size": 64,
}
CROP = {"size": {"shortest_edge": 80}, "do_center_crop": True, "crop_size": {"height": 70, "width": 70}, "resample": 3}
SQUASH = {"size": {"height": 64, "width": 64}}
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def checkpoints() -> dict:
    """Name -> (a model with its heads, the class that encodes, that class's options, its processor)."""
    import transformers as T

    bit, vit = T.BitImageProcessor, T.ViTImageProcessor
    dinov3 = getattr(T, "DINOv3ViTImageProcessor", None) or T.DINOv3ViTImageProcessorFast  # its name in 5.3
    naflex = {**SMALL, "num_patches": 16}
    naflex.pop("image_size")
    swin = {"image_size": 64, "embed_dim": 16, "depths": [1, 1, 2, 2], "num_heads": [1, 2, 2, 4], "window_size": 2}
    return {
        "dinov2": (T.Dinov2ForImageClassification(T.Dinov2Config(**DINO)), T.Dinov2Model, {}, bit(**CROP, **IMAGENET)),
        "dinov2_with_registers": (
            T.Dinov2WithRegistersModel(T.Dinov2WithRegistersConfig(**DINO)),
            T.Dinov2WithRegistersModel,
            {},
            bit(**CROP, **IMAGENET),
        ),
        "dinov3_vit": (
            T.DINOv3ViTModel(T.DINOv3ViTConfig(**SMALL, num_register_tokens=3)),
            T.DINOv3ViTModel,
            {},
            dinov3(**SQUASH),
        ),
        "vit": (
            T.ViTForImageClassification(T.ViTConfig(**SMALL)),
            T.ViTModel,
            {"add_pooling_layer": False},
            vit(**SQUASH, resample=2),
        ),
        "vit_mae": (
            T.ViTMAEForPreTraining(T.ViTMAEConfig(**SMALL, **DECODER)),
            T.ViTMAEModel,
            {"mask_ratio": 0.0},
            vit(**SQUASH, resample=3, **IMAGENET),
        ),
        "swin": (
            T.SwinForImageClassification(T.SwinConfig(**swin)),
            T.SwinModel,
            {},
            vit(**SQUASH, resample=3, **IMAGENET),
        ),
        "siglip": (
            T.SiglipModel(T.SiglipConfig(vision_config=SMALL, text_config=TEXT)),
            T.SiglipVisionModel,
            {},
            T.SiglipImageProcessor(**SQUASH, resample=3),
        ),
        "siglip2": (
            T.Siglip2Model(T.Siglip2Config(vision_config=naflex, text_config=TEXT)),
            T.Siglip2VisionModel,
            {},
            T.Siglip2ImageProcessor(patch_size=16, max_num_patches=16),
        ),
        "clip": (
            T.CLIPModel(T.CLIPConfig(vision_config=SMALL, text_config=TEXT, projection_dim=16)),
            T.CLIPVisionModel,
            {},
            T.CLIPImageProcessor(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}),
        ),
    }


@pytest.fixture(scope="session")
def published(tmp_path_factory) -> dict[str, Path]:
    """Folders as their libraries write them, one a model type."""
    folders = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for name, (model, _, _, processor) in checkpoints().items():
            folder = tmp_path_factory.mktemp(name)
            for parameter in model.parameters():  # the libraries start tokens, biases and scales at 0 or 1
                parameter.data += 0.05 * torch.randn_like(parameter)
            model.save_pretrained(folder)
            processor.save_pretrained(folder)
            folders[name] = folder
    return folders


@pytest.fixture(scope="session")
def photograph() -> np.ndarray:
    """(427, 640, 3) uint8: a real photograph of a temple."""
    from sklearn.datasets import load_sample_images

    return load_sample_images().images[0]


@pytest.fixture(scope="session")
def flower() -> np.ndarray:
    from sklearn.datasets import load_sample_images

    return load_sample_images().images[1]


@pytest.fixture(scope="session")
def radiograph() -> np.ndarray:
    """(256, 256) uint8: a real chest X-ray."""
    from PIL import Image

    root = Path(os.environ.get("MEDVFM_DATA") or PROJECT.parent / "shared" / "data") / "nih_cxr_256"
    files = sorted(root.rglob("*.png")) + sorted(root.rglob("*.jp*g"))
    if not files:
        pytest.skip("no MEDVFM_DATA and no ../shared/data: real X-rays are not here")
    return np.asarray(Image.open(files[0]).convert("L"))


@pytest.fixture
def as_pictures():
    """uint8 (H, W) or (H, W, 3) to (1, C, H, W) float in [0, 1]."""

    def convert(picture: np.ndarray) -> torch.Tensor:
        channels_last = picture[..., None] if picture.ndim == 2 else picture
        return torch.from_numpy(channels_last.copy()).permute(2, 0, 1)[None].float() / 255

    return convert


@pytest.fixture
def timm_folder(tmp_path):
    """Writes a small timm model as its hub folders are laid out, and gives the folder and the model."""

    def write(architecture: str, **options):
        import timm
        from safetensors.torch import save_file

        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = timm.create_model(architecture, **options).eval()
            for parameter in model.parameters():
                parameter.data += 0.02 * torch.randn_like(parameter)
        config = {
            "architecture": architecture,
            "num_classes": model.num_classes,
            "model_args": options,
            "pretrained_cfg": {k: v for k, v in model.pretrained_cfg.items() if k != "architecture"},
        }
        (tmp_path / "config.json").write_text(json.dumps(config))
        save_file(model.state_dict(), tmp_path / "model.safetensors")
        return tmp_path, model

    return write
