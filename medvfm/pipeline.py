"""From a recipe to a run: the only place that resolves names. What it finds goes down to the engine as objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from medvfm import lookup
from medvfm.core.data_card import DataCard
from medvfm.core.errors import RecipeError, nearest
from medvfm.core.protocols import Method
from medvfm.core.recipe import Adapter, Baseline, Prepare, Recipe, Stage, Train
from medvfm.engine import baselines, data_check, experiment, external, finished, learners, loading
from medvfm.engine import evaluate as judging
from medvfm.engine.experiment import Plan
from medvfm.engine.learners import Surroundings
from medvfm.io import pictures, roots, run_directory, tables
from medvfm.io.console import Console
from medvfm.io.run_directory import Run
from medvfm.report import html

DEFAULT_METRICS = ("auroc", "auprc", "brier", "ece")
Keys = tuple[str | int, ...]


def plan(recipe: Recipe) -> Plan:
    """Resolve and check everything that can be known before data or weights are touched."""
    if len(recipe.tasks) > 1:
        raise RecipeError("no adapter answers several tasks in one run yet", where=recipe.where("task"))
    task = recipe.tasks[0]
    question = lookup.module("tasks", task.name, recipe.where("task", "name")).build(task, recipe.where("task"))
    module = lookup.module("adapters", recipe.adapter.name, recipe.where("adapter", "name"))
    stages = _stages(recipe.adapter, recipe.train, module)
    methods = [_method(module, recipe, name, ("adapter",), task.name, given) for name, given in stages]
    if len(stages) > 1 and any(m.fits != "weights" for m in methods):
        raise RecipeError("each of several stages must train weights", where=recipe.where("adapter", "stages"))
    names = task.metrics or recipe.evaluate.metrics or DEFAULT_METRICS
    wanted = [judging.parse(n, where=recipe.where("evaluate", "metrics", i)) for i, n in enumerate(names)]
    select = judging.parse(recipe.select.metric or "auroc", where=recipe.where("select", "metric"))
    card = lookup.card(recipe.data.card, recipe.where("data", "card"))
    card.options_with(recipe.data.options, recipe.where("data", "options"))
    _known_columns(recipe, card)
    _known_window(recipe, card)
    judge = judging.Judge(wanted, question.exclusive, recipe.evaluate.confidence, recipe.seed)
    make = _maker(recipe, recipe.adapter, module, question, card, stages, methods, select)
    others = {
        name: _baseline(recipe, baseline, question, card, ("baselines", number), select, make)
        for number, (name, baseline) in enumerate(_named(recipe.baselines))
    }
    return Plan(recipe, card, question, judge, select, methods[-1], stages[-1][0], make, others)


def _stages(adapter: Adapter, train: Train, module: Any) -> list[tuple[str, Train]]:
    stages = adapter.stages or (Stage(method=adapter.method or module.DEFAULT_METHOD, train=train),)
    return [(stage.method, stage.train) for stage in stages]


def _method(module: Any, recipe: Recipe, name: str, keys: Keys, task: str, train: Train) -> Method:
    where = recipe.where(*keys, "method")
    if name not in module.METHODS:
        raise RecipeError(f"no method {name!r}; {nearest(name, module.METHODS)}", where=where)
    method: Method = module.METHODS[name]
    if task not in method.tasks:
        raise RecipeError(f"{name} answers {', '.join(sorted(method.tasks))}, not {task}", where=where)
    unused = sorted(set(train.given()) - method.uses)
    if unused:
        uses = f"it uses {', '.join(sorted(method.uses))}" if method.uses else "it uses nothing of `train`"
        raise RecipeError(f"{name} has no use for {unused[0]!r}; {uses}", where=recipe.where("train", unused[0]))
    if method.prompted and recipe.adapter.prompts is None:
        raise RecipeError(f"{name} needs prompts", where=where, remedy="say adapter.prompts.from")
    return method


def _maker(
    recipe: Recipe,
    adapter: Adapter,
    module: Any,
    question: Any,
    card: DataCard,
    stages: Sequence[tuple[str, Train]],
    methods: Sequence[Method],
    select: judging.Wanted,
) -> Callable[[], Any]:
    """Makes the learner when the run needs it: only then are weights loaded."""

    module.refuse(adapter, [name for name, _ in stages], recipe.prepare)

    def make() -> Any:
        (method, train), *_ = stages
        built = module.build(
            adapter,
            question,
            method,
            recipe.prepare,
            windows=card.windows,
            read=card.reading,
            train=train,
            seed=recipe.seed,
        )
        if methods[0].fits == "features":
            return learners.FeatureLearner(built, recipe.seed)
        settings = [(name, module.training(name, adapter.weights, given)) for name, given in stages]
        return learners.TrainedLearner(built, settings, question.kind, select.name, select.metric.better, recipe.seed)

    return make


def _baseline(
    recipe: Recipe,
    baseline: Baseline,
    question: Any,
    card: DataCard,
    keys: Keys,
    select: judging.Wanted,
    model: Callable[[], Any],
) -> Callable[[], Any]:
    where = recipe.where(*keys)
    if baseline.columns and baseline.name not in ("attributes", "image_and_attributes"):
        raise RecipeError(f"{baseline.name} takes no columns", where=recipe.where(*keys, "columns"))
    if baseline.name == "prevalence":
        return learners.Prevalence
    if baseline.name == "intensity":
        voxels = baselines.Intensity(recipe.prepare, card.windows, card.reading)
        return lambda: learners.ProbeBaseline(voxels, (), None, question.kind, where)
    if baseline.name in ("attributes", "image_and_attributes"):
        if not baseline.columns:
            raise RecipeError(f"{baseline.name} needs columns", where=where, remedy="as in columns: [age, sex]")
        if baseline.name == "attributes":
            return lambda: learners.ProbeBaseline(None, baseline.columns, None, question.kind, where)
        module = lookup.module("adapters", recipe.adapter.name, where)
        frozen = recipe.adapter.model_copy(update={"method": "linear_probe", "stages": None})
        stages = [("linear_probe", Train())]
        make = _maker(recipe, frozen, module, question, card, stages, [module.METHODS["linear_probe"]], select)
        return lambda: learners.ProbeBaseline(None, baseline.columns, make(), question.kind, where)
    choices = [*baselines.BUILT_IN, *lookup.modules("adapters")]
    if baseline.name not in choices:
        raise RecipeError(
            f"no baseline {baseline.name!r}; {nearest(baseline.name, choices)}", where=recipe.where(*keys, "name")
        )
    module = lookup.module("adapters", baseline.name, recipe.where(*keys, "name"))
    stages = _stages(baseline, baseline.train, module)
    methods = [_method(module, recipe, name, keys, question.name, given) for name, given in stages]
    return _maker(recipe, baseline, module, question, card, stages, methods, select)


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
            if name not in card.class_names():
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


def run(
    recipe: Recipe,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    device: str | None = None,
    strict: bool = False,
    console: Console | None = None,
) -> Run:
    """Everything from the recipe to report.html; `out` defaults to runs/TITLE-HASH."""
    console = console or Console()
    planned = plan(recipe)
    root = roots.locate(planned.card, recipe.data.root, recipe.data.options, console)
    table = tables.read_cases(planned.card, root, layout=recipe.data.layout)
    directory = Path(out) if out else Path("runs") / f"{_slug(recipe.title)}-{recipe.digest()}"
    run_directory.open_new(directory, recipe.digest(), resume=resume)
    experiment.run(planned, table, directory, _surroundings(directory / "checkpoint", device, strict, console))
    html.render(directory)
    return Run(directory)


def check(recipe: Recipe, *, ready: bool, console: Console | None = None) -> list[str]:
    """What can be known before training, in lines; with `ready`, that data and weights are here as well."""
    planned = plan(recipe)
    lines = [f"{recipe.title}: {recipe.adapter.name} {planned.method_name} on {planned.card.name}, as it should be"]
    if ready:
        console = console or Console()
        root = roots.locate(planned.card, recipe.data.root, recipe.data.options, console)
        table = tables.read_cases(planned.card, root, layout=recipe.data.layout)
        lines.append(f"data: {len(table.cases)} cases, layout {table.layout}, {len(table.left_out)} left out")
        record = planned.learner().adapter.record()
        lines.append(f"weights: {record['weights']}, sha256 {str(record.get('sha256'))[:12]}")
    return lines


def predict(
    directory: Path,
    inputs: Sequence[Path],
    out: Path,
    *,
    device: str | None = None,
    strict: bool = False,
    console: Console | None = None,
) -> tuple[Path, list[tuple[str, str]]]:
    """A finished run's answers for new images, as predictions.csv; and what could not be read."""
    folder = directory / "weights"
    run_directory.read_record(directory)
    found = finished.describe(folder)
    recipe = finished.recipe_of(found)
    planned = plan(recipe)
    adapters = finished.restore(folder, found, lambda: planned.learner().adapter)
    around = _surroundings(out, device, strict, console or Console())
    table, left_out = finished.predict(adapters, found, finished.new_cases(inputs), around)
    path = out / "predictions.csv"
    run_directory.write_table(path, table)
    return path, left_out


