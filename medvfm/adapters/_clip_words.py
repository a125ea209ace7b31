"""How a report calls a pair of image and text encoders, and what it says of its input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medvfm.adapters._dinov2_words import slice_by_slice, slices_pooled
from medvfm.core.plurals import in_number

SUBJECTS = {  # by method
    "zero_shot": "{model}, asked in words without any training,",
    "contrastive": "{model}, {their} projections trained on pairs of images and texts,",
    "lora": "{model}, adapted with LoRA on pairs of images and texts,",
    "full": "{model}, fine-tuned in full on pairs of images and texts,",
    "locked_image": "{model}, {their} text encoder tuned to images that stay as they are,",
    "locked_text": "{model}, {their} image encoder tuned to texts that stay as they are,",
    "prompt_learning": "{model}, asked with a learned context,",
    "dense": "{model}, its patches compared with words without any training,",
}
LABELS = {
    "zero_shot": "zero-shot {model}",
    "contrastive": "{model}, projections trained",
    "lora": "LoRA on {model}",
    "full": "{model}, fine-tuned",
    "locked_image": "{model}, text encoder tuned",
    "locked_text": "{model}, image encoder tuned",
    "prompt_learning": "learned prompts of {model}",
    "dense": "patches of {model} and words",
}
NAMES = {
    "tiny": "A small pair of encoders from scratch",
    "embedded": "An ImageNet encoder and a sentence encoder",
}


def said(record: Mapping[str, Any]) -> dict[str, Any]:
    """From the record of the adapter and its `method` and `volume`."""
    model = NAMES.get(str(record["weights"]), str(record["weights"]))
    method, texts = str(record["method"]), record["texts"]
    dense, their = method == "dense", "their" if record["weights"] == "embedded" else "its"
    return {
        "title": model,
        "label": LABELS[method].replace("{model}", model[:1].lower() + model[1:] if model in NAMES.values() else model),
        "subject": SUBJECTS[method].replace("{model}", model).replace("{their}", their),
        "input": [*([_maps(record)] if dense else []), _texts(texts)],
        "prompts": [_asked(name, said) for name, said in record["prompts"].items()] if dense else [],
        "volumes": [slice_by_slice(record) if dense else slices_pooled(record["volume"])],
    }


def _maps(record: Mapping[str, Any]) -> str:
    height, width = record["contract"]["size_px"]
    cut = record["threshold"]
    settled = (
        "the most similar of background and structures was taken"
        if cut is None
        else f"a structure was taken where its share against its absence exceeded {cut:g}"
    )
    return (
        f"Slices were fitted into {height} × {width} px with borders, so that nothing was cut away; the embedding of "
        f"each patch was compared with those of the words, shares were enlarged bilinearly, and {settled}."
    )


def _asked(name: str, said: Mapping[str, Any]) -> str:
    """`Words for polyp: "polyp", "a polyp". Words against it: "no polyp".`"""
    listed = {key: ", ".join(f'"{words.rstrip(".")}"' for words in said[key]) for key in ("positive", "negative")}
    against = f" Words against it: {listed['negative']}." if listed["negative"] else ""
    return f"Words for {name.replace('_', ' ')}: {listed['positive']}.{against}"


def _texts(texts: Mapping[str, Any]) -> str:
    read, cut = texts["read"], texts["cut"]
    by = "sentence by sentence" if texts["by"] == "sentence" else "as a whole"
    lost = f"; {cut} of {read} {in_number(read, 'text')} {'was' if cut == 1 else 'were'} longer and cut" if cut else ""
    return f"Texts were read {by}, up to {texts['limit']} tokens{lost}."
