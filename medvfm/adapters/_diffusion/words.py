"""How a report calls a generator of images, and what it says of how images were made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medvfm.core.plurals import plural

METHODS = {
    "zero_shot": "{model}, without any training,",
    "full": "{model}, its denoiser fine-tuned in full,",
    "full_text": "{model}, its denoiser and its text encoder fine-tuned in full,",
    "lora": "{model}, adapted with LoRA,",
    "controlnet": "{model}, steered by a ControlNet that was trained on masks,",
    "inpaint": "{model}, fine-tuned to fill regions,",
    "restore": "{model}, fine-tuned to restore images,",
    "autoencoder": "{model}, its autoencoder fine-tuned,",
    "unconditional": "{model}, trained without conditions,",
    "textual_inversion": "{model}, asked with a learned word (textual inversion),",
}
LABELS = {
    "zero_shot": "{model}, as published",
    "full": "{model}, fine-tuned",
    "full_text": "{model}, fine-tuned with its text encoder",
    "lora": "LoRA on {model}",
    "controlnet": "ControlNet on {model}",
    "inpaint": "{model}, filling regions",
    "restore": "{model}, restoring images",
    "autoencoder": "{model}, autoencoder fine-tuned",
    "unconditional": "{model}, unconditional",
    "textual_inversion": "learned word of {model}",
}
SPATIAL = {
    "controlnet": ("The masks of a case, united, were a condition too.",),
    "inpaint": (
        "The region of a case's masks, or a square where it has none, was hidden and filled; everything outside it is "
        "the image itself.",
    ),
    "restore": ("The denoiser also read the latents of the degraded image, as further channels.",),
}
SCRATCH = {
    "tiny": "small latent diffusion model",
    "tiny-spatial": "small convolutional latent diffusion model",
    "pixels": "small convolutional diffusion model of pixels",
    "monai": "latent diffusion model of MONAI's networks",
}
LATENTS = {
    "tiny": "numbers (principal components of the training images)",
    "tiny-spatial": "numbers (principal components of patches of the training images)",
    "pixels": "pixels",
}
PREDICTED = {"epsilon": "the noise", "v_prediction": "velocity (v)", "sample": "the clean latents"}
SAMPLERS = {"ddim": "DDIM", "dpm++": "DPM-Solver++", "euler": "Euler's method"}


def said(record: Mapping[str, Any]) -> dict[str, Any]:
    """From the record of the adapter and its `method`."""
    weights, method = str(record["weights"]), str(record["method"])
    scratch = SCRATCH.get(weights)
    title = scratch or weights
    subject = f"A {title}, trained from scratch," if scratch else METHODS[method].replace("{model}", title)
    return {
        "title": title if scratch is None else f"A {title}",
        "label": title if scratch else LABELS[method].replace("{model}", title),
        "subject": subject,
        "input": [
            _pictures(record),
            _latents(record),
            *_asked(record, method),
            *SPATIAL.get(method, ()),
            *_cut(record),
        ],
        "prompts": [],
        "sampling": [_sampled(record)],
    }


def _pictures(record: Mapping[str, Any]) -> str:
    if record.get("spacing_mm"):
        size, spacing = (" × ".join(f"{n:g}" for n in record[key]) for key in ("size_px", "spacing_mm"))
        return (
            f"Volumes were resampled to {spacing} mm and cut or filled to {size} voxels (axial slices, rows, columns) "
            "about their middle; gray volumes are made."
        )
    height, width = record["size_px"]
    kind = "gray" if record["channels"] == 1 else "colour"
    return f"Images were fitted into {height} × {width} px with borders, aspect ratio kept; {kind} images are made."


def _latents(record: Mapping[str, Any]) -> str:
    shape = " × ".join(map(str, record["latent_shape"]))
    what = LATENTS.get(str(record["weights"]), "numbers")
    return f"An image is {shape} {what} to the denoiser, which predicts {PREDICTED[record['prediction']]}."


def _asked(record: Mapping[str, Any], method: str) -> list[str]:
    condition = record["condition"]
    if condition["by"] == "none":
        return [] if method == "restore" else ["Images were made without a condition."]
    if condition["by"] == "text":
        return ["Images were asked for by the text of each case."]
    named = ", ".join(name.replace("_", " ") for name in (*condition["classes"], *condition["attributes"]))
    return [f"Images were asked for by {named}."]


def _cut(record: Mapping[str, Any]) -> list[str]:
    texts = record["texts"]
    if not texts["cut"]:
        return []
    was = "was" if texts["cut"] == 1 else "were"
    return [f"Of {plural(texts['read'], 'text')}, {texts['cut']} {was} longer than its reader takes and cut."]


def _sampled(record: Mapping[str, Any]) -> str:
    w, negative = record["guidance"], record["negative"]
    guided = "without guidance" if w == 1 else f"with a guidance of {w:g}"
    away = f", away from “{negative}”" if negative else ""
    return (
        f"Images were drawn by {SAMPLERS[record['sampler']]} in {record['steps']} steps {guided}{away}, each from "
        "noise of its own seed."
    )
