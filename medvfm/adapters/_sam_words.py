"""How a report calls a promptable segmenter, and what it says of its input and its prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

METHODS = {
    "zero_shot": "{model}, without any training (zero-shot),",
    "decoder": "{model}, its mask decoder fine-tuned,",
    "lora": "{model}, adapted with LoRA,",
    "full": "{model}, fine-tuned in full,",
    "promptless": "{model}, with learned prompts of each class,",
}
LABELS = {
    "zero_shot": "{model}, zero-shot",
    "decoder": "{model}, decoder fine-tuned",
    "lora": "LoRA on {model}",
    "full": "{model}, fine-tuned",
    "promptless": "{model}, learned prompts",
}
FRAMES = {  # by the name of the input contract
    "sam": "resized to a longest side of {side} px, normalised by ImageNet's mean and standard deviation, and padded "
    "with zeros to a square (the input of SAM)",
    "medsam": "resized to {side} × {side} px, and scaled from their minimum to their maximum (the input of MedSAM)",
    "sam2": "resized to {side} × {side} px, and normalised by ImageNet's mean and standard deviation (the input of "
    "SAM 2)",
    "medsam2": "resized to {side} × {side} px, and normalised by ImageNet's mean and standard deviation (the input of "
    "MedSAM2)",
    "sam3": "resized to {side} × {side} px, and normalised by a mean and standard deviation of 0.5 (the input of SAM "
    "3)",
    "tiny_resized": "resized to a longest side of {side} px, and scaled from their minimum to their maximum",
    "tiny": "taken at their own size, and scaled from their minimum to their maximum",
}
SOURCES = {
    "file": "Prompts came from a file.",
    "grid": "Prompts were a grid of points over each image; duplicate masks were removed by non-maximum suppression.",
    "adapter": "Prompts were boxes of a detector{weights}.",
}
FROM_SCRATCH = "small promptable segmentation network"


def said(record: Mapping[str, Any]) -> dict[str, Any]:
    """From the record of the adapter and its `method`."""
    scratch, method = record["weights"] == "tiny", str(record["method"])
    title = FROM_SCRATCH if scratch else str(record["weights"])
    head = "{model}, trained from scratch," if scratch and method == "full" else METHODS[method]
    contract = record["contract"]
    longest = contract.get("longest_px")
    kind = "tiny_resized" if contract["contract"] == "tiny" and longest else contract["contract"]
    side = longest if kind in ("sam", "tiny_resized") and longest else contract["side_px"]
    frame = FRAMES[kind].replace("{side}", str(side))
    learned = contract.get("native_px")
    interpolated = (
        [f"Positions, learned at {learned} px, were interpolated to {contract['side_px']} px."] if learned else []
    )
    return {
        "title": title,
        "label": title if scratch else LABELS[method].replace("{model}", title),
        "subject": head.replace("{model}", f"A {title}" if scratch else title),
        "input": [f"Images were {frame}.", *interpolated, *(["Initial weights were random."] if scratch else [])],
        "prompts": _prompts(record),
    }


def _prompts(record: Mapping[str, Any]) -> list[str]:
    if record["oracle"]:
        which = str(record["oracle"]).removeprefix("oracle prompt: ")
        return [
            f"Prompts were derived from the reference masks (oracle prompt: {which}), so all numbers of the model are "
            "those of a user who gives such prompts without error."
        ]
    given, words = record["prompts"] or {}, record.get("prompted_by")
    if words:
        kind = {"mask": "masks", "point": "points", "points": "points"}.get(str(given.get("kind")), "boxes")
        said = words["said"]
        how = [f"For this, {sentence[:1].lower()}{sentence[1:]}" for sentence in said["input"]]
        return [f"Prompts were {kind} of what {words['weights']} found by words.", *said["prompts"], *how]
    source = SOURCES.get(str(given.get("from")))
    weights = (given.get("adapter") or {}).get("weights")
    return [source.replace("{weights}", f" ({weights})" if weights else "")] if source else []
