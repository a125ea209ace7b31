"""What few training cases of each class reach, as a curve."""

from __future__ import annotations

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from medvfm.report import markup, text
from medvfm.report.charts import svg
from medvfm.report.run_view import Row, View, group_name

TITLE = "Few training cases"
SHOTS = "shots"
SIZE_IN = (4.3, 2.9)


def build(view: View) -> Markup | None:
    main = view.primary
    if main is None:
        return None
    rows = [r for r in view.rows(group=..., metric=main["metric"], target=main["target"]) if group_name(r) == SHOTS]
    points = sorted(((_shots(r), r) for r in rows), key=lambda point: point[0])
    known = [(n, r) for n, r in points if r.get("value") is not None]
    if not known:
        return None
    named = text.title(text.metric(main["metric"]))

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        x, y = [n for n, _ in known], [r["value"] for _, r in known]
        banded = [(n, r) for n, r in known if r.get("low") is not None and r.get("high") is not None]
        axes.fill_between(
            [n for n, _ in banded], [r["low"] for _, r in banded], [r["high"] for _, r in banded],
            color=svg.BLUE, alpha=0.16, lw=0,
        )  # fmt: skip
        axes.plot(x, y, color=svg.BLUE, lw=1.8, marker="o", ms=4.5)
        if main.get("value") is not None:
            axes.axhline(main["value"], color=svg.INK, lw=1.1, ls=(0, (5, 3)))
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(x))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(x, [str(n) for n in x])
        axes.set(xlabel="Training cases of each class", ylabel=named)

    alt = f"{named} with {known[0][0]} to {known[-1][0]} training cases of each class: " + ", ".join(
        f"{n}: {text.value(r)}" for n, r in known
    )
    return markup.fragment(
        "few_cases",
        figure=svg.draw("few_cases", alt, SIZE_IN, paint),
        metric=named,
        points=[{"shots": n, "row": r} for n, r in points],
        whole=main,
        level=text.level(main),
    )


def _shots(row: Row) -> int:
    return int(str(row["group"]).partition("=")[2])
