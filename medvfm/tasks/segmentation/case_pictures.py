"""The pictures of a segmentation report: worst, median, best and random cases, cut where they are most wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medvfm.core.array import Array
from medvfm.core.image import Image
from medvfm.core.protocols import Preparer, Record, Seen
from medvfm.io.rendering import overlays, slice_strips, windowing
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
    for chosen, rows in _chosen(ranked).items():
        for row in rows:
            name = f"{len(found):03d}.png"
            worst = None if kind == "instances" else _worst_structure(test, metric, better, row)
            look = _Look.of(seen, row, worst)
            write_bytes(seen.folder / "previews" / name, look.planes(classes, kind))
            told = (
                ""
                if worst is None or len(classes) == 1
                else f", cut where {classes[worst].replace('_', ' ')} is most wrong"
            )
            found.append(
                {
                    "file": f"previews/{name}",
                    "kind": chosen,
                    "place": row + 1,
                    "metric": metric,
                    "score": float(scores[row]),
                    "caption": f"case {row + 1} of {len(test.ids)} test cases{told}",
                }
                | look.slices(seen.folder, name.removesuffix(".png"))
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


@dataclass(frozen=True, eq=False)
class _Look:
    """A case as it is shown: image, truth and prediction, and the structure that it is about, from 1."""

    image: Image
    truth: Array
    mask: Array
    intensity: windowing.Rule
    focus: int | None

    @classmethod
    def of(cls, seen: Seen, place: int, worst: int | None) -> _Look:
        preparer: Preparer = seen.preparer
        image = preparer.images(seen.true.case(place))[0]
        rule = intensity_rule(preparer.prepare, preparer.windows)
        truth, mask = np.asarray(seen.true.truth(place)), np.asarray(seen.answer(place))
        return cls(image, truth, mask, rule, None if worst is None else worst + 1)

    @property
    def centre(self) -> tuple[int, int, int] | None:
        return overlays.worst_place(self.truth, self.mask, self.focus)

    def planes(self, classes: Sequence[str], kind: str) -> bytes:
        """Three planes through the worst place."""
        named = {n: name.replace("_", " ") for n, name in enumerate(classes, 1)} if kind != "instances" else {}
        names = named if 1 < len(named) <= MOST_NAMED else None
        drawn = overlays.three_planes(
            self.image, self.truth, self.mask, self.centre, intensity=self.intensity, names=names, focus=self.focus
        )
        return overlays.png(drawn)

    def slices(self, folder: Path, name: str) -> Record:
        """All slices of a volume as two files, and what a viewer must know of them; nothing for a picture."""
        found = slice_strips.strips(self.image, self.truth, self.mask, self.centre, intensity=self.intensity)
        if found is None:
            return {}
        files = {part: f"previews/{name}-{part}.webp" for part in ("picture", "labels")}
        write_bytes(folder / files["picture"], found.picture)
        write_bytes(folder / files["labels"], found.labels)
        return {"slices": files | found.facts() | {"structure": self.focus}}
