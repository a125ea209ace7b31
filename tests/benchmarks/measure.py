"""How two programs are timed beside each other on a machine that others use too."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

Work = Callable[[], Any]


@dataclass(frozen=True)
class Row:
    """One comparison; seconds. `ratio` is peer / medvfm, and `goal` the least that is wanted of it.

    equal           the outputs agree as `workload` says; looked at before anything is timed
    limit           seconds of what no program can leave out: reading the bytes, inflating them
    share_of_limit  limit / medvfm: 1 would be as fast as can be
    """

    name: str
    workload: str
    peer_name: str
    medvfm: float
    peer: float
    goal: float | None
    equal: bool
    limit: float | None = None
    limit_name: str | None = None

    @property
    def ratio(self) -> float:
        return self.peer / self.medvfm

    @property
    def share_of_limit(self) -> float | None:
        return None if self.limit is None else self.limit / self.medvfm

    def as_data(self) -> dict[str, Any]:
        return asdict(self) | {"ratio": self.ratio, "share_of_limit": self.share_of_limit}


def fastest(
    works: dict[str, Work], rounds: int, fewer: dict[str, int] | None = None, *, turn_s: float = 0.5
) -> dict[str, float]:
    """Seconds of each, the least of several rounds that go through all by turns: A B C A B C ...

    What else the machine does only ever adds time, so that the least is nearest to the work itself; by turns, so that
    a busy minute does not fall on one alone. A turn lasts `turn_s` or one repetition, whichever is longer. `fewer`
    rounds for those that take long.
    """
    best = dict.fromkeys(works, float("inf"))
    for round_ in range(rounds):
        for name, work in works.items():
            if round_ >= (fewer or {}).get(name, rounds):
                continue
            ends = time.perf_counter() + turn_s
            while True:
                gc.collect()
                start = time.perf_counter()
                result = work()
                best[name] = min(best[name], time.perf_counter() - start)
                del result
                if time.perf_counter() >= ends:
                    break
    return best
