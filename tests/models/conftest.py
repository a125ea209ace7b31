"""Small checkpoints in their libraries' own format, written by the tests, and real pictures to see them agree on."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.samples.encoder_checkpoints import checkpoints

PROJECT = Path(__file__).resolve().parents[2]


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
