"""How a report calls an encoder that was adapted, and what it says of its input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medvfm.core.plurals import in_number

CASES = {  # by method, of classification
    "linear_probe": "A linear probe on frozen features of {model}",
    "knn": "Nearest neighbours among frozen features of {model}",
    "lora": "{model}, adapted with LoRA,",
    "last_blocks": "{model}, its last blocks fine-tuned,",
    "full": "{model}, fine-tuned in full,",
}
PIXELS = {  # by method, of segmentation
    "dense_head": "A decoder on frozen features of {model}",
    "lora": "A decoder on {model}, the encoder adapted with LoRA,",
    "last_blocks": "A decoder on {model}, the encoder's last blocks fine-tuned,",
    "full": "A decoder on {model}, the encoder fine-tuned in full,",
}
LABELS = {  # by method: weights and method on one line
    "linear_probe": "linear probe on {model}",
    "knn": "nearest neighbours on {model}",
    "dense_head": "decoder on {model}",
    "lora": "LoRA on {model}",
    "last_blocks": "last blocks of {model}, fine-tuned",
    "full": "{model}, fine-tuned",
}
DECODERS = {
    "linear": "A linear decoder on the last features gave each pixel its structure",
    "conv": "A convolutional decoder on a pyramid of the encoder's features gave each pixel its structure",
}
PLANES = {"native": "in the plane of best resolution"}
FROM_SCRATCH = "a small encoder with random weights"


def said(record: Mapping[str, Any]) -> dict[str, Any]:
    """From the record of the adapter and its `method`, with `volume` (axis, count, span, pool) for classification."""
    weights, method = str(record["weights"]), str(record["method"])
    model = FROM_SCRATCH if weights == "tiny" else weights.removeprefix("embedded:")
    dense = "decoder" in record
    subject = (PIXELS if dense else CASES)[method].replace("{model}", model)
    return {
        "title": model,
        "label": LABELS[method].replace("{model}", model),
        "subject": subject[:1].upper() + subject[1:] if model == FROM_SCRATCH else subject,
        "input": [f"{DECODERS[record['decoder']]}, and masks were put back on the image's grid."] if dense else [],
        "prompts": [],
        "volumes": [slice_by_slice(record) if dense else slices_pooled(record["volume"])],
    }


def slice_by_slice(record: Mapping[str, Any]) -> str:
    plane = PLANES.get(record["slices"], f"{record['slices']} plane")
    reach = record["neighbours"]
    beside = f", with {reach} {in_number(reach, 'neighbour')} on either side as channels" if reach else ""
    return f"Volumes were read slice by slice ({plane}){beside}."


def slices_pooled(volume: Mapping[str, Any]) -> str:
    low, high = volume["span"]
    pooled = {"mean": "averaged", "max": "pooled by their maximum"}.get(volume["pool"], f"pooled by {volume['pool']}")
    return (
        f"From each volume {volume['count']} {volume['axis'] or 'axial'} slices between {100 * low:.4g}% and "
        f"{100 * high:.4g}% of its extent were encoded, and their features {pooled}."
    )
