"""What a run needs, resolved and checked; the engine looks no name up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from medvfm.core.data_card import DataCard
from medvfm.core.metric_spec import Metric, MetricSpec
from medvfm.core.protocols import Adapter, Method, Record, Reuse, Task
from medvfm.core.recipe import Recipe
from medvfm.io.dataset import case_names
from medvfm.io.dataset.cases import CaseTable

LOSS = MetricSpec("loss", Metric(lambda truth, given: given, "answer", "lower", summary="the training loss"), None)


@dataclass(frozen=True)
class StagePlan:
    """One step of adapting.

    settings  of the training loop, every default filled in; empty where the method trains nothing by it
    options   what `adapter.options` change for this stage
    card, table  data of the stage's own: its cases train this stage only
    """

    method_name: str
    method: Method
    settings: Mapping[str, object] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=dict)
    card: DataCard | None = None
    table: Callable[[], CaseTable] | None = None


@dataclass(frozen=True)
class ModelPlan:
    """An adapter to be made when the run needs it (only then are weights loaded), and the stages that it goes through.

    Built-in baselines have no stages: whether they are fitted on features or count over cases shows in the adapter.

    facts  what run.json says of it besides the adapter's own record: adapter, method, summary
    """

    make: Callable[[], Adapter]
    stages: Sequence[StagePlan]
    facts: Record = field(default_factory=dict)


@dataclass(frozen=True)
class TaskPlan:
    """A task, the metrics that it is judged by, and its baselines by the name of their rows."""

    task: Task
    specs: Sequence[MetricSpec]
    baselines: Mapping[str, ModelPlan | Reuse] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """tasks: the first is fitted, all are answered. further: the first of these tasks is a further one of a run. again:
    the same with further seeds, whose split is that of this plan."""

    recipe: Recipe
    card: DataCard
    tasks: Sequence[TaskPlan]
    select: MetricSpec
    model: ModelPlan

    @property
    def task(self) -> Task:
        return self.tasks[0].task

    further: bool = False
    again: Sequence[Plan] = ()

    def of(self, entry: TaskPlan) -> Plan:
        """This plan with a further task alone: its rows bear its name, baselines are selected by its first metric."""
        return replace(self, tasks=[entry], select=entry.specs[0], further=True, again=())

    @property
    def named(self) -> str | None:
        """The task that rows name; None where there is only one."""
        return self.task.name if self.further or len(self.tasks) > 1 else None

    @property
    def fits(self) -> bool:
        """The model is fitted for this task."""
        return not self.further

    @property
    def baselines(self) -> Mapping[str, ModelPlan | Reuse]:
        """Those of the first task."""
        return self.tasks[0].baselines

    def shown(self, case_id: str) -> str:
        """What a case is called where others may see it."""
        return case_names.names([case_id], safe=self.safe_ids)[case_id]

    @property
    def safe_ids(self) -> bool:
        """A case_id of this card may stand in files that others see."""
        return self.card.ids == "safe"

    @property
    def specs(self) -> Sequence[MetricSpec]:
        return self.tasks[0].specs
