"""The values that a recipe leaves out and a run will use: for `medvfm check` and for the descriptions of the schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medvfm import lookup
from medvfm.core import recipe as recipes
from medvfm.core.plurals import plural
from medvfm.core.recipe import Recipe
from medvfm.core.recipe_sections import AdapterSettings, Train
from medvfm.engine import train
from medvfm.engine.plan import LOSS, ModelPlan, Plan, StagePlan
from medvfm.pipeline import planning

FIRST = ("epochs", "steps", "batch_size")  # told in a sentence
TOOLS = {"augment", "rates"}  # long, and in the recipe where they are used


def lines(planned: Plan) -> list[str]:
    """What will be used, the recipe's own values and those that it leaves out alike, a line a part."""
    recipe = planned.recipe
    found = [
        f"model: {_model(recipe.adapter, planned.model)}",
        *(
            f"{_named('train', planned.model, number)}: {_stage(s, recipe.adapter)}"
            for number, s in enumerate(planned.model.stages)
        ),
        f"split: {_split(recipe)}",
        f"select by: {'the training loss' if planned.select is LOSS else planned.select.name} on validation cases",
        f"metrics: {', '.join(spec.name for spec in planned.specs)}",
    ]
    made = {name: m for entry in planned.tasks for name, m in entry.baselines.items()}
    for name, settings in planning.named(recipe.baselines):
        model = made[name]
        if isinstance(model, ModelPlan) and model.stages:
            again = settings if settings.name == model.facts["adapter"] else recipe.adapter
            stages = "; ".join(_stage(stage, again) for stage in model.stages)
            found.append(f"baseline {settings.name}: {_model(again, model)}; {stages}")
    confidence = recipe.evaluate.confidence
    found.append(f"intervals: {100 * confidence.level:g}%, {confidence.resamples} resamples, seed {recipe.seed}")
    if planned.again:
        found.append(f"repeats: trained with {len(planned.again) + 1} seeds, {recipe.seed} and up, on the same split")
    return found


def _named(part: str, model: ModelPlan, number: int) -> str:
    return part if len(model.stages) == 1 else f"{part}, stage {number + 1} ({model.stages[number].method_name})"


def _model(settings: AdapterSettings, model: ModelPlan) -> str:
    module = lookup.module("adapters", settings.name, settings.name)
    weights = settings.weights or getattr(module, "DEFAULT_WEIGHTS", None)
    said = f"{settings.name} {' then '.join(s.method_name for s in model.stages)}"
    return f"{said}, weights {weights}" if weights else said


def _stage(stage: StagePlan, settings: AdapterSettings) -> str:
    """`10 epochs of 60 steps, batches of 16; learning rate 0.001, ...`."""
    if stage.method.fits == "nothing":
        return "nothing is trained"
    if stage.method.fits == "features":
        swept = getattr(lookup.module("adapters", settings.name, settings.name), "HEAD_SWEEPS", {}).get(
            stage.method_name
        )
        return "no epochs: a head is fitted on frozen features" + (f"; {swept}" if swept else "")
    used = {**_defaults_of_the_loop(), **stage.settings}
    steps = used.get("steps")
    batch = used.get("batch_size")
    cases = plural(int(str(batch)), "case")
    once = f"as many steps as show every training case once, {cases} a step"
    each = f"{plural(int(str(steps)), 'step')}, {cases} a step" if steps else once
    said = f"{plural(int(used['epochs']), 'epoch')} of {each}"
    rest = [
        f"{k.replace('_', ' ')} {v}" for k, v in used.items() if k not in FIRST and k not in TOOLS and v is not None
    ]
    return f"{said}; {', '.join(rest)}"


def _defaults_of_the_loop() -> dict[str, Any]:
    loop = train.Settings(epochs=1, learning_rate=1.0)
    return {k: getattr(loop, k) for k in ("weight_decay", "warmup", "accumulate", "clip", "precision", "patience")}


def _split(recipe: Recipe) -> str:
    split = recipe.split
    if split.folds:
        return f"{split.folds} folds"
    if split.hold_out:
        return "; ".join(
            f"test are {column} {', '.join(map(str, values))}" for column, values in split.hold_out.items()
        )
    if split.origin == "card":
        return "that of the card"
    parts = zip(("train", "val", "test"), split.shares, strict=True)
    return f"at random by patient: {', '.join(f'{100 * share:g}% {name}' for name, share in parts)}"


def schema() -> dict[str, Any]:
    """The recipe's JSON Schema, with the values that each method uses where `train` leaves a key out."""
    found = recipes.json_schema()
    properties: dict[str, Any] = found["$defs"]["Train"]["properties"]
    for key, users in _by_key().items():
        said = "; ".join(f"{value} ({', '.join(names)})" for value, names in users.items())
        own = str(properties[key].get("description") or "").partition("; null: ")[0]
        properties[key]["description"] = f"{own}; null: {said}".removeprefix("; ")
    return found


def _by_key() -> Mapping[str, Mapping[str, list[str]]]:
    """Key of `train` to each value that is used without it, and whose it is."""
    found: dict[str, dict[str, list[str]]] = {}
    for adapter in lookup.modules("adapters"):
        module = lookup.module("adapters", adapter, adapter)
        for name, method in module.METHODS.items():
            if method.fits != "weights":
                continue
            for task in sorted(method.tasks):
                who = f"{adapter} {name}" + (f" of {task}" if len(method.tasks) > 1 else "")
                own = module.training(name, None, Train(), task)
                for key, value in {**_defaults_of_the_loop(), "steps": "every training case once", **own}.items():
                    if key not in TOOLS and key in Train.model_fields:
                        shown = "none" if value is None else str(value)
                        found.setdefault(key, {}).setdefault(shown, []).append(who)
    return {key: _with_most(users) for key, users in found.items()}


def _with_most(users: Mapping[str, list[str]]) -> Mapping[str, list[str]]:
    """The value of most methods is called that of all others."""
    most = max(users, key=lambda value: len(users[value]))
    others = {value: names for value, names in users.items() if value != most}
    return {**others, most: ["all others" if others else "all methods"]}
