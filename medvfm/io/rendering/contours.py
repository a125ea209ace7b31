"""Contours of label maps: lines along the edges of pixels, exact at any magnification."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_Corner = tuple[int, int]


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Closed lines around the regions of a mask (H, W) and around their holes: each (n + 1, 2) corners (x, y).

    Corner (x, y) is the upper left one of the pixel in column x and row y. A line goes from corner to corner along the
    edge of one pixel, the region on its right, and ends where it began. Regions that touch at a corner only have lines
    of their own.
    """
    next_of = _edges(mask)
    lines = []
    while next_of:
        start = at = next(iter(next_of))
        line, came = [start], (0, 0)
        while True:
            ends = next_of[at]
            end = ends[0] if len(ends) == 1 else _clockwise(at, came, ends)
            ends.remove(end)
            if not ends:
                del next_of[at]
            line.append(end)
            at, came = end, (end[0] - at[0], end[1] - at[1])
            if at == start:
                break
        lines.append(np.array(line))
    return lines


def _edges(mask: np.ndarray) -> dict[_Corner, list[_Corner]]:
    """Corner to the corners that follow it: edges of pixels with the inside to their right."""
    inside = np.pad(np.asarray(mask, bool), 1)
    across, down = inside[:-1, 1:-1] != inside[1:, 1:-1], inside[1:-1, :-1] != inside[1:-1, 1:]
    found: dict[_Corner, list[_Corner]] = {}
    for y, x in np.argwhere(across).tolist():  # between pixel (x, y - 1) and (x, y)
        begin, end = ((x, y), (x + 1, y)) if inside[y + 1, x + 1] else ((x + 1, y), (x, y))
        found.setdefault(begin, []).append(end)
    for y, x in np.argwhere(down).tolist():  # between pixel (x - 1, y) and (x, y)
        begin, end = ((x, y + 1), (x, y)) if inside[y + 1, x + 1] else ((x, y), (x, y + 1))
        found.setdefault(begin, []).append(end)
    return found


def _clockwise(at: _Corner, came: _Corner, ends: list[_Corner]) -> _Corner:
    """Where two regions touch at a corner: the turn to the right, which stays on the own region."""
    right = (at[0] - came[1], at[1] + came[0])
    return right if right in ends else ends[0]


def not_beside(line: np.ndarray, others: np.ndarray) -> list[np.ndarray]:
    """The parts of a closed line that have no pixel of the mask `others` (H, W) on their left: for shared borders."""
    begin, step = line[:-1], np.diff(line, axis=0)
    left = np.minimum(begin, line[1:])  # the pixel to the right of a downward and below a leftward edge
    left = left - np.stack([step[:, 1] < 0, step[:, 0] > 0], axis=1)
    height, width = others.shape
    within = (left >= 0).all(axis=1) & (left < [width, height]).all(axis=1)
    kept = ~(within & others[np.where(within, left[:, 1], 0), np.where(within, left[:, 0], 0)])
    if kept.all():
        return [line]
    first = int(np.argmin(kept))  # begin where an edge is left out, so that no part is cut in two
    kept, begin, after = (np.roll(a, -first, axis=0) for a in (kept, begin, line[1:]))
    ends = np.flatnonzero(np.diff(kept.astype(int), append=0))
    return [np.concatenate([begin[a + 1 : b + 1], after[b : b + 1]]) for a, b in ends.reshape(-1, 2)]


def dashes(line: np.ndarray, on: float, off: float) -> Iterator[np.ndarray]:
    """The parts (n, 2) of a line (m, 2) that a dashed pen draws; its period is stretched so that it comes out even."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    count = max(1, round(along[-1] / (on + off)))
    period = along[-1] / count
    for n in range(count):
        begin, end = n * period, (n + on / (on + off)) * period
        between = (along > begin) & (along < end)
        ends = [[np.interp(place, along, line[:, axis]) for axis in (0, 1)] for place in (begin, end)]
        yield np.concatenate([ends[:1], line[between], ends[1:]])
