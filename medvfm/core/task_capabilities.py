"""What a task may have besides core.protocols.Task: shortcuts to audit, answers to doubt, images to make or restore.

The engine looks for these by `isinstance`; a task has them by having the methods. `core.capabilities` has those of
adapters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from medvfm.core.case import Case
from medvfm.core.data_card import DataCard
from medvfm.core.degradation import Degradation
from medvfm.core.item import Item
from medvfm.core.protocols import Answer, Predictions, Record, Task, TrueCases, TruthReader
from medvfm.core.recipe_sections import Prepare


@runtime_checkable
class QuestioningTask(Protocol):
    """What a task has besides whose cases are asked in words: `medvfm predict --question`."""

    def ask(self, case: Case, question: str | None) -> Case:
        """The case with its question: the one that is given, or else its own; raises MedvfmError where it needs one."""
        ...


@runtime_checkable
class ViewingTask(Protocol):
    """What a task has besides that looks at the same answers in further ways, each a group of rows."""

    def views(self, predictions: Any) -> Mapping[str, Predictions]:
        """Group, such as `within plane`, to what is judged there."""
        ...


@dataclass(frozen=True, eq=False)
class SelfChecked:
    """What a task could say of its answers without their truth, and how that turned out.

    test       the predictions, with what is expected of each case beside them
    estimands  (name of a rival, or None for the check itself) and `statistics.estimand.Estimand` of each number
    record     how it was fitted, for run.json
    """

    test: Any
    estimands: Sequence[tuple[str | None, Sequence[Any]]]
    record: Record


@runtime_checkable
class SelfCheckingTask(Protocol):
    """What a task has besides that can say where there is no truth how good an answer is: the model is asked again
    about the mirrored image, and what agreement means is fitted on validation cases."""

    def mirrored(self, item: Item) -> Item:
        """The item with its image mirrored."""
        ...

    def signs(self, answer: Answer, again: Answer, item: Item) -> Mapping[str, np.ndarray]:
        """Sign of quality, such as `agreement`, to (T,) numbers; `again` is the answer to the mirrored item."""
        ...

    def self_checked(
        self,
        val: Any | None,
        test: Any,
        signs_val: Mapping[str, np.ndarray],
        signs_test: Mapping[str, np.ndarray],
    ) -> SelfChecked:
        """signs: (n, T) of the cases of each split, in the order of the predictions."""
        ...

    def doubted(
        self, rows: Sequence[Record], signs: Sequence[Mapping[str, np.ndarray]], fitted: Sequence[Record]
    ) -> list[Record]:
        """The rows of a new image with what is expected of each answer. signs: of each fold; fitted: as `self_checked`
        recorded it."""
        ...


class AuditReader(Protocol):
    """Reads of one case, in a loader worker, what probes look at: an array for each of `parts`."""

    parts: ClassVar[tuple[str, ...]]

    def key(self) -> str: ...

    def files(self, case: Case) -> Sequence[Path]: ...

    def __call__(self, case: Case) -> Mapping[str, np.ndarray]: ...


@runtime_checkable
class AuditedTask(Protocol):
    """What a task has besides whose answers can be had by a shortcut: probes on what should not carry the answer."""

    audit_metric: ClassVar[str]  # by which a probe is compared with the model

    def audit_reader(self, prepare: Prepare, card: DataCard) -> AuditReader: ...

    def audit(
        self, train: TrueCases, test: TrueCases, read: Mapping[str, Mapping[str, np.ndarray]]
    ) -> Iterable[tuple[str, str, Predictions]]:
        """Name of each probe, what it looks at, and its predictions of the test cases. read: by case_id."""
        ...


@runtime_checkable
class MakingTask(Protocol):
    """What a task has besides whose answers are images, which are judged as a set beside the training images.

    hidden_arrays  names of prepared arrays that are the truth: an item that is answered comes without them
    never_selects  why none of its metrics may choose between weights: the training loss does
    """

    @property
    def hidden_arrays(self) -> frozenset[str]: ...

    @property
    def never_selects(self) -> str: ...

    def learns_from(self, case: Case) -> bool:
        """Whether a training case may train the model: none of those that show what it shall put together itself."""
        ...

    def beside(self, train: TrueCases, device: str) -> Task:
        """The task with the training images that answers are judged beside."""
        ...


@runtime_checkable
class WeighingTask(Protocol):
    """What a task has besides that judges answers by networks of its own."""

    def load_judges(self) -> None:
        """Load them once, so that weights that are not here or damaged are refused before anything is trained; raises
        MedvfmError."""
        ...


@runtime_checkable
class VerifiedTask(Protocol):
    """What a task has besides that asks a finished run whose images are."""

    @property
    def verifying_run(self) -> str | None:
        """The run's folder; None where none is named."""
        ...

    def verified_by(self, load: Callable[[], Any]) -> Task:
        """The task with a way to load that run's encoder."""
        ...


@runtime_checkable
class RestoringTask(Protocol):
    """What a task has besides whose cases are degraded images: an adapter sees these, and the true ones in training."""

    @property
    def degradation(self) -> Degradation: ...

    def handed_in(self, arrays: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Prepared arrays of an image that a user hands in, which is degraded as it is."""
        ...


@runtime_checkable
class OutlinedTask(Protocol):
    """What a task has besides some of whose classes are outlined in masks, which adapters may read of a case."""

    @property
    def outlines(self) -> TruthReader | None:
        """Reads them as (i, j, k, T) of bool on the grid of the image; None where the card outlines none of them."""
        ...


@runtime_checkable
class ArrayPredictions(Protocol):
    """What predictions have besides whose numbers are computed from arrays that fit no table."""

    def arrays(self) -> Mapping[str, np.ndarray]:
        """Name to array, as features.safetensors of a run holds them."""
        ...
