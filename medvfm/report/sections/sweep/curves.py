"""Learning curves: the first metric by number of training patients, a line and a band a model."""

from __future__ import annotations

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from medvfm.report import markup, text
from medvfm.report.charts import svg
from medvfm.report.run_view import View
from medvfm.report.sections.sweep import words

TITLE = "Learning curves"
SIZE_IN = (6.4, 3.8)
COLOURS = (svg.BLUE, svg.VERMILION, svg.GREEN, svg.ORANGE, svg.PURPLE, svg.SKY)
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))
MARKS = "osD^vP"


def build(view: View) -> Markup | None:
    found = words.curves(view)
    if not found:
        return None
    named = text.title(text.metric(str(view.part("sweep", "metric"))))
    value, _ = words.reach(view, found)

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for number, curve in enumerate(found):
            colour = COLOURS[number % len(COLOURS)]
            x = [int(r["train_patients"]) for r in curve.rows]
            banded = [r for r in curve.rows if r.get("low") is not None and r.get("high") is not None]
            axes.fill_between(
                [int(r["train_patients"]) for r in banded], [r["low"] for r in banded], [r["high"] for r in banded],
                color=colour, alpha=0.1, lw=0,
            )  # fmt: skip
            axes.plot(
                x, [r["value"] for r in curve.rows], color=colour, lw=1.7, marker=MARKS[number % len(MARKS)], ms=4.5,
                ls=DASHES[number % len(DASHES)], label=f"{number + 1}",
            )  # fmt: skip
        axes.axhline(value, color=svg.MUTED, lw=0.9, ls=(0, (1, 2)))
        axes.set_xscale("log")
        sizes = sorted({int(r["train_patients"]) for curve in found for r in curve.rows})
        axes.xaxis.set_major_locator(FixedLocator(sizes))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(sizes, [str(n) for n in sizes])
        axes.set(xlabel="Training patients", ylabel=named)
        axes.legend(title="Model", frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))

    alt = f"{named} by training patients: " + "; ".join(
        f"{curve.name}: " + ", ".join(f"{r['train_patients']}: {text.value(r)}" for r in curve.rows) for curve in found
    )
    return markup.fragment(
        "learning_curves",
        figure=svg.draw("learning_curves", alt, SIZE_IN, paint),
        metric=named,
        names=[curve.name for curve in found],
        reach=text.number(value),
        level=text.level(found[0].last),
    )
