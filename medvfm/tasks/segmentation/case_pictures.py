"""The pictures of a segmentation report: worst, median, best and random cases, cut where they are most wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medvfm.core.protocols import Preparer, Record, Seen
from medvfm.io.rendering import overlays
from medvfm.io.run_directory import write_bytes
from medvfm.models.inputs.slice_stacks import intensity_rule
from medvfm.tasks.per_case import PerCaseValues

EACH = 2  # of the worst, of those around the median, of the best, and of those that chance chose
SEED = 0
MOST_NAMED = 7  # structures with a colour of their own; more colours than the palette has tell nothing apart


def write(test: PerCaseValues, metric: str, better: str, seen: Seen, classes: Sequence[str], kind: str) -> list[Record]:
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
            worst = None if kind == "instances" else _worst_structure(test, metric, better, row)
            write_bytes(seen.folder / "previews" / name, _picture(seen, row, classes, kind, worst))
            told = (
                ""
                if worst is None or len(classes) == 1
                else f", cut where {classes[worst].replace('_', ' ')} is most wrong"
            )
            found.append(
                {
                    "file": f"previews/{name}",
                    "kind": kind,
                    "metric": metric,
                    "score": float(scores[row]),
                    "caption": f"case {row + 1} of {len(test.ids)} test cases{told}",
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
    others = [r for r in np.random.default_rng(SEED).permutation(sorted(ranked)).tolist() if r not in taken]
    return found | ({"random": others[:EACH]} if others else {})


def _worst_structure(test: PerCaseValues, metric: str, better: str, row: int) -> int | None:
    """The structure that the case is worst in: missed or drawn where there is none, else by the metric."""
    truth, predicted = (test.values[name][row] for name in ("truth_size", "predicted_size"))
    wholly = np.flatnonzero((truth > 0) != (predicted > 0))
    if len(wholly):
        return int(wholly[np.argmax(np.maximum(truth, predicted)[wholly])])
    values = test.values[metric][row] * (1 if better == "lower" else -1)
    return None if np.isnan(values).all() else int(np.nanargmax(values))


def _picture(seen: Seen, place: int, classes: Sequence[str], kind: str, worst: int | None) -> bytes:
    preparer: Preparer = seen.preparer
    image = preparer.images(seen.true.case(place))[0]
    rule = intensity_rule(preparer.prepare, preparer.windows)
    truth, mask = np.asarray(seen.true.truth(place)), seen.answer(place)
    named = {n: name.replace("_", " ") for n, name in enumerate(classes, 1)} if kind != "instances" else {}
    names = named if 1 < len(named) <= MOST_NAMED else None
    centre = overlays.worst_place(truth, np.asarray(mask), None if worst is None else worst + 1)
    focus = None if worst is None else worst + 1
    return overlays.png(overlays.three_planes(image, truth, mask, centre, intensity=rule, names=names, focus=focus))
