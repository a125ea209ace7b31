"""What several seeds do to each number: the mean, the seeds' own numbers, and both parts of the error."""

from __future__ import annotations

from markupsafe import Markup

from medvfm.report import markup, text
from medvfm.report.run_view import Row, View

TITLE = "Seeds"


def build(view: View) -> Markup | None:
    seeds = [str(seed) for seed in view.part("repeats", "seeds") or []]
    rows = [r for r in view.rows() if r.get("value") is not None]
    if not seeds or not rows:
        return None
    several = len({r.get("target") for r in rows}) > 1
    return markup.fragment(
        "repeats",
        seeds=text.listed(seeds),
        first=seeds[0],
        level=text.level(rows[0]),
        rows=[_row(row, several) for row in rows],
    )


def sentences(view: View) -> list[str]:
    """For the Methods."""
    seeds = view.part("repeats", "seeds") or []
    if not seeds:
        return []
    return [
        f"The model was trained anew with {len(seeds)} seeds on the same split; numbers are means over seeds, "
        "and their intervals hold the choice of patients and that of seeds, crossed as cases and readers are "
        "(Obuchowski and Rockette 1995; degrees of freedom of Hillis 2007)."
    ]


def _row(row: Row, several: bool) -> dict[str, str]:
    named = text.title(text.metric(row["metric"]))
    parts = [str(part) for part in str(row.get("note") or "").split("; ") if part.startswith("mean of ")]
    return {
        "name": f"{named}, {text.structure(row['target'])}" if several and row.get("target") else named,
        "value": text.value(row),
        "interval": text.interval(row),
        "range": parts[0].partition(", ")[2] if parts else "the same",
        "sampling": text.compact(row["sampling_error"]) if row.get("sampling_error") is not None else "–",
        "seeds": text.compact(row["seed_error"]) if row.get("seed_error") is not None else "–",
    }