def check_data(card: str, root: str | None, layout: str | None) -> tuple[data_check.Findings, str]:
    """Read every case of a card; what was found, and a line that sums it up."""
    found = lookup.card(card)
    console = Console()
    table = tables.read_cases(found, roots.locate(found, root, {}, console), layout=layout)
    findings = data_check.check(found, table, console, loading.default_workers("cpu"))
    patients = len({c.owner for c in table.cases})
    return findings, (
        f"{found.name}, layout {table.layout}: {len(findings.cases)} cases of {patients} patients read, "
        f"{len(findings.errors)} errors, {len(findings.warnings)} warnings"
    )


def report(directory: Path) -> Path:
    """Render report.html again."""
    run_directory.read_record(directory)
    return html.render(directory)


def _surroundings(checkpoint: Path, device: str | None, strict: bool, console: Console) -> Surroundings:
    chosen = _device(device)
    return Surroundings(checkpoint, chosen, loading.default_workers(chosen), strict, console)


def _device(asked: str | None) -> str:
    import torch

    if asked is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked.startswith("cuda") and not torch.cuda.is_available():
        raise RecipeError("no CUDA device is here", where="--device", remedy="`medvfm doctor` shows what is")
    try:
        return str(torch.device(asked))
    except RuntimeError:
        raise RecipeError(f"no device {asked!r}; one of: cpu, cuda, cuda:0", where="--device") from None


