"""A sweep: from its recipe to the models that it compares, and to its run directory."""

from __future__ import annotations

import json
from itertools import product

from medvfm import lookup
from medvfm.core import recipe as recipes
from medvfm.core import yaml_source
from medvfm.core.errors import RecipeError
from medvfm.core.recipe import Recipe
from medvfm.core.recipe_sections import Scalar
from medvfm.core.task_capabilities import MakingTask
from medvfm.engine.plan import Plan
from medvfm.engine.sweep import SweptModel
from medvfm.pipeline import planning, run_cost

SECTIONS = ("adapter", "train", "prepare")  # what models may differ in: cases, split and truth are those of all
ALONE = ("baselines", "repeats", "evaluate.few_shot", "evaluate.subgroups")


def models(recipe: Recipe) -> list[SweptModel]:
    """Every combination of the values of `sweep.over`, each with a plan for every draw."""
    sweep = recipe.sweep
    assert sweep is not None
    _refuse(recipe)
    found: list[SweptModel] = []
    for changes in combinations(recipe):
        plans = [_plan(recipe, changes, draw) for draw in range(sweep.draws)]
        if isinstance(plans[0].task, MakingTask):
            raise RecipeError(
                "a sweep judges answers to cases, and not sets of made images", where=recipe.where("sweep")
            )
        if any(stage.method.fits == "nothing" for stage in plans[0].model.stages):
            raise RecipeError(
                f"{plans[0].model.facts['method']} fits nothing, so no number of patients changes it",
                where=recipe.where("sweep", "over"),
            )
        found.append(SweptModel(_name(recipe, changes), changes, plans))
    return found


def combinations(recipe: Recipe) -> list[dict[str, Scalar]]:
    """What each model changes: key to value."""
    assert recipe.sweep is not None
    found = [dict(zip(grid, values, strict=True)) for grid in recipe.sweep.grids for values in product(*grid.values())]
    for number, changes in enumerate(found):
        if changes in found[:number]:
            raise RecipeError(f"a model stands twice: {changes}", where=recipe.where("sweep", "over"))
    return found


def _plan(recipe: Recipe, changes: dict[str, Scalar], draw: int) -> Plan:
    """The recipe with the changes, and the seed of the draw; settings of training that its method does not use, which
    are there for other models, are left out."""
    source = recipe._source
    assert source is not None
    own = yaml_source.overridden(source, [f"{key}={json.dumps(value)}" for key, value in changes.items()], RecipeError)
    made = recipes.from_source(own)
    module = lookup.module("adapters", made.adapter.name, made.where("adapter", "name"))
    method = module.METHODS.get(made.adapter.method or module.DEFAULT_METHOD)
    name = made.tasks[0].name
    if method is not None and name in method.uses:
        kept = {k: v for k, v in made.train if f"train.{k}" in method.uses[name] or f"train.{k}" in changes}
        made = made.model_copy(update={"train": recipes.Train.model_validate(kept)})
    return planning.plan(made.model_copy(update={"seed": (recipe.seed + draw) % 2**32}))


def _name(recipe: Recipe, changes: dict[str, Scalar]) -> str:
    """`embedded linear_probe`: weights and method, each where models differ in it, then what else is changed."""
    swept = {key for grid in recipe.sweep.grids for key in grid} if recipe.sweep is not None else set()
    plain = {"adapter.weights": recipe.adapter.weights, "adapter.method": recipe.adapter.method}
    words = [str(changes.get(key, own)) for key, own in plain.items() if key in swept and changes.get(key, own)]
    return " ".join([*words, *(f"{key.rpartition('.')[2]} {v}" for key, v in changes.items() if key not in plain)])


def _refuse(recipe: Recipe) -> None:
    assert recipe.sweep is not None
    for key in dict.fromkeys(key for grid in recipe.sweep.grids for key in grid):
        if key.partition(".")[0] not in SECTIONS or "." not in key:
            raise RecipeError(
                f"{key} cannot be swept over: models may differ in {', '.join(f'{s}.*' for s in SECTIONS)}, and have "
                "cases, split and truth in common",
                where=recipe.where("sweep", "over", key),
            )
    plain = recipes.Recipe.model_fields
    for key in ALONE:
        section, _, last = key.partition(".")
        given = getattr(recipe, section)
        default = plain[section].default
        if last:
            given, default = getattr(given, last), getattr(default, last)
        if given != default:
            raise RecipeError(
                f"a sweep has no use for {key}: it compares its own models", where=recipe.where(*key.split("."))
            )
    if recipe.adapter.stages:
        raise RecipeError("a sweep has no stages", where=recipe.where("adapter", "stages"), remedy="name a method")
    if len(recipe.tasks) > 1:
        raise RecipeError("a sweep answers one task", where=recipe.where("task"))


def lines(recipe: Recipe, found: list[SweptModel]) -> list[str]:
    """What `medvfm check` says of a sweep."""
    sweep = recipe.sweep
    assert sweep is not None
    fits = len(found) * sweep.draws * len(sweep.patients)
    shares = ", ".join(f"{100 * share:g}%" for share in sweep.patients)
    said = [
        f"{recipe.title}: a sweep on {found[0].plans[0].card.name}: recipe is valid",
        f"models: {', '.join(model.name for model in found)}",
        f"training patients: {shares}, {sweep.draws} draws of each; {fits} fits at most",
    ]
    return said + [
        f"{model.name}, one fit on all patients: {run_cost.estimate(model.plans[0]).line()}" for model in found
    ]
