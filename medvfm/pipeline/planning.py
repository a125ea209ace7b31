"""From a recipe to a plan: names become objects, and what does not fit together is refused before data are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medvfm import lookup
from medvfm.core.data_card import DataCard
from medvfm.core.errors import RecipeError, nearest
from medvfm.core.metric_spec import MetricSpec, parse
from medvfm.core.protocols import Method, Metric
from medvfm.core.recipe import AdapterSettings, Baseline, Recipe, Stage, Train
from medvfm.engine import (
    baselines,
    casewise,
    experiment,
    learners,
    mask_baselines,
    mask_learner,
    mask_store,
    measure,
    postprocess,
    segment,
)
from medvfm.engine import evaluate as judging
from medvfm.engine.plan import Plan
from medvfm.io.dataset.truth_masks import TruthReader
from medvfm.io.rendering import windowing as pictures
from medvfm.models.inputs.volumes import VolumePreparer

Keys = tuple[str | int, ...]
Make = Callable[[], Any]


@dataclass(frozen=True)
class Answering:
    """What a task needs besides its question.

    metrics   the table that it is judged by
    judge     wanted metrics and recipe to who makes its rows
    run       the engine's run of it
    learner   (settings of adapter and stages) to what is fitted
    baseline  a baseline by its name, or None where it is an adapter
    """

    metrics: Callable[[Any], Mapping[str, Metric]]
    judge: Callable[[Sequence[MetricSpec], Any, Recipe], Any]
    run: Callable[..., dict[str, Any]]
    learner: Callable[..., Any]
    baseline: Callable[..., Make | None]
    built_in: Iterable[str]


def plan(recipe: Recipe) -> Plan:
    """Resolve and check everything that can be known before data or weights are touched."""
    if len(recipe.tasks) > 1:
        raise RecipeError("no adapter answers several tasks in one run yet", where=recipe.where("task"))
    task = recipe.tasks[0]
    card = lookup.card(recipe.data.card, recipe.where("data", "card"))
    module = lookup.module("tasks", task.name, recipe.where("task", "name"))
    question = module.build(task, recipe.where("task"), card)
    postprocess.parse(task.postprocess, question.kind, recipe.where("task", "postprocess"))
    answering = ANSWERING[task.name]
    adapter = lookup.module("adapters", recipe.adapter.name, recipe.where("adapter", "name"))
    stages = _stages(recipe.adapter, recipe.train, adapter)
    methods = [_method(adapter, recipe, name, ("adapter",), task.name, given) for name, given in stages]
    if len(stages) > 1 and any(m.fits != "weights" for m in methods):
        raise RecipeError("each of several stages must train weights", where=recipe.where("adapter", "stages"))
    table = answering.metrics(question)
    names = task.metrics or recipe.evaluate.metrics or question.default_metrics
    wanted = [parse(n, table, where=recipe.where("evaluate", "metrics", i)) for i, n in enumerate(names)]
    select = parse(recipe.select.metric or question.default_metrics[0], table, where=recipe.where("select", "metric"))
    card.options_with(recipe.data.options, recipe.where("data", "options"))
    _known_columns(recipe, card)
    _known_window(recipe, card)
    context = _Context(recipe, question, card, select, answering)
    make = context.maker(recipe.adapter, adapter, stages, methods)
    others = {
        name: context.baseline(baseline, ("baselines", number), make)
        for number, (name, baseline) in enumerate(_named(recipe.baselines))
    }
    judge = answering.judge(wanted, question, recipe)
    return Plan(recipe, card, question, judge, select, methods[-1], stages[-1][0], make, others)


@dataclass(frozen=True)
class _Context:
    """What every adapter of one recipe is made from."""

    recipe: Recipe
    question: Any
    card: DataCard
    select: MetricSpec
    answering: Answering

    def maker(
        self, settings: AdapterSettings, module: Any, stages: Sequence[tuple[str, Train]], methods: Sequence[Method]
    ) -> Make:
        """Makes the learner when the run needs it: only then are weights loaded."""
        module.refuse(settings, [name for name, _ in stages], self.recipe.prepare, self.question)

        def make() -> Any:
            (method, train), *_ = stages
            built = module.build(
                settings,
                self.question,
                method,
                self.recipe.prepare,
                windows=self.card.windows,
                read=self.card.reading,
                train=train,
                seed=self.recipe.seed,
            )
            trained = [(name, given) for (name, given), m in zip(stages, methods, strict=True) if m.fits == "weights"]
            loop = [
                (name, module.training(name, settings.weights, given, self.question.name)) for name, given in trained
            ]
            return self.answering.learner(self, built, loop)

        return make

    def baseline(self, baseline: Baseline, keys: Keys, model: Make) -> Make:
        recipe = self.recipe
        if baseline.columns and baseline.name not in ("attributes", "image_and_attributes"):
            raise RecipeError(f"{baseline.name} takes no columns", where=recipe.where(*keys, "columns"))
        found = self.answering.baseline(self, baseline, keys)
        if found is not None:
            return found
        choices = [*self.answering.built_in, *lookup.modules("adapters")]
        if baseline.name not in choices:
            raise RecipeError(
                f"no baseline {baseline.name!r}; {nearest(baseline.name, choices)}", where=recipe.where(*keys, "name")
            )
        module = lookup.module("adapters", baseline.name, recipe.where(*keys, "name"))
        stages = _stages(baseline, baseline.train, module)
        methods = [_method(module, recipe, name, keys, self.question.name, given) for name, given in stages]
        return self.maker(baseline, module, stages, methods)


def _stages(adapter: AdapterSettings, train: Train, module: Any) -> list[tuple[str, Train]]:
    stages = adapter.stages or (Stage(method=adapter.method or module.DEFAULT_METHOD, train=train),)
    return [(stage.method, stage.train) for stage in stages]


def _method(module: Any, recipe: Recipe, name: str, keys: Keys, task: str, train: Train) -> Method:
    where = recipe.where(*keys, "method")
    if name not in module.METHODS:
        raise RecipeError(f"no method {name!r}; {nearest(name, module.METHODS)}", where=where)
    method: Method = module.METHODS[name]
    if task not in method.tasks:
        able = [other for other, entry in module.METHODS.items() if task in entry.tasks]
        remedy = f"{task} is answered by {', '.join(able)}" if able else None
        raise RecipeError(f"{name} answers {', '.join(sorted(method.tasks))}, not {task}", where=where, remedy=remedy)
    unused = sorted(set(train.given()) - method.uses)
    if unused:
        uses = f"it uses {', '.join(sorted(method.uses))}" if method.uses else "it uses nothing of `train`"
        raise RecipeError(f"{name} has no use for {unused[0]!r}; {uses}", where=recipe.where("train", unused[0]))
    if method.prompted and recipe.adapter.prompts is None:
        raise RecipeError(f"{name} needs prompts", where=where, remedy="say adapter.prompts.from")
    return method


# classification


def _scores_learner(context: _Context, built: Any, loop: Sequence[tuple[str, Mapping[str, Any]]]) -> Any:
    if not loop:
        return learners.FeatureLearner(built, context.recipe.seed)
    select = context.select
    return learners.TrainedLearner(
        built, loop, context.question.kind, select.name, select.metric.better, context.recipe.seed
    )


def _scores_baseline(context: _Context, baseline: Baseline, keys: Keys) -> Make | None:
    recipe, kind, where = context.recipe, context.question.kind, context.recipe.where(*keys)
    if baseline.name == "prevalence":
        return learners.Prevalence
    if baseline.name == "intensity":
        voxels = baselines.Intensity(recipe.prepare, context.card.windows, context.card.reading)
        return lambda: learners.ProbeBaseline(voxels, (), None, kind, where)
    if baseline.name not in ("attributes", "image_and_attributes"):
        return None
    if not baseline.columns:
        raise RecipeError(f"{baseline.name} needs columns", where=where, remedy="as in columns: [age, sex]")
    if baseline.name == "attributes":
        return lambda: learners.ProbeBaseline(None, baseline.columns, None, kind, where)
    module = lookup.module("adapters", recipe.adapter.name, where)
    frozen = recipe.adapter.model_copy(update={"method": "linear_probe", "stages": None})
    make = context.maker(frozen, module, [("linear_probe", Train())], [module.METHODS["linear_probe"]])
    return lambda: learners.ProbeBaseline(None, baseline.columns, make(), kind, where)


# segmentation


def _masks_learner(context: _Context, built: Any, loop: Sequence[tuple[str, Mapping[str, Any]]]) -> Any:
    question, select = context.question, context.select
    truth = TruthReader.of(context.card, question.classes, question.kind)
    after = postprocess.parse(question.postprocess, question.kind)
    return mask_learner.MaskLearner(built, truth, loop, select.name, select.metric.better, context.recipe.seed, after)


def _masks_baseline(context: _Context, baseline: Baseline, keys: Keys) -> Make | None:
    question, card = context.question, context.card
    if baseline.name not in mask_baselines.BUILT_IN:
        return None
    if baseline.name == "location" and question.kind != "semantic":
        raise RecipeError(
            f"location votes on structures that share no voxel, not on {question.kind}",
            where=context.recipe.where(*keys),
        )

    def make() -> Any:
        volumes = VolumePreparer(context.recipe.prepare, card.windows, card.reading)
        store = mask_store.MaskStore(volumes, TruthReader.of(card, question.classes, question.kind))
        if baseline.name == "ellipse":
            return mask_baselines.Ellipse(store, question.kind)
        return mask_baselines.Location(store, len(question.classes))

    return make


ANSWERING = {
    "classification": Answering(
        lambda question: judging.METRICS,
        lambda wanted, question, recipe: judging.Judge(
            wanted, question.exclusive, recipe.evaluate.confidence, recipe.seed
        ),
        experiment.run,
        _scores_learner,
        _scores_baseline,
        baselines.BUILT_IN,
    ),
    "segmentation": Answering(
        lambda question: measure.metrics_of(question.kind),
        lambda wanted, question, recipe: casewise.CaseJudge(wanted, recipe.evaluate.confidence, recipe.seed),
        segment.run,
        _masks_learner,
        _masks_baseline,
        mask_baselines.BUILT_IN,
    ),
}


# what the card must offer


def _named(found: Sequence[Baseline]) -> list[tuple[str, Baseline]]:
    """The name of a baseline's rows: its own, with method and weights where two would be called the same."""
    names = [b.name for b in found]
    parts = [[b.name, b.method, b.weights] if names.count(b.name) > 1 else [b.name] for b in found]
    return [(" ".join(str(p) for p in part if p), b) for part, b in zip(parts, found, strict=True)]


