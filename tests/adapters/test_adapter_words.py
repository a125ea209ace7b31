"""What adapters say of themselves for a report: every method has its words, sentences are whole."""

from __future__ import annotations

import pytest

from medvfm.adapters import (
    _dinov2_words,
    _monai_words,
    _sam_words,
    dinov2,
    latent_diffusion,
    llava,
    monai,
    sam,
    volume_encoder,
)
from medvfm.adapters._diffusion import words as _diffusion_words
from medvfm.adapters._llava import words as llava_words

ENCODER = {"weights": "facebook/dinov2-base", "volume": {"axis": None, "count": 13, "span": [0.2, 0.8], "pool": "mean"}}
DENSE = {"weights": "embedded:net", "decoder": "conv", "slices": "native", "neighbours": 1}
SAM = {"weights": "org/sam", "contract": {"contract": "medsam", "side_px": 1024}, "oracle": None, "prompts": None}
VOLUMES = {"weights": "org/ct", "spacing_mm": [3, 1, 1], "contract": {"orientation": "SPL", "tile_vox": [32, 64, 64]}}
NETWORK = {"network": "unet", "dims": 3, "patch": [48, 48, 48], "width": 16, "overlap": 0.5}
MONAI = {"weights": "scratch", "network": NETWORK}
DIFFUSION = {
    "weights": "org/diffusion", "size_px": [512, 512], "channels": 1, "latent_shape": [4, 64, 64],
    "prediction": "epsilon", "condition": {"by": "text", "classes": [], "attributes": []}, "sampler": "ddim",
    "steps": 50, "guidance": 4.0, "negative": "", "texts": {"read": 9, "cut": 1},
}  # fmt: skip
TALK = {
    "weights": "org/llava", "language": {"tune": "lora"}, "blind": False,
    "chat": {"template": "chat", "images": "first"},
    "decoding": {"most_tokens": 32, "stops": ["</s>"]}, "volume": ENCODER["volume"],
}  # fmt: skip


def methods(module, task):
    return [name for name, method in module.METHODS.items() if task in method.tasks]


@pytest.mark.parametrize(
    ("words", "record", "method"),
    [
        *((_dinov2_words, ENCODER, m) for m in methods(dinov2, "classification")),
        *((_dinov2_words, DENSE, m) for m in methods(dinov2, "segmentation")),
        *((volume_encoder, VOLUMES, m) for m in methods(volume_encoder, "classification")),
        *((_sam_words, SAM, m) for m in methods(sam, "segmentation")),
        *((_diffusion_words, DIFFUSION, m) for m in methods(latent_diffusion, "generation")),
        *((llava_words, TALK, m) for m in methods(llava, "question_answering")),
        *((_monai_words, MONAI | {"weights": "bundle:spleen"}, m) for m in methods(monai, "segmentation")),
    ],
)
def test_every_method_has_its_words(words, record, method):
    found = words.said(record | {"method": method})
    assert found["title"] and found["title"] in found["subject"] and "{" not in str(found["subject"])
    sentences = [*found["input"], *found["prompts"], *found.get("volumes", [])]
    assert all(s[0].isupper() and s.endswith(".") and "None" not in s and "{" not in s for s in sentences)


@pytest.mark.parametrize(
    ("words", "record", "said"),
    [
        (_dinov2_words, ENCODER | {"method": "linear_probe"}, "A linear probe on frozen features of facebook/dinov2-b"),
        (_dinov2_words, ENCODER | {"method": "knn"}, "13 axial slices between 20% and 80% of its extent were encoded"),
        (_dinov2_words, DENSE | {"method": "full"}, "A decoder on net, the encoder fine-tuned in full,"),
        (_dinov2_words, DENSE | {"method": "full"}, "best resolution), with 1 neighbour on either side as channels."),
        (_dinov2_words, ENCODER | {"weights": "tiny", "method": "full"}, "A small encoder with random weights, fine"),
        (_sam_words, SAM | {"method": "decoder"}, "Images were resized to 1024 × 1024 px, and scaled from their min"),
        (_sam_words, SAM | {"method": "lora", "prompts": {"from": "file"}}, "Prompts came from a file."),
        (_sam_words, SAM | {"method": "full", "weights": "tiny"}, "A small promptable segmentation network, trained"),
        (_sam_words, SAM | {"method": "full", "oracle": "oracle prompt: a box an object"}, "(oracle prompt: a box an"),
        (_diffusion_words, DIFFUSION | {"method": "lora"}, "org/diffusion, adapted with LoRA,"),
        (_diffusion_words, DIFFUSION | {"method": "lora"}, "predicts the noise."),
        (_diffusion_words, DIFFUSION | {"method": "lora"}, "Of 9 texts, 1 was longer than its reader takes and"),
        (_diffusion_words, DIFFUSION | {"method": "inpaint"}, "everything outside it is the image itself."),
        (
            _diffusion_words,
            DIFFUSION | {"method": "full", "weights": "tiny"},
            "A small latent diffusion model, trained",
        ),
        (
            llava_words,
            TALK | {"method": "instruct"},
            "org/llava, the projector and LoRA in the language model trained on",
        ),
        (llava_words, TALK | {"method": "align"}, "up to 32 tokens or the first of </s>."),
        (_monai_words, MONAI | {"method": "full"}, "A 3D U-Net of MONAI, trained from scratch,"),
        (_monai_words, MONAI | {"method": "full"}, "Training patches had 48 × 48 × 48 voxels, two of three around"),
        (_monai_words, MONAI | {"method": "zero_shot", "weights": "bundle:spleen"}, "spleen (MONAI bundle), without"),
    ],
)
def test_what_is_said(words, record, said):
    found = words.said(record)
    assert said in " ".join([found["subject"], *found["input"], *found["prompts"], *found.get("volumes", [])])
