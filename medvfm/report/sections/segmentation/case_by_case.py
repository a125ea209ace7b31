"""Every test case as a dot, structure by structure, beside the baselines."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from medvfm.report import markup, per_case, sentences, text
from medvfm.report.charts import swarm
from medvfm.report.run_view import View

TITLE = "Case by case"
SHOWN = ("dice", "iou", "nsd", "hd95_detected", "hd95", "assd_detected", "assd", "aji", "pq", "f1")
SAYS_LESS = {  # is not drawn where one of these is
    "iou": ("dice",),
    "hd95": ("hd95_detected",),
    "assd": ("hd95", "hd95_detected", "assd_detected"),
    "assd_detected": ("hd95", "hd95_detected"),
}
DISTANCES = ("hd95", "assd")
MOST_METRICS, MOST_STRUCTURES, MOST_BASELINES = 4, 12, 4


def build(view: View) -> Markup | None:
    structures, metrics = per_case.structures(view), chosen(per_case.metrics(view))
    if not structures or not metrics:
        return None
    shown = structures[:MOST_STRUCTURES]
    return markup.fragment(
        "case_by_case",
        tables=[_table(view, metric, shown) for metric in metrics],
        who="model" if view.part("model") else "predictions",
        baselines=bool(per_case.baselines(view)),
        cases=per_case.count(view),
        unit=view.unit,
        objects=view.task.get("kind") == "instances",
        distances=any(m.startswith(DISTANCES) for m in metrics),
        left=len(structures) - len(shown),
    )


def chosen(metrics: list[str]) -> list[str]:
    """Those that are drawn: overlap, surface and distance, each once."""
    bases = {m.partition("@")[0] for m in metrics}
    found: dict[str, str] = {}
    for metric in metrics:
        base = metric.partition("@")[0]
        if base in SHOWN and base not in found and not bases & set(SAYS_LESS.get(base, ())):
            found[base] = metric
    return list(found.values())[:MOST_METRICS]


def _table(view: View, metric: str, structures: list[str]) -> Markup:
    others = per_case.baselines(view)[:MOST_BASELINES]
    strips = []
    for structure in structures:
        strips.append(swarm.Strip(text.title(text.structure(structure))))
        strips += [_strip(view, metric, structure, baseline) for baseline in (None, *others)]
    distance = " of structures that were detected" if metric in DISTANCES else ""
    return swarm.table(
        f"{text.title(text.metric(metric))}{distance}",
        strips,
        first="Structure",
        value="Median (quartiles)",
    )


def _strip(view: View, metric: str, structure: str, baseline: str | None) -> swarm.Strip:
    found = per_case.values(view, metric, structure, baseline)
    detail = text.plural(len(found.value), "case")
    sizes = per_case.sizes(view, structure, baseline)
    if metric in DISTANCES and sizes is not None and sizes.missed.any():
        detected = ~np.isin(found.place, sizes.place[sizes.missed])
        found = per_case.Values(found.place[detected], found.value[detected])
        detail = f"{text.plural(len(found.value), 'case')}; {int((~detected).sum())} missed"
    if baseline is None:
        return swarm.Strip(sentences.label(view), found.value, detail)
    return swarm.Strip(sentences.baseline_label(view, baseline), found.value, detail, "square")
