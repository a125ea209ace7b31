"""How a report calls a pair of image and text encoders, and what it says of its input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medvfm.adapters._dinov2_words import slices_pooled
from medvfm.core.plurals import in_number

SUBJECTS = {  # by method
    "zero_shot": "{model}, asked in words without any training,",
    "contrastive": "{model}, {their} projections trained on pairs of images and texts,",
    "lora": "{model}, adapted with LoRA on pairs of images and texts,",
    "full": "{model}, fine-tuned in full on pairs of images and texts,",
    "locked_image": "{model}, {their} text encoder tuned to images that stay as they are,",
    "locked_text": "{model}, {their} image encoder tuned to texts that stay as they are,",
    "prompt_learning": "{model}, asked with a learned context,",
}
LABELS = {
    "zero_shot": "zero-shot {model}",
    "contrastive": "{model}, projections trained",
    "lora": "LoRA on {model}",
    "full": "{model}, fine-tuned",
    "locked_image": "{model}, text encoder tuned",
    "locked_text": "{model}, image encoder tuned",
    "prompt_learning": "learned prompts of {model}",
}
NAMES = {
    "tiny": "A small pair of encoders from scratch",
    "embedded": "An ImageNet encoder and a sentence encoder",
}


def said(record: Mapping[str, Any]) -> dict[str, Any]:
    """From the record of the adapter and its `method` and `volume`."""
    model = NAMES.get(str(record["weights"]), str(record["weights"]))
    method, texts = str(record["method"]), record["texts"]
    their = "their" if record["weights"] == "embedded" else "its"
    return {
        "title": model,
        "label": LABELS[method].replace("{model}", model[:1].lower() + model[1:] if model in NAMES.values() else model),
        "subject": SUBJECTS[method].replace("{model}", model).replace("{their}", their),
        "input": [_texts(texts)],
        "prompts": [],
        "volumes": [slices_pooled(record["volume"])],
    }


def _texts(texts: Mapping[str, Any]) -> str:
    read, cut = texts["read"], texts["cut"]
    by = "sentence by sentence" if texts["by"] == "sentence" else "as a whole"
    lost = f"; {cut} of {read} {in_number(read, 'text')} {'was' if cut == 1 else 'were'} longer and cut" if cut else ""
    return f"Texts were read {by}, up to {texts['limit']} tokens{lost}."
