"""Pictures with a sentence for each thing that is seen in them, for models of images and texts."""

from __future__ import annotations

from pathlib import Path

from tests.samples.studies import PictureStudy

DISC, NO_DISC = "A bright disc is seen.", "The field is empty."
BAR, NO_BAR = "There is a dark bar.", "No bar."
QUICK = {"epochs": 2, "batch_size": 8, "learning_rate": 3e-3}
PROMPTS = {"disc": {"positive": [DISC], "negative": [NO_DISC]}}


class PairStudy(PictureStudy):
    """48 pictures; 24 train, 12 validate, 12 test. `recipe(**overrides)` asks the adapter clip."""

    def __init__(self, folder: Path, cases: int = 48) -> None:
        super().__init__(folder, cases)
        for row in self.rows:
            row["text"] = f"{DISC if row['disc'] else NO_DISC} {BAR if row['bar'] else NO_BAR}"

    def recipe(self, method: str | None = "contrastive", weights: str = "tiny", **changes):
        """method None: the changes name stages."""
        own = changes.pop("adapter", {})
        adapter = {"name": "clip", "weights": weights, "method": method, "options": {"width": 16}} | own
        trains = method not in (None, "zero_shot", "linear_probe", "knn")
        plain = {
            "prepare": {"size": 32},
            "adapter": adapter,
            "evaluate": {"metrics": ["auroc", "brier"], "confidence": {"resamples": 100}},
            **({"train": QUICK} if trains else {}),
        }
        return super().recipe(**(plain | changes))