def _known_columns(recipe: Recipe, card: DataCard) -> None:
    """Subgroups and attributes must be columns that the card offers, and classes its classes."""
    known = card.group_columns()
    asked: list[tuple[Keys, str]] = [
        (("evaluate", "subgroups", i), column) for i, column in enumerate(recipe.evaluate.subgroups)
    ]
    for n, baseline in enumerate(recipe.baselines):
        asked += [(("baselines", n, "columns", i), column) for i, column in enumerate(baseline.columns)]
    for keys, column in asked:
        if column not in known:
            raise RecipeError(f"the card has no column {column!r}; {nearest(column, known)}", where=recipe.where(*keys))
    for n, task in enumerate(recipe.tasks):
        for i, name in enumerate(task.classes):
            if task.name == "classification" and name not in card.class_names():
                keys = ("task", "classes", i) if len(recipe.tasks) == 1 else ("task", n, "classes", i)
                choices = nearest(name, card.class_names())
                raise RecipeError(f"the card has no class {name!r}; {choices}", where=recipe.where(*keys))


def _known_window(recipe: Recipe, card: DataCard) -> None:
    wanted, where = recipe.prepare.windows, recipe.where("prepare", "windows")
    known = ["auto", *pictures.NAMED_WINDOWS_HU, *card.windows]
    if isinstance(wanted, str) and wanted not in known:
        raise RecipeError(f"no window {wanted!r}; {nearest(wanted, known)}", where=where)
    if isinstance(wanted, dict) and set(wanted) != {"percentiles"}:
        raise RecipeError("expected a name, [low, high] or {percentiles: [low, high]}", where=where)
