"""What an interval is made from: a value, and what each patient adds to its error.

Donner and Zou 2012 (Statistical Methods in Medical Research 21, 347) recover the variance of a sum or a difference from
the intervals of its parts (MOVER): each bound lies as far from the value as the parts' bounds together, squares added
and correlations counted. For two shares of the same cases this is Newcombe's 10th method (Newcombe 1998, Statistics in
Medicine 17, 2635), for independent ones his hybrid score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from medvfm.statistics.interval import APPROXIMATE, Drawing, Interval, none


class Spread(Protocol):
    """A number of n cases of P patients, and how far chance moves it.

    value      the number
    influence  (P,) what each patient adds to its error, to first order; their squares sum to its variance
    """

    @property
    def value(self) -> float: ...

    @property
    def influence(self) -> np.ndarray: ...

    def interval(self, drawing: Drawing) -> Interval: ...

    def minus(self, other: Spread) -> Spread | None:
        """The difference to the same number of another model on the same cases; None where it has no interval."""
        ...


@dataclass(frozen=True, eq=False)
class Mixture:
    """weights[c] * parts[c].value, summed: a mean of shares, or the difference of two of anything.

    within  the least and the greatest value that there can be
    """

    parts: Sequence[Spread]
    weights: Sequence[float]
    within: tuple[float, float] = (-np.inf, np.inf)

    @property
    def value(self) -> float:
        return float(sum(w * p.value for w, p in zip(self.weights, self.parts, strict=True)))

    @property
    def influence(self) -> np.ndarray:
        return np.sum([w * p.influence for w, p in zip(self.weights, self.parts, strict=True)], axis=0)

    def interval(self, drawing: Drawing) -> Interval:
        found = [p.interval(drawing) for p in self.parts]
        if len(found) == 1 and self.weights[0] == 1:
            return found[0]
        lacking = next((i for i in found if not i.exists), None)
        if lacking is not None:
            return none(drawing.level, "mover", lacking.note or "one of its parts has no interval")
        value, together = self.value, _correlations([p.influence for p in self.parts])
        down, up = np.zeros(len(found)), np.zeros(len(found))
        for c, (w, part, own) in enumerate(zip(self.weights, self.parts, found, strict=True)):
            assert own.low is not None and own.high is not None
            below, above = part.value - own.low, own.high - part.value
            down[c], up[c] = (w * below, w * above) if w > 0 else (w * above, w * below)
        low = value - float(np.sqrt(max(down @ together @ down, 0.0)))
        high = value + float(np.sqrt(max(up @ together @ up, 0.0)))
        return Interval(
            max(low, self.within[0]), min(high, self.within[1]), drawing.level, "mover", _notes(found)
        ).around(value)

    def minus(self, other: Spread) -> Spread | None:
        return difference(self, other)


def difference(ours: Spread, theirs: Spread) -> Mixture:
    """Ours less theirs, on the same patients."""
    return Mixture([ours, theirs], [1.0, -1.0])


def _correlations(influences: Sequence[np.ndarray]) -> np.ndarray:
    """(C, C) correlations by patient; 0 beside a part that does not vary."""
    table = np.stack(influences)
    products = table @ table.T
    size = np.sqrt(np.diag(products))
    norms = np.outer(size, size)
    found = np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
    np.fill_diagonal(found, 1.0)
    return found


def _notes(found: Sequence[Interval]) -> str | None:
    """What the parts say, each once; of several that are approximate the first speaks for all."""
    said = list(dict.fromkeys(note for i in found if i.note for note in i.note.split("; ")))
    approximate = [note for note in said if note.startswith(APPROXIMATE)]
    return "; ".join([n for n in said if n not in approximate] + approximate[:1]) or None
