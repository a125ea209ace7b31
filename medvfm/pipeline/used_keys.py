"""Every key of a recipe must be used: what neither the task nor a method of the model takes is refused by its name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from medvfm import lookup
from medvfm.core.errors import RecipeError
from medvfm.core.protocols import Task
from medvfm.core.recipe import Recipe
from medvfm.core.recipe_sections import Section
from medvfm.engine.plan import ModelPlan

Keys = tuple[str | int, ...]
# Keys that every recipe may set, whatever its task and method; any other must be used by one of them.
FREE = ("task.name", "task.classes", "task.kind", "task.metrics", "task.options")
STAGE_DATA = "adapter.stages.data"


def refuse_unused(recipe: Recipe, tasks: Sequence[Task], model: ModelPlan) -> None:
    """Every key of the recipe that neither a task nor a method of the model uses is refused by its name."""
    name = model.stages[-1].method_name
    for number, keys in _set_keys(recipe):
        task = tasks[number]
        used = set(task.uses).union(*(stage.method.uses.get(task.name, ()) for stage in model.stages))
        dotted = ".".join(k for k in keys if isinstance(k, str))
        if dotted in FREE:
            continue
        if not any(dotted == use or dotted.startswith(f"{use}.") for use in used):
            raise RecipeError(no_use(f"{name} on {task.name}", dotted, used, task.name), where=recipe.where(*keys))
    used = set[str]().union(*(task.uses for task in tasks))
    task = tasks[0]
    for key, default in (("recalibrate", "none"), ("decide_at", "youden")):
        if getattr(recipe.evaluate, key) != default and f"evaluate.{key}" not in used:
            raise RecipeError(
                no_use(task.name, f"evaluate.{key}", used, task.name), where=recipe.where("evaluate", key)
            )


def no_use(who: str, key: str, used: set[str] | frozenset[str], task: str) -> str:
    """`X has no use for 'rank'; ...` with what X uses, or what would use the key."""
    users = [
        f"{adapter} {method}"
        for adapter in lookup.modules("adapters")
        for method, entry in lookup.module("adapters", adapter, adapter).METHODS.items()
        if any(key == use or key.startswith(f"{use}.") for use in entry.uses.get(task, ()))
    ]
    others = [other for other in lookup.modules("tasks") if key in lookup.module("tasks", other, other).USES]
    section, _, last = key.partition(".")
    near = sorted(u.partition(".")[2] for u in used if u.startswith(f"{section}.") and u != STAGE_DATA)
    said = f"{who} has no use for {last!r} ({key})"
    if users or others:
        said += f"; it is used by {', '.join([*users, *(f'the task {o}' for o in others)])}"
    return said + (f"; here `{section}` may say {', '.join(near)}" if near else f"; here `{section}` says nothing")


def _set_keys(recipe: Recipe) -> Iterator[tuple[int, Keys]]:
    """Keys that the recipe sets to something else than their default, and the number of the task that must use them."""
    yield from ((0, keys) for keys in _walk(recipe.prepare, ("prepare",)))
    for number, task in enumerate(recipe.tasks):
        own: Keys = ("task", number) if len(recipe.tasks) > 1 else ("task",)
        yield from ((number, keys) for keys in _walk(task, own))


def _walk(section: Section, keys: Keys) -> Iterator[Keys]:
    for name in section.model_fields_set:
        value, default = getattr(section, name), type(section).model_fields[name].default
        if isinstance(value, Section):
            yield from _walk(value, (*keys, name))
        elif value != default:
            yield (*keys, name)
