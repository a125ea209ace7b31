"""The shortcut audit of a run: rows of probes on what should not carry the answer, and warnings where they come near
the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from medvfm.core.array import Array
from medvfm.core.metric_spec import MetricSpec, parse
from medvfm.core.protocols import Points, Record
from medvfm.core.result_row import ResultRow, as_records
from medvfm.core.task_capabilities import AuditedTask, AuditReader
from medvfm.engine import case_reading
from medvfm.engine.case_store import StoredCases
from medvfm.engine.context import RunContext
from medvfm.engine.evaluate import Judging
from medvfm.engine.fitting import Collected, FittedFold
from medvfm.engine.plan import Plan
from medvfm.io import cache

CHANCE = 0.5  # of the metric of an audit
NEAR = 0.5  # of the model's distance from chance
FAMILY = 0.05  # the chance that some probe is called a shortcut where none is, both sides together


@dataclass(frozen=True)
class Audit:
    """Rows as those of the metrics, each with its `probe` and what that looks at; and warnings."""

    rows: list[Record]
    warnings: list[str]


def audited(plan: Plan, fitted: Sequence[FittedFold], found: Collected, context: RunContext) -> Audit:
    """Probes of the first fold. Nothing of the model or of its numbers depends on them."""
    task, fold = plan.task, fitted[0]
    if not isinstance(task, AuditedTask):
        return Audit([], [])
    train, test = fold.true("train"), fold.true("test")
    with context.console.working("shortcut audit"):
        read = _read(task.audit_reader(plan.recipe.prepare, plan.card), [train, test], context)
        spec = parse(task.audit_metric, task.metrics)
        judging = Judging(task, [spec], plan.recipe.evaluate.confidence, plan.recipe.seed)
        of_model = judging.rows(found.test, Points())
        probes = list(task.audit(train, test, read))
        wide = strict(judging, len(probes))
        records = [
            {**record, "probe": name, "looks_at": what}
            for name, what, predictions in probes
            for record in as_records(judging.rows(predictions, Points()))
        ]
        doubted = [(what, wide.rows(predictions, Points())) for _, what, predictions in probes]
    return Audit(records, warnings(spec, of_model, doubted))


def strict(judging: Judging, probes: int) -> Judging:
    """Intervals so wide that all probes together rarely find a shortcut by chance (Bonferroni)."""
    return replace(judging, confidence=judging.confidence.model_copy(update={"level": 1 - FAMILY / max(probes, 1)}))


def _read(reader: AuditReader, parts: Sequence[StoredCases], context: RunContext) -> Mapping[str, Mapping[str, Array]]:
    """case_id to what the reader gives, from the cache where it is kept; cases that cannot be read are left out."""
    cases = [part.case(k) for part in parts for k in range(len(part))]
    kept = cache.ArrayCache("shortcuts")
    keyed = [(case, key) for case, key in case_reading.content_keys(cases, reader, False).readable if key]

    def named(key: str, part: str) -> str:
        return f"{reader.key()}-{key}-{part}"

    missing = [(case, key) for case, key in keyed if not all(kept.has(named(key, part)) for part in reader.parts)]
    items = case_reading.prepared([case for case, _ in missing], reader, context.workers, False)
    for (_, key), item in zip(missing, items, strict=True):
        if not isinstance(item, str):
            for part in reader.parts:
                kept.put(named(key, part), item[part])
    found = {}
    for case, key in keyed:
        stored = {part: kept.get(named(key, part)) for part in reader.parts}
        if all(array is not None for array in stored.values()):
            found[case.case_id] = {part: array for part, array in stored.items() if array is not None}
    return found


def warnings(
    spec: MetricSpec, model: Sequence[ResultRow], probes: Sequence[tuple[str, Sequence[ResultRow]]]
) -> list[str]:
    """A sentence for every probe that is surely better than chance, and comes near the model."""
    reached = {row.target: row.value for row in model}
    found = []
    for what, rows in probes:
        for row in rows:
            best = reached.get(row.target)
            if row.value is None or row.low is None or best is None or row.low <= CHANCE:
                continue
            if row.value - CHANCE >= NEAR * (best - CHANCE):
                of = f" for {row.target}" if len(reached) > 1 else ""
                found.append(
                    f"Possible shortcut{of}: {what} alone reached an {spec.name.upper()} of {row.value:.2f} on "
                    f"the test cases, where the model reached {best:.2f}."
                )
    return found
