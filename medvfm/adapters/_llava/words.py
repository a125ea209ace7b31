"""How a report calls a model that talks about images, and what it says of its input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SUBJECTS = {  # by method
    "zero_shot": "{model}, asked without any training,",
    "align": "{model}, the projector between them trained on captions,",
    "instruct": "{model}, the projector and {how} trained on questions and answers,",
}
LABELS = {
    "zero_shot": "zero-shot {model}",
    "align": "{model}, projector trained",
    "instruct": "{model}, tuned on questions",
}
HOW = {
    "lora": "LoRA in the language model",
    "full": "the language model",
    "none": "nothing else",
    None: "the language model",
}
NAMES = {
    "tiny and tiny": "A small encoder and a small language model from scratch",
    "embedded:efficientnet_lite0 and embedded:SmolLM2-135M-Instruct": "An ImageNet encoder and SmolLM2-135M-Instruct",
}


def said(record: Mapping[str, Any]) -> dict[str, Any]:
    """From the record of the adapter and its `method` and `volume`."""
    model = NAMES.get(str(record["weights"]), str(record["weights"]))
    how = HOW[record["language"]["tune"]]
    blind = "asked without its images" if record["blind"] else ""
    return {
        "title": model,
        "label": blind or LABELS[record["method"]].replace("{model}", model[:1].lower() + model[1:]),
        "subject": SUBJECTS[record["method"]].replace("{model}", model).replace("{how}", how),
        "input": [_asked(record["chat"]), _answered(record["decoding"]), *_bits(record["language"])],
        "prompts": [],
        "volumes": [_slices(record["volume"])],
    }


def _asked(chat: Mapping[str, Any]) -> str:
    where = "after" if chat["images"] == "last" else "before"
    if chat["template"] == "plain":
        return f"Images stood {where} the question, and the answer after a line break."
    return f"Images stood {where} the question, in the chat template of the language model."


def _answered(decoding: Mapping[str, Any]) -> str:
    return (
        f"Answers were decoded greedily, up to {decoding['most_tokens']} tokens or the first of "
        f"{', '.join(decoding['stops'])}."
    )


def _bits(language: Mapping[str, Any]) -> list[str]:
    if language.get("bits") is None:
        return []
    return [f"The language model's frozen weights were held in {language['bits']} bits (NF4)."]


def _slices(volume: Mapping[str, Any]) -> str:
    low, high = volume["span"]
    return (
        f"From each volume {volume['count']} {volume['axis'] or 'axial'} slices between {100 * low:.4g}% and "
        f"{100 * high:.4g}% of its extent were encoded, and all of them shown."
    )
