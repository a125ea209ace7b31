"""What an adapter may have besides core.protocols.Adapter: features, frozen towers, parts, further tasks.

The engine looks for these by `isinstance`; an adapter has them by having the methods. Those of tasks are in
`core.task_capabilities`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from medvfm.core.case import Case
from medvfm.core.item import Item
from medvfm.core.made_images import MadeImages
from medvfm.core.protocols import (
    Adapter,
    Answers,
    Batch,
    Preparer,
    Record,
    Task,
)

if TYPE_CHECKING:  # core imports no torch when it runs
    import torch

Shown = Callable[[str], str]  # a case_id to what it is called where others may see it
Choose = Callable[[Answers], float]  # answers to the validation cases, to the value that is selected by


@dataclass(frozen=True, eq=False)
class Embedded:
    """Features (n, ...) float32 of cases, computed once by a frozen model."""

    values: np.ndarray
    cases: Sequence[Case]

    def rows(self, rows: np.ndarray) -> Embedded:
        return Embedded(self.values[rows], [self.cases[int(r)] for r in rows])


@runtime_checkable
class FeatureAdapter(Protocol):
    """What an adapter has besides, for methods that fit a head on features."""

    def embed(self, batch: Batch) -> torch.Tensor:
        """(B, ...) features of the frozen model."""
        ...

    def features_key(self) -> str:
        """Names the weights, the input contract and the pooling that features depend on."""
        ...

    def fit_features(self, train: Embedded, val: Embedded, choose: Choose | None, seed: int) -> Record:
        """Fit the head; `choose` is None without validation cases. Returns a record of what was chosen."""
        ...

    def answer_features(self, features: Embedded) -> Answers:
        """An answer to each row of features."""
        ...


@runtime_checkable
class CaseFittingAdapter(Protocol):
    """What an adapter has besides that counts over training cases, without gradients: location, prevalence."""

    def fit_items(self, items: Iterable[Item]) -> Record: ...


@runtime_checkable
class TowerAdapter(Protocol):
    """What an adapter has besides, for methods with `frozen` towers.

    A tower is keyed by what it reads: the text that `tower_text` gives, or the files of the case where that is None.
    """

    @property
    def preparer(self) -> Preparer: ...

    def embed_tower(self, tower: str, items: Sequence[Item]) -> Mapping[str, torch.Tensor]:
        """Named outputs (B, ...) of one frozen tower."""
        ...

    def tower_key(self, tower: str) -> str: ...

    def tower_text(self, tower: str, case: Case) -> str | None: ...


@runtime_checkable
class FeatureSharingAdapter(Protocol):
    """What an adapter has besides whose tower gives what a method on features stores, so that nothing is encoded
    twice."""

    def tower_features(self, tower: str) -> tuple[str, str] | None:
        """`features_key` of that method, and which of the tower's outputs it stores; None where they differ."""
        ...


@runtime_checkable
class FeatureGivingAdapter(Protocol):
    """What an adapter has besides whose tower gives, among more, what a method on features stores: a probe on the same
    encoder then encodes nothing again."""

    def tower_gives(self, tower: str) -> tuple[str, str] | None:
        """`features_key` of that method, and which of the tower's outputs it stores."""
        ...


@runtime_checkable
class GroupedAdapter(Protocol):
    """What an adapter has besides whose parts may learn at different rates (`train.rates`)."""

    def parameter_groups(self) -> Mapping[str, Iterable[torch.nn.Parameter]]: ...


@runtime_checkable
class NeighbourlyAdapter(Protocol):
    """What an adapter has besides for which it matters which cases share a batch."""

    def neighbours(self, case: Case) -> tuple[str, int] | None:
        """Cases of one name stand one after the other ("": nobody's), and those of like length together; None where
        it does not matter."""
        ...


@runtime_checkable
class SteppingAdapter(Protocol):
    """What an adapter has besides that does something after each step of the optimiser (teachers, queues)."""

    def after_step(self) -> None: ...


