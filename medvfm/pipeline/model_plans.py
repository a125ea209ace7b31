"""Plans of models: an adapter with its stages from a recipe, the baselines beside it, and what each of them refuses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import ModuleType

from medvfm import lookup
from medvfm.core.data_card import DataCard
from medvfm.core.errors import RecipeError, nearest
from medvfm.core.metric_spec import MetricSpec, parse
from medvfm.core.protocols import Adapter, BaselineContext, Method, Reuse, Task
from medvfm.core.recipe import Recipe
from medvfm.core.recipe_sections import AdapterSettings, Baseline, Data, Stage, Train
from medvfm.core.task_capabilities import MakingTask
from medvfm.engine.plan import LOSS, ModelPlan, StagePlan
from medvfm.io.console import Console
from medvfm.io.dataset import cases as tables
from medvfm.io.dataset import roots
from medvfm.io.dataset.cases import CaseTable
from medvfm.models import catalogue
from medvfm.pipeline import pretraining
from medvfm.pipeline.used_keys import STAGE_DATA, Keys, no_use

# An adapter without training, the fitted model itself, or the recipe's adapter to be trained under other settings.
BuiltIn = Callable[[], Adapter] | Reuse | AdapterSettings
ADAPTER_KEYS = ("rank", "alpha", "blocks", "prompts")  # what only some methods of some adapters use


@dataclass(frozen=True)
class ModelPlanner:
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
                raise RecipeError(no_use(name, f"train.{key}", method.uses[task], task), where=recipe.where(*at, key))
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
                raise RecipeError(no_use(who, f"adapter.{key}", used, task), where=self.recipe.where(*keys, key))

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
