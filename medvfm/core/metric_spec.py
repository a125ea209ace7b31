"""Metrics as recipes name them: `sensitivity@specificity=0.9`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from medvfm.core.errors import RecipeError, nearest
from medvfm.core.protocols import Metric


@dataclass(frozen=True)
class MetricSpec:
    """A metric with the value of its parameter."""

    name: str
    metric: Metric
    value: float | None

    @property
    def arguments(self) -> dict[str, float]:
        return {} if self.metric.parameter is None or self.value is None else {self.metric.parameter: self.value}


def parse(name: str, known: Mapping[str, Metric], where: str | None = None) -> MetricSpec:
    """Find a metric by the name that a recipe gives; refuses by naming the choices."""
    base, at, rest = name.partition("@")
    parameter, _, text = rest.partition("=")
    found = next(
        (m for n, m in known.items() if n in (base, f"{base}@{parameter}") and bool(m.parameter) == bool(at)), None
    )
    if found is None:
        raise RecipeError(f"no metric {name!r}; {nearest(name, map(shown, known.items()))}", where=where)
    if not found.parameter:
        return MetricSpec(name, found, None)
    if parameter != found.parameter:
        raise RecipeError(f"{base} takes {found.parameter}, as in {base}@{found.parameter}=0.9", where=where)
    try:
        value = float(text)
    except ValueError:
        raise RecipeError(f"{text!r} in {name!r} is no number", where=where) from None
    if parameter in ("sensitivity", "specificity", "iou") and not 0 < value <= 1:
        raise RecipeError(f"{parameter} lies between 0 and 1, and {name!r} says {text}", where=where)
    if parameter == "tolerance" and not 0 <= value < float("inf"):
        raise RecipeError(f"the tolerance is in mm, from 0 on, and {name!r} says {text}", where=where)
    return MetricSpec(name, found, value)


def shown(entry: tuple[str, Metric]) -> str:
    """How a recipe writes a row of a table of metrics."""
    name, metric = entry
    return f"{name.partition('@')[0]}@{metric.parameter}=..." if metric.parameter else name