def _slug(title: str) -> str:
    words = "".join(c.lower() if c.isascii() and c.isalnum() else " " for c in title).split()
    return "-".join(words)[:60].strip("-") or "run"


def evaluate(
    task: str,
    *,
    truth: external.Table,
    predictions: external.Table,
    metrics: Sequence[str] = ("auroc", "auprc"),
    out: str | Path | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Score any model's output, matched by case_id; the rows of run.json as a table. With `out`, a report as well."""
    lookup.module("tasks", task, "task")
    record, table = external.evaluate_scores(truth, predictions, metrics, **options)
    if out is not None:
        directory = Path(out)
        run_directory.open_new(directory, record["hash"], resume=False)
        run_directory.write_table(directory / "predictions.parquet", table)
        run_directory.write_json(directory / run_directory.RECORD, record)
        html.render(directory)
    return pd.DataFrame(record["metrics"])


def load_adapter(name: str, weights: str | None = None, **prepare: Any) -> Any:
    """An adapter without a task, for scripts: `load_adapter("dinov2", weights="embedded").encode([image])`.

    `prepare` takes the keys of a recipe's section of that name, such as size=224 or slices={"pool": "max"}.
    """
    return lookup.module("adapters", name, "load_adapter").load(weights, Prepare.model_validate(prepare))


def methods() -> list[tuple[str, str]]:
    """Adapter and method, with what it does."""
    tables = [(name, lookup.module("adapters", name, name).METHODS) for name in lookup.modules("adapters")]
    return [(f"{name} {method}", entry.summary) for name, table in tables for method, entry in table.items()]


def metrics() -> list[tuple[str, str]]:
    """Every metric as a recipe writes it."""
    return [
        (f"{name.partition('@')[0]}@{m.parameter}=..." if m.parameter else name, m.summary)
        for name, m in judging.METRICS.items()
    ]