@runtime_checkable
class PromptedAdapter(Protocol):
    """What an adapter has besides whose prompts come from outside, case by case."""

    def check_prompts(self, asked: Sequence[Case], known: Sequence[Case], shown: Shown = str) -> list[str]:
        """Sentences about prompts that name no case, and cases that have none; raises DataError where no case has any.

        asked  the cases that are answered; known: all cases, those for training too
        shown  what a case_id is called in the sentences
        """
        ...

    def prompt_remarks(self, shown: Shown = str) -> list[str]:
        """Sentences about the prompts of the cases that have been answered."""
        ...


@runtime_checkable
class SettlingAdapter(Protocol):
    """What an adapter has besides that chooses from the data what its options leave open (`module` may be remade)."""

    def settle(self, item: Item) -> str:
        """From the first case that was read; in words what was chosen, or nothing."""
        ...


@runtime_checkable
class ManyTaskAdapter(Protocol):
    """What an adapter has besides that answers several tasks with the same weights."""

    def answering(self, task: Task) -> Adapter:
        """An adapter with the same weights that answers another task."""
        ...


@runtime_checkable
class RedrawnAdapter(Protocol):
    """What an adapter has besides some of whose weights begin at random, for baselines that ask how much luck does."""

    def redraw(self, rng: np.random.Generator) -> None:
        """Draw those weights anew, in place."""
        ...


@runtime_checkable
class WordedAdapter(Protocol):
    """What an adapter has besides that is asked in words: how much the choice of words does is shown."""

    def wordings(self) -> list[str]:
        """Names of single wordings, `wording=...`, which `answer` takes as its `variant`."""
        ...


@runtime_checkable
class SearchingAdapter(Protocol):
    """What an adapter has besides that puts images and texts into one space, where near is alike."""

    def image_vectors(self, items: Sequence[Item]) -> np.ndarray:
        """(n, D) unit vectors of the images of cases."""
        ...

    def text_vectors(self, texts: Sequence[str]) -> np.ndarray:
        """(n, D) unit vectors of texts."""
        ...


@runtime_checkable
class SureAdapter(Protocol):
    """What an adapter has besides that says how good it takes its own mask to be."""

    def answer_surely(self, item: Item) -> tuple[np.ndarray, np.ndarray]:
        """A mask, and (T,) the Dice that its probabilities expect of it, NaN of what was not drawn."""
        ...


@runtime_checkable
class StartingAdapter(Protocol):
    """What an adapter has besides parts of which are fitted in closed form on training cases, before it is trained."""

    def start_from(self, items: Iterable[Item]) -> None: ...


@runtime_checkable
class TowerStartingAdapter(Protocol):
    """What a TowerAdapter has besides parts of which are fitted in closed form on what its frozen towers give."""

    @property
    def starts_from_towers(self) -> bool:
        """Whether its settings ask for that."""
        ...

    def start_from_towers(self, items: Iterable[Item]) -> None:
        """items: the training cases, with the outputs of the towers that the first stage leaves frozen."""
        ...


@runtime_checkable
class MakingAdapter(Protocol):
    """What an adapter has besides that makes images from conditions alone."""

    def make(
        self, items: Sequence[Item], seeds: Sequence[Sequence[int]], strength: float | None = None
    ) -> list[MadeImages]:
        """An image for each seed of each item; a condition and a seed give the same image in any batch.

        strength  begin with the items' own `pixels`, to which this share of the noise is added; None: with noise alone
        """
        ...

    def asked(self, prompt: str) -> Case:
        """A case that asks for what the words say; raises RecipeError for words that the model does not know."""
        ...


@runtime_checkable
class EncodingAdapter(Protocol):
    """What an adapter has besides that gives features of images as people hand them over."""

    def encode(self, images: Any, *, progress: bool | None = None) -> np.ndarray:
        """(n, D)."""
        ...
