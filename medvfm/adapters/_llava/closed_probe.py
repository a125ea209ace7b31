"""`probe`: what the vision encoder knows of closed questions, read by logistic regression and put into words."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medvfm.adapters import dinov2
from medvfm.core.capabilities import Choose, Embedded
from medvfm.core.case import Case
from medvfm.core.item import Item
from medvfm.core.protocols import Augment, Batch, Record
from medvfm.core.recipe_sections import Prepare
from medvfm.models.encoders.base import Encoder
from medvfm.models.inputs.slice_stacks import SliceStackPreparer, as_batch
from medvfm.nn import probe

LEAST = 16  # training answers from which a question has a probe of its own
MOST_ANSWERS = 8  # of a question with a probe: more is no closed question
_YES_NO = {"yes", "no"}


def features_key(vision: Encoder, preparer: SliceStackPreparer) -> str:
    """Names what the mean features of a case depend on."""
    return f"slices-{dinov2.features_key(vision, preparer, 'mean')}"


class ClosedProbe:
    """A linear probe on the mean features of all patches and slices, one for each question that many images are asked;
    other questions whose answer is yes or no share one. What has no probe gets the most common training answer.

    See core.protocols.Adapter and core.capabilities.FeatureAdapter.
    """

    oracle: str | None = None
    probabilities = True
    answers_at_once = 32

    def __init__(
        self,
        vision: Encoder,
        prepare: Prepare,
        *,
        windows: Mapping[str, Any],
        read: Mapping[Any, Any],
        apart: bool = False,
    ) -> None:
        self.module: nn.Module = vision
        self._vision = vision
        self.preparer = SliceStackPreparer(vision.contract, prepare, windows, read, apart=apart)
        self._probes: dict[tuple[str, ...], tuple[probe.Probe, list[str]]] = {}
        self._common = ""
        vision.requires_grad_(False)

    def example(self, item: Item, rng: np.random.Generator, augment: Augment) -> Item:
        return item

    def collate(self, examples: Sequence[Item]) -> Batch:
        return as_batch([item.pixels for item in examples])

    def loss(self, batch: Batch) -> Tensor:
        raise AssertionError("a probe is not trained by the loop")

    def embed(self, batch: Batch) -> Tensor:
        """(B, D): the mean over slices of the mean over patches."""
        with torch.inference_mode():
            self._vision.eval()
            pixels = self._vision.contract.normalise(batch["pictures"].to(next(self._vision.parameters()).device))
            vectors = torch.cat([self._vision(part).pooled for part in pixels.split(dinov2.CHUNK)])
            return torch.stack([each.mean(0) for each in vectors.split(batch["counts"].tolist())])

    def features_key(self) -> str:
        return features_key(self._vision, self.preparer)

    def fit_features(self, train: Embedded, val: Embedded, choose: Choose | None, seed: int) -> Record:
        """The strength of each probe is that whose accuracy on validation cases is highest."""
        self._common = _most_common([_answer(case) for case in train.cases])
        groups = _groups(train.cases)
        record: Record = {}
        for name, rows in groups.items():
            answers = [_answer(train.cases[r]) for r in rows]
            options = sorted(set(answers))
            held = [r for r, case in enumerate(val.cases) if _group(case, groups) == name and _answer(case) in options]
            if len(options) < 2:
                continue
            told = (torch.from_numpy(train.values[rows]), _one_hot(answers, options))
            kept = [_answer(val.cases[r]) for r in held]
            judged = (torch.from_numpy(val.values[held]), _one_hot(kept, options))
            fitted, said = probe.sweep(
                told, judged, _accuracy([options.index(a) for a in kept]) if held else None, kind="multi_class"
            )
            self._probes[name] = (fitted, options)
            record[" ".join(name)] = {"cases": len(rows), "C": said["C"]}
        return {"probes": record}

    def answer_features(self, features: Embedded) -> list[str]:
        known = dict.fromkeys(self._probes)
        found = []
        for values, case in zip(features.values, features.cases, strict=True):
            name = _group(case, known)
            if name is None:
                found.append(self._common)
                continue
            fitted, options = self._probes[name]
            logits = fitted.cpu()(torch.from_numpy(np.array(values))[None].float())
            found.append(options[int(logits.argmax())])
        return found

    def answer(self, items: Sequence[Item], variant: str | None = None) -> list[str]:
        values = self.embed(self.collate(items)).float().cpu().numpy()
        return self.answer_features(Embedded(values, [item.case for item in items]))

    def variants(self) -> list[str]:
        return []

    def start_stage(self, method: str, options: Mapping[str, Any]) -> None:
        raise AssertionError("a probe has no stages")

    def save(self, folder: Path) -> None:
        """Nothing of it is used again."""

    def load(self, folder: Path) -> None:
        """Nothing of it is used again."""

    def record(self) -> Record:
        return {"weights": self._vision.name, "sha256": self._vision.weights_record["sha256"]}


def _question(case: Case) -> tuple[str, ...]:
    return ("asked", " ".join((case.question or "").lower().split()))


def _answer(case: Case) -> str:
    return (case.answer or case.text or "").strip().lower()


def _groups(cases: Sequence[Case]) -> dict[tuple[str, ...], list[int]]:
    """Rows of each question that has a probe of its own, and of the others whose answer is yes or no."""
    by_question: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for row, case in enumerate(cases):
        by_question[_question(case)].append(row)
    found: dict[tuple[str, ...], list[int]] = {}
    rest: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for name, rows in by_question.items():
        if len(rows) >= LEAST and 2 <= len({_answer(cases[r]) for r in rows}) <= MOST_ANSWERS:
            found[name] = rows
        else:
            for row in rows:
                if _answer(cases[row]) in _YES_NO:
                    rest[_type(cases[row])].append(row)
    return found | {name: rows for name, rows in rest.items() if len(rows) >= LEAST}


def _type(case: Case) -> tuple[str, ...]:
    return ("type", " ".join((case.question_type or "").lower().split()))


def _group(case: Case, known: Mapping[tuple[str, ...], object]) -> tuple[str, ...] | None:
    return next((name for name in (_question(case), _type(case)) if name in known), None)


def _accuracy(places: Sequence[int]) -> Callable[[np.ndarray], float]:
    """From scores (n, options) to the share whose highest is in the right place."""
    right = np.array(places, dtype=int)
    return lambda scores: float((scores.argmax(1) == right).mean())


def _one_hot(answers: Sequence[str], options: Sequence[str]) -> Tensor:
    return torch.tensor([[float(a == o) for o in options] for a in answers]).reshape(len(answers), len(options))


def _most_common(answers: Sequence[str]) -> str:
    counts = Counter(answers)
    return min(counts, key=lambda a: (-counts[a], a)) if counts else ""
