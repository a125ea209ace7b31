"""From a recipe to a plan: names become objects, and what does not fit together is refused before data are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType

from medvfm import lookup
from medvfm.core.data_card import DataCard
from medvfm.core.errors import RecipeError, nearest
from medvfm.core.metric_spec import MetricSpec, parse
from medvfm.core.protocols import Reuse, Task
from medvfm.core.recipe import Recipe
from medvfm.core.recipe_sections import Baseline, Repeats, TaskSettings
from medvfm.core.task_capabilities import MakingTask
from medvfm.engine import subgroups
from medvfm.engine.plan import LOSS, ModelPlan, Plan, TaskPlan
from medvfm.io.dataset import roots
from medvfm.io.rendering import windowing
from medvfm.pipeline import option_paths, used_keys
from medvfm.pipeline.model_plans import ModelPlanner
from medvfm.pipeline.used_keys import Keys


def plan(recipe: Recipe) -> Plan:
    """Resolve and check everything that can be known before data or weights are touched."""
    recipe = option_paths.located(recipe)
    card = lookup.card(recipe.located("data", "card"), recipe.where("data", "card"))
    several = len(recipe.tasks) > 1
    tasks = [
        _task(recipe, settings, ("task", number) if several else ("task",), card)
        for number, settings in enumerate(recipe.tasks)
    ]
    module = lookup.module("adapters", recipe.adapter.name, recipe.where("adapter", "name"))
    if several:
        _refuse_tasks(recipe, module, tasks)
    task = tasks[0].task
    select = _select(recipe, task)
    roots.options_of(card, recipe.data.options, recipe.where("data", "options"))
    _known_columns(recipe, card)
    _known_window(recipe, card)
    makers = [ModelPlanner(recipe, entry.task, card, select) for entry in tasks]
    model = makers[0].model(recipe.adapter, recipe.train, module, ("adapter",), ("train",))
    for entry in tasks[1:]:
        module.refuse(recipe.adapter, [s.method_name for s in model.stages], recipe.prepare, entry.task)
    used_keys.refuse_unused(recipe, [entry.task for entry in tasks], model)
    _refuse_few_shot(recipe, task, model)
    if recipe.split.folds is not None and any(isinstance(entry.task, MakingTask) for entry in tasks):
        raise RecipeError(
            "made images are judged as one set beside one test set, and folds have several",
            where=recipe.where("split", "folds"),
            remedy="split.fractions",
        )
    baselines: list[dict[str, ModelPlan | Reuse]] = [{} for _ in tasks]
    for number, (name, settings) in enumerate(named(recipe.baselines)):
        keys = ("baselines", number)
        able = [n for n, maker in enumerate(makers) if maker.answers(settings, keys, module)]
        for n in able or [0]:  # of a baseline that answers none of the tasks the first says why
            baselines[n][name] = makers[n].baseline(settings, keys, module)
    judged = [replace(entry, baselines=own) for entry, own in zip(tasks, baselines, strict=True)]
    _refuse_repeats(recipe, [entry.task for entry in tasks], model)
    seeds = [(recipe.seed + number) % 2**32 for number in range(1, recipe.repeats.seeds)]
    again = [plan(recipe.model_copy(update={"seed": seed, "repeats": Repeats()})) for seed in seeds]
    return Plan(recipe, card, judged, select, model, again=again)


def _task(recipe: Recipe, settings: TaskSettings, keys: Keys, card: DataCard) -> TaskPlan:
    module = lookup.module("tasks", settings.name, recipe.where(*keys, "name"))
    if settings.options and not hasattr(module, "Options"):
        raise RecipeError(f"the task {settings.name} has no options", where=recipe.where(*keys, "options"))
    task: Task = module.build(settings, lambda *more: recipe.where(*keys, *more), card)
    names = settings.metrics or recipe.evaluate.metrics or task.default_metrics
    at: Keys = (*keys, "metrics") if settings.metrics else ("evaluate", "metrics")
    return TaskPlan(task, [parse(name, task.metrics, recipe.where(*at, i)) for i, name in enumerate(names)])


def _refuse_tasks(recipe: Recipe, module: ModuleType, tasks: Sequence[TaskPlan]) -> None:
    """Several tasks are answered by one fit: the adapter must name each further one in ANSWERS_ALSO."""
    able: frozenset[str] = getattr(module, "ANSWERS_ALSO", frozenset())
    names = [entry.task.name for entry in tasks]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise RecipeError(f"the task {name} stands twice", where=recipe.where("task", number, "name"))
    for number, entry in enumerate(tasks[1:], 1):
        if entry.task.name not in able:
            raise RecipeError(
                f"{recipe.adapter.name} answers one task in a run, and {entry.task.name} is a further one",
                where=recipe.where("task", number),
                remedy="write a recipe for each task",
            )


def _select(recipe: Recipe, task: Task) -> MetricSpec:
    name = recipe.select.metric or (LOSS.name if isinstance(task, MakingTask) else task.default_metrics[0])
    if name == LOSS.name:
        return LOSS
    if isinstance(task, MakingTask):
        parse(name, task.metrics, where=recipe.where("select", "metric"))
        raise RecipeError(
            f"{name} cannot select: {task.never_selects}",
            where=recipe.where("select", "metric"),
            remedy="leave it out, or say loss: the training loss of validation cases selects",
        )
    return parse(name, task.metrics, where=recipe.where("select", "metric"))


def _refuse_few_shot(recipe: Recipe, task: Task, model: ModelPlan) -> None:
    """Few training cases of each class: only where there are classes, and something is fitted."""
    if recipe.evaluate.few_shot is None:
        return
    where = recipe.where("evaluate", "few_shot")
    if all(stage.method.fits == "nothing" for stage in model.stages):
        raise RecipeError(f"{model.stages[-1].method_name} fits nothing, so few cases are as good as many", where=where)
    if task.answers != "scores":
        raise RecipeError(f"few cases of each class: {task.name} has no labels to count them by", where=where)


def _refuse_repeats(recipe: Recipe, tasks: Sequence[Task], model: ModelPlan) -> None:
    """Several seeds: only of one task whose cases are the same for all seeds, and where something is fitted."""
    if recipe.repeats.seeds == 1:
        return
    where = recipe.where("repeats", "seeds")
    if all(stage.method.fits == "nothing" for stage in model.stages):
        raise RecipeError(f"{model.stages[-1].method_name} fits nothing, so every seed gives the same", where=where)
    if len(tasks) > 1:
        raise RecipeError(
            "several tasks are answered by one fit", where=where, remedy="write a recipe for each task, or one seed"
        )
    if isinstance(tasks[0], MakingTask):
        raise RecipeError("made images are judged as one set, which no seed shares with another", where=where)


# what the card must offer


def named(found: Sequence[Baseline]) -> list[tuple[str, Baseline]]:
    """The name of a baseline's rows: its own, with method and weights where two would be called the same."""
    names = [b.name for b in found]
    parts = [[b.name, b.method, b.weights] if names.count(b.name) > 1 else [b.name] for b in found]
    return [(" ".join(str(p) for p in part if p), b) for part, b in zip(parts, found, strict=True)]


def _known_columns(recipe: Recipe, card: DataCard) -> None:
    """Subgroups and attributes must be columns that the card offers."""
    known = card.group_columns()
    named: list[tuple[Keys, str]] = [
        (("evaluate", "subgroups", i), column)
        for i, several in enumerate(recipe.evaluate.subgroups)
        for column in subgroups.columns_of([several])
    ]
    for n, baseline in enumerate(recipe.baselines):
        named += [(("baselines", n, "columns", i), column) for i, column in enumerate(baseline.columns)]
    for keys, column in named:
        if column not in known:
            raise RecipeError(f"the card has no column {column!r}; {nearest(column, known)}", where=recipe.where(*keys))


def _known_window(recipe: Recipe, card: DataCard) -> None:
    wanted, where = recipe.prepare.windows, recipe.where("prepare", "windows")
    known = ["auto", *windowing.NAMED_WINDOWS_HU, *card.windows]
    if isinstance(wanted, str) and wanted not in known:
        raise RecipeError(f"no window {wanted!r}; {nearest(wanted, known)}", where=where)
    if isinstance(wanted, dict) and set(wanted) != {"percentiles"}:
        raise RecipeError("expected a name, [low, high] or {percentiles: [low, high]}", where=where)
