"""What is asked of intervals outside a recipe, by the same checks as `evaluate.confidence` of a recipe."""

from __future__ import annotations

from medvfm.core.errors import RecipeError
from medvfm.core.recipe_sections import Confidence
from medvfm.core.yaml_source import YamlSource, validated


def confidence(
    given: Confidence | None = None,
    *,
    level: float | None = None,
    resamples: int | None = None,
    cluster: str | None = None,
    method: str | None = None,
    where: str = "intervals",
) -> Confidence:
    """`given`, or the defaults of a recipe, with what else is not None; a value that a recipe refuses is refused.

    where  what messages call the place that the values come from
    """
    base = (given or Confidence()).model_dump()
    asked = {"level": level, "resamples": resamples, "cluster": cluster, "method": method}
    changed = base | {key: value for key, value in asked.items() if value is not None}
    return validated(YamlSource(changed, where, {}), Confidence, RecipeError)
