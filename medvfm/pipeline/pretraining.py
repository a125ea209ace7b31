"""Whether weights saw the images of a data card in pretraining, as the catalogue of models has it."""

from __future__ import annotations

from medvfm.core.data_card import DataCard
from medvfm.core.protocols import Record
from medvfm.models import catalogue

RANDOM = ("scratch", "tiny")  # weights that saw nothing


def seen(weights: str | None, card: DataCard) -> Record | None:
    """What run.json holds as `model.pretraining`; None for random weights, and for images that medvfm generates.

    Returns weights, card, saw (yes, no or unknown) and `said`, a sentence for a reader. Weights that are not in the
    catalogue, such as a folder, are unknown.
    """
    if weights is None or weights in RANDOM or card.generator is not None:
        return None
    model = catalogue.models().get(weights) or catalogue.of_hub(weights)
    saw = "unknown" if model is None else model.saw_card(card.name)
    return {"weights": weights, "card": card.name, "saw": saw, "said": _said(model, saw, card)}


def _said(model: catalogue.CatalogueModel | None, saw: str, card: DataCard) -> str:
    if model is None:
        return f"The weights are not in the catalogue of models: whether they saw images of {card.title} is unknown."
    if saw == "yes":
        return (
            f"{model.name} saw images of {card.title} in pretraining: its test images may be known to the model, and "
            "the numbers too good."
        )
    if saw == "unknown":
        return f"Whether {model.name} saw images of {card.title} in pretraining is unknown; it saw {model.saw}."
    if card.name in model.saw_cards:
        return f"{model.name} did not see {card.title} in pretraining; it saw {model.saw}."
    return f"{model.name} saw no medical images in pretraining, as far as its makers say; it saw {model.saw}."
