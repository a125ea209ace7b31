"""What a run needs, resolved and checked; the engine looks no name up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from medvfm.core.data_card import DataCard
from medvfm.core.metric_spec import MetricSpec
from medvfm.core.protocols import Method
from medvfm.core.recipe import Recipe


@dataclass(frozen=True)
class Plan:
    """question, judge and learner belong to one task: its file in `tasks/`, who makes its rows, who is fitted.

    learner makes the adapter, weights loaded; baselines do the same, by the name of their rows.
    """

    recipe: Recipe
    card: DataCard
    question: Any
    judge: Any
    select: MetricSpec
    method: Method
    method_name: str
    learner: Callable[[], Any]
    baselines: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
