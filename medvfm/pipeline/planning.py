"""From a recipe to a plan: names become objects, and what does not fit together is refused before data are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import ModuleType

from medvfm import lookup
from medvfm.core.capabilities import MakingTask
from medvfm.core.data_card import DataCard
from medvfm.core.errors import RecipeError, nearest
from medvfm.core.metric_spec import MetricSpec, parse
from medvfm.core.protocols import Adapter, BaselineContext, Method, Reuse, Task
from medvfm.core.recipe import AdapterSettings, Baseline, Data, Recipe, Repeats, Section, Stage, TaskSettings, Train
from medvfm.engine import subgroups
from medvfm.engine.plan import LOSS, ModelPlan, Plan, StagePlan, TaskPlan
from medvfm.io.console import Console
from medvfm.io.dataset import cases as tables
from medvfm.io.dataset import roots
from medvfm.io.dataset.cases import CaseTable
from medvfm.io.rendering import windowing
from medvfm.models import catalogue
from medvfm.pipeline import pretraining

Keys = tuple[str | int, ...]
# An adapter without training, the fitted model itself, or the recipe's adapter to be trained under other settings.
BuiltIn = Callable[[], Adapter] | Reuse | AdapterSettings
# Keys that every recipe may set, whatever its task and method; any other must be used by one of them.
FREE = ("task.name", "task.classes", "task.kind", "task.metrics", "task.options")
STAGE_DATA = "adapter.stages.data"
ADAPTER_KEYS = ("rank", "alpha", "blocks", "prompts")  # what only some methods of some adapters use


def plan(recipe: Recipe) -> Plan:
    """Resolve and check everything that can be known before data or weights are touched."""
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
    makers = [_Maker(recipe, entry.task, card, select) for entry in tasks]
    model = makers[0].model(recipe.adapter, recipe.train, module, ("adapter",), ("train",))
    for entry in tasks[1:]:
        module.refuse(recipe.adapter, [s.method_name for s in model.stages], recipe.prepare, entry.task)
    _refuse_unused(recipe, [entry.task for entry in tasks], model)
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


@dataclass(frozen=True)
class _Maker:
    """Makes the plans of models from what all models of one recipe share."""

    recipe: Recipe
    task: Task
    card: DataCard
    select: MetricSpec

    def model(
        self, settings: AdapterSettings, train: Train, module: ModuleType, keys: Keys, train_keys: Keys
    ) -> ModelPlan:
        """An adapter and its stages; only `make` loads weights."""
        recipe = self.recipe
        settings = self._located(settings, keys)
        given = settings.stages or (Stage(method=settings.method or module.DEFAULT_METHOD, train=train),)
        stages = [
            self._stage(settings, stage, number, module, keys, ("stages", number) if settings.stages else ())
            for number, stage in enumerate(given)
        ]
        for number, stage in enumerate(stages[:-1]):
            if stage.method.fits != "weights":
                raise RecipeError(
                    f"{stage.method_name} trains no weights, so no stage can follow it",
                    where=recipe.where(*keys, "stages", number, "method"),
                )
        asked = self.select is LOSS and not isinstance(self.task, MakingTask)
        if asked and keys[0] == "adapter" and any(s.method.fits != "weights" for s in stages):
            raise RecipeError(
                f"{stages[-1].method_name} has no training loss to select by",
                where=recipe.where("select", "metric"),
                remedy="select by a metric of the task",
            )
        self._refuse_unused(settings, stages, keys)
        module.refuse(settings, [s.method_name for s in stages], recipe.prepare, self.task)
        first = given[0]
        own = settings.model_copy(update={"options": {**settings.options, **first.options}})

        def make() -> Adapter:
            made: Adapter = module.build(
                own,
                self.task,
                first.method,
                recipe.prepare,
                windows=self.card.windows,
                read=self.card.reading,
                train=first.train,
                seed=recipe.seed,
            )
            return made

        facts = {
            "adapter": settings.name,
            "method": stages[-1].method_name,
            "method_note": stages[-1].method.summary,
        }
        saw = pretraining.seen(settings.weights or getattr(module, "DEFAULT_WEIGHTS", None), self.card)
        return ModelPlan(make, stages, facts | ({} if saw is None else {"pretraining": saw}))

    def _stage(
        self, settings: AdapterSettings, stage: Stage, number: int, module: ModuleType, keys: Keys, more: Keys
    ) -> StagePlan:
        recipe, name = self.recipe, stage.method
        where = recipe.where(*keys, *more, "method")
        if name not in module.METHODS:
            raise RecipeError(f"no method {name!r}; {nearest(name, module.METHODS)}", where=where)
        method: Method = module.METHODS[name]
        task = self.task.name
        if task not in method.tasks:
            able = [other for other, entry in module.METHODS.items() if task in entry.tasks]
            remedy = f"{task} is answered by {', '.join(able)}" if able else None
            raise RecipeError(
                f"{name} answers {', '.join(sorted(method.tasks))}, not {task}", where=where, remedy=remedy
            )
        at = (*keys, *more, "train") if more or keys[0] == "baselines" else ("train",)
        for key in stage.train.given():
            if f"train.{key}" in method.never:
                raise RecipeError(
                    f"{name} takes no {key!r}: {method.never[f'train.{key}']}", where=recipe.where(*at, key)
                )
            if f"train.{key}" not in method.uses[task]:
                raise RecipeError(_no_use(name, f"train.{key}", method.uses[task], task), where=recipe.where(*at, key))
        if method.frozen and stage.train.augment:
            raise RecipeError(
                f"{name} leaves the {' and '.join(sorted(method.frozen))} tower frozen and computes its outputs once: "
                "nothing can be augmented",
                where=recipe.where(*at, "augment"),
            )
        if stage.options:
            changeable: frozenset[str] = getattr(module, "STAGE_OPTIONS", frozenset())
            for key in stage.options:
                if key not in changeable:
                    raise RecipeError(
                        f"{settings.name} has no use for the option {key!r} in a stage's options; "
                        + (nearest(key, changeable) if changeable else "none of its options changes between stages"),
                        where=recipe.where(*keys, *more, "options", key),
                    )
        loop = {}
        if method.fits == "weights":
            loop = module.training(name, settings.weights, stage.train, task)
        card = table = None
        if stage.data is not None:
            if STAGE_DATA not in method.uses[task]:
                raise RecipeError(
                    f"{name} has no use for data of its own",
                    where=recipe.where(*keys, *more, "data"),
                    remedy="methods that train weights use `data` of a stage",
                )
            place = recipe.located(*keys, *more, "data", "card")
            card = lookup.card(place, recipe.where(*keys, *more, "data"))
            if _same_data(recipe, stage.data, place) and recipe.split.leaks != "drop":
                raise RecipeError(
                    "the data of this stage are those of the recipe itself, whose test cases it would train on",
                    where=recipe.where(*keys, *more, "data"),
                    remedy="leave `data` out: a stage without it trains on the training cases",
                )
            table = _table_of(recipe, stage, card, (*keys, *more, "data"))
        return StagePlan(name, method, loop, stage.options, card, table)

    def _refuse_unused(self, settings: AdapterSettings, stages: Sequence[StagePlan], keys: Keys) -> None:
        """Keys of an adapter (rank, prompts, ...) that none of its methods uses."""
        task = self.task.name
        used = frozenset().union(*(stage.method.uses[task] for stage in stages))
        for key in ADAPTER_KEYS:
            if getattr(settings, key) is not None and f"adapter.{key}" not in used:
                who = f"{stages[-1].method_name} on {task}"
                raise RecipeError(_no_use(who, f"adapter.{key}", used, task), where=self.recipe.where(*keys, key))

    def _located(self, settings: AdapterSettings, keys: Keys) -> AdapterSettings:
        """Paths of weights and prompts, relative to the recipe."""
        changes: dict[str, object] = {}
        if settings.weights is not None:
            changes["weights"] = self._weights(settings.name, *keys, "weights")
        given = settings.prompts
        if given is not None and given.file is not None:
            place = self.recipe.located(*keys, "prompts", "file")
            changes["prompts"] = given.model_copy(update={"file": place})
        elif given is not None and given.adapter is not None and given.adapter.weights is not None:
            place = self._weights(given.adapter.name, *keys, "prompts", "adapter", "weights")
            changes["prompts"] = given.model_copy(
                update={"adapter": given.adapter.model_copy(update={"weights": place})}
            )
        return settings.model_copy(update=changes) if changes else settings

    def _weights(self, adapter: str, *keys: str | int) -> str:
        """A path, or what a name of the catalogue stands for."""
        place = self.recipe.located(*keys, must_be_path=False)
        return catalogue.hub_of(place, adapter, self.recipe.where(*keys))

    def answers(self, settings: Baseline, keys: Keys, model: ModuleType) -> bool:
        """Whether a baseline answers the task: where a run has several, some answer one of them alone."""
        if settings.name in lookup.modules("adapters"):
            methods = lookup.module("adapters", settings.name, settings.name).METHODS
            asked = [s.method for s in settings.stages or ()] or [settings.method or ""]
            return all(self.task.name in methods[m].tasks for m in asked if m in methods)
        return self._built_in(settings, keys, model) is not None

    def _built_in(self, settings: Baseline, keys: Keys, model: ModuleType) -> BuiltIn | None:
        """A baseline of the adapter or of the task."""
        recipe = self.recipe

        def own(method: str) -> Adapter:
            uses = model.METHODS[method].uses.get(self.task.name, frozenset())
            unused = {key: None for key in ADAPTER_KEYS if f"adapter.{key}" not in uses}
            frozen = recipe.adapter.model_copy(update={"method": method, "stages": None, **unused})
            by_metric = replace(self, select=parse(self.task.default_metrics[0], self.task.metrics))
            return by_metric.model(frozen, Train(), model, ("adapter",), ("train",)).make()

        context = BaselineContext(recipe, self.card, recipe.where(*keys), own)
        found: BuiltIn | None
        found = getattr(model, "baseline", lambda *_: None)(settings, self.task, context)
        return found or self.task.baseline(settings, context)

    def baseline(self, settings: Baseline, keys: Keys, model: ModuleType) -> ModelPlan | Reuse:
        """A built-in baseline of the task, a reuse of the fitted model, or another adapter."""
        recipe = self.recipe
        found = self._built_in(settings, keys, model)
        built_in = {**self.task.built_in_baselines, **getattr(model, "BASELINES", {})}
        if found is None and settings.name not in (*built_in, *lookup.modules("adapters")):
            choices = [*built_in, *lookup.modules("adapters")]
            raise RecipeError(
                f"no baseline {settings.name!r}; {nearest(settings.name, choices)}", where=recipe.where(*keys, "name")
            )
        if found is None and settings.name in built_in and settings.name not in lookup.modules("adapters"):
            raise RecipeError(
                f"the baseline {settings.name} does not answer {self.task.name}", where=recipe.where(*keys, "name")
            )
        if settings.columns and (found is None or "columns" not in built_in.get(settings.name, "")):
            raise RecipeError(f"{settings.name} takes no columns", where=recipe.where(*keys, "columns"))
        if found is not None:
            plain = Baseline(name=settings.name, columns=settings.columns)
            if isinstance(found, AdapterSettings):  # trained anew, as the recipe says or as the baseline says
                plain = plain.model_copy(update={"train": settings.train})
            for key in [key for key, default in plain if getattr(settings, key) != default]:
                raise RecipeError(
                    f"the baseline {settings.name} has no use for {key!r}", where=recipe.where(*keys, key)
                )
        if isinstance(found, Reuse):
            return found
        if isinstance(found, AdapterSettings):
            again = self.model(found, recipe.train, model, ("adapter",), ("train",))
            return replace(again, facts={**again.facts, "summary": built_in[settings.name]})
        if found is not None:
            return ModelPlan(found, (), {"summary": built_in[settings.name]})
        module = lookup.module("adapters", settings.name, recipe.where(*keys, "name"))
        return self.model(settings, settings.train, module, keys, (*keys, "train"))


def _same_data(recipe: Recipe, own: Data, place: str) -> bool:
    """The card, folder and options of a stage's data are those of the recipe."""
    whole = recipe.data
    same_card = place == recipe.located("data", "card")
    return same_card and (own.root, own.layout, own.options) == (whole.root, whole.layout, whole.options)


