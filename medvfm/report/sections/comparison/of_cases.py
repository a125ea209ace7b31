"""The difference of every case, where numbers are means of values of cases."""

from __future__ import annotations

from markupsafe import Markup

from medvfm.report import text
from medvfm.report.charts import swarm
from medvfm.report.run_view import View

TITLE = "Differences case by case"
MOST = 12  # strips


def build(view: View) -> Markup | None:
    table = view.measures
    if table is None:
        return None
    metric = f"{view.part('compared', 'primary', 'metric')}{text.DIFFERENCE}"
    parts = table[(table["metric"] == metric) & table["value"].notna()].groupby(
        ["target", "model", "baseline"], sort=False
    )
    strips = [
        swarm.Strip(
            f"{model} minus {other}" + (f", {text.structure(target)}" if parts.ngroups > 1 else ""),
            part["value"].to_numpy(float),
            detail=f"{(part['value'] > 0).sum()} cases above 0, {(part['value'] < 0).sum()} below",
        )
        for (target, model, other), part in parts
    ][:MOST]
    if not strips:
        return None
    named = text.metric(metric.removesuffix(text.DIFFERENCE))
    return swarm.table(
        f"Difference in {named} of every case", strips, first="Model minus other", value="Median (quartiles)"
    )
