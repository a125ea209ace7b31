"""Paths in the options of a task or an adapter: relative to the recipe, as other paths in it are."""

from __future__ import annotations

from collections.abc import Iterator

from medvfm import lookup
from medvfm.core.options import Located, paths_of
from medvfm.core.recipe import Recipe
from medvfm.core.recipe_sections import AdapterSettings
from medvfm.core.yaml_source import Keys


def located(recipe: Recipe) -> Recipe:
    """The recipe with every option that its owner declares as a path found from any folder."""
    places: dict[Keys, Located] = {}
    for room, name, keys in _owners(recipe):
        kind = getattr(lookup.module(room, name, name), "Options", None) if name in lookup.modules(room) else None
        if kind is not None:
            places |= {(*keys, "options", field): mark for field, mark in paths_of(kind).items()}
    return recipe.with_located(places)


def _owners(recipe: Recipe) -> Iterator[tuple[str, str, Keys]]:
    """Room, name and keys of whatever has options; names that are not known are refused later, in their place."""
    for number, task in enumerate(recipe.tasks):
        yield "tasks", task.name, ("task", number) if len(recipe.tasks) > 1 else ("task",)
    yield from _adapters(recipe.adapter, ("adapter",))
    for number, baseline in enumerate(recipe.baselines):
        yield from _adapters(baseline, ("baselines", number))


def _adapters(settings: AdapterSettings, keys: Keys) -> Iterator[tuple[str, str, Keys]]:
    yield "adapters", settings.name, keys
    if settings.prompts is not None and settings.prompts.adapter is not None:
        yield from _adapters(settings.prompts.adapter, (*keys, "prompts", "adapter"))
