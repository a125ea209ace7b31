"""The pictures of a segmentation report: best, median and worst cases, truth and prediction outlined."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medvfm.core.protocols import Preparer, Record, Seen
from medvfm.io.rendering import overlays
from medvfm.io.run_directory import write_bytes
from medvfm.models.inputs.slice_stacks import intensity_rule
from medvfm.tasks.per_case import PerCaseValues

EACH = 2  # of the best, of those around the median, and of the worst


def write(test: PerCaseValues, metric: str, better: str, seen: Seen) -> list[Record]:
    """Pictures under previews/, and what the report says of each.

    Cases are ranked by the mean of `metric` over targets; those in which it does not exist are not shown. Names of the
    files hold no patient data.
    """
    with np.errstate(invalid="ignore"):
        known = ~np.isnan(test.values[metric])
        scores = np.where(known, test.values[metric], 0).sum(axis=1) / known.sum(axis=1)
    ranked = [int(r) for r in np.argsort(scores, kind="stable") if known[r].any()]
    if better == "lower":
        ranked.reverse()
    found: list[Record] = []
    for kind, rows in _chosen(ranked).items():
        for row in rows:
            name = f"{len(found):03d}.png"
            write_bytes(seen.folder / "previews" / name, _picture(seen, row))
            found.append(
                {
                    "file": f"previews/{name}",
                    "kind": kind,
                    "metric": metric,
                    "score": float(scores[row]),
                    "caption": f"case {row + 1} of {len(test.ids)} test cases",
                }
            )
    return found


def _chosen(ranked: Sequence[int]) -> dict[str, list[int]]:
    """Worst first; no case is shown twice."""
    each = min(EACH, len(ranked) // 3) or 1
    middle = max(0, (len(ranked) - each) // 2)
    taken: set[int] = set()
    found: dict[str, list[int]] = {}
    for kind, rows in (
        ("worst", ranked[:each]),
        ("median", ranked[middle : middle + each]),
        ("best", ranked[::-1][:each]),
    ):
        found[kind] = [r for r in rows if r not in taken]
        taken |= set(rows)
    return found


def _picture(seen: Seen, place: int) -> bytes:
    preparer: Preparer = seen.preparer
    image = preparer.images(seen.true.case(place))[0]
    rule = intensity_rule(preparer.prepare, preparer.windows)
    truth, mask = np.asarray(seen.true.truth(place)), seen.answer(place)
    return overlays.png(overlays.three_planes(image, truth, mask, intensity=rule))