def _table_of(recipe: Recipe, stage: Stage, card: DataCard, keys: Keys) -> Callable[[], CaseTable]:
    data = stage.data
    assert data is not None
    roots.options_of(card, data.options, recipe.where(*keys, "options"))

    def table() -> CaseTable:
        root = recipe.located(*keys, "root") if data.root is not None else None
        beside = lookup.beside(recipe.located(*keys, "card"))
        folder = roots.locate(card, root, data.options, Console(), layout=data.layout, beside=beside)
        return tables.read_cases(card, folder, layout=data.layout)

    return table


# every key must be used


def _refuse_unused(recipe: Recipe, tasks: Sequence[Task], model: ModelPlan) -> None:
    """Every key of the recipe that neither a task nor a method of the model uses is refused by its name."""
    name = model.stages[-1].method_name
    for number, keys in _set_keys(recipe):
        task = tasks[number]
        used = set(task.uses).union(*(stage.method.uses.get(task.name, ()) for stage in model.stages))
        dotted = ".".join(k for k in keys if isinstance(k, str))
        if dotted in FREE:
            continue
        if not any(dotted == use or dotted.startswith(f"{use}.") for use in used):
            raise RecipeError(_no_use(f"{name} on {task.name}", dotted, used, task.name), where=recipe.where(*keys))
    used = set[str]().union(*(task.uses for task in tasks))
    task = tasks[0]
    for key, default in (("recalibrate", "none"), ("decide_at", "youden")):
        if getattr(recipe.evaluate, key) != default and f"evaluate.{key}" not in used:
            raise RecipeError(
                _no_use(task.name, f"evaluate.{key}", used, task.name), where=recipe.where("evaluate", key)
            )


def _no_use(who: str, key: str, used: set[str] | frozenset[str], task: str) -> str:
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
