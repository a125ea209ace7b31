"""A page that opens quickly: what would make it too large gives way, and a sentence stands in its place.

Pictures go first, the last of them before the others; then rows of long tables, then figures.
"""

from __future__ import annotations

import re
from collections.abc import Callable

AIM = 3_000_000  # bytes, from which on pictures give way
HARD = 5_000_000  # bytes, which no page exceeds by what it can leave out
LEAST_ROWS = 50  # of a table, which stay
PICTURE = re.compile(r'<img src="data:image/[^"]*"[^>]*>')
BODY = re.compile(r"<tbody>(.*?)</tbody>", re.DOTALL)
ROW = re.compile(r"<tr\b")
FIGURE = re.compile(r'<svg [^>]*role="img" aria-label="([^"]*)"[^>]*>.*?</svg>', re.DOTALL)
INSTEAD = (
    '<span class="fine">A picture was left out to keep this page small; previews/ in the run directory has it.</span>'
)
CUT = (
    '<tr><td colspan="99" class="fine">{} more rows were left out to keep this page small; the tables of the run '
    "directory have them.</td></tr>"
)
DRAWN = '<p class="fine">A figure was left out to keep this page small. {}.</p>'


def within(page: str, aim: int = AIM, hard: int = HARD) -> str:
    """The page without as many of its last pictures as it takes to reach `aim`; without rows and figures too, if it is
    larger than `hard` all the same."""
    page = _without_last(page, PICTURE, lambda _: INSTEAD, aim)
    if _bytes(page) > hard:
        page = _thinned(page, hard)
    return _without_last(page, FIGURE, lambda found: DRAWN.format(found[1]), hard)


def _bytes(page: str) -> int:
    return len(page.encode("utf-8"))


def _without_last(page: str, wanted: re.Pattern[str], instead: Callable[[re.Match[str]], str], most: int) -> str:
    """Without as many of the last matches as it takes; those that come first matter most."""
    found, size = list(wanted.finditer(page)), _bytes(page)
    while size > most and found:
        last = found.pop()
        words = instead(last)
        size += _bytes(words) - _bytes(last[0])
        page = page[: last.start()] + words + page[last.end() :]
    return page


def _thinned(page: str, most: int) -> str:
    """The longest tables end earlier, each by half, until the page is small enough or all are short."""
    bodies = list(BODY.finditer(page))
    rows = [[0, *(r.start() for r in ROW.finditer(b[1])), len(b[1])] for b in bodies]
    kept = [len(starts) - 2 for starts in rows]  # rows of each table
    sizes = [[_bytes(b[1][:at]) for at in starts] for b, starts in zip(bodies, rows, strict=True)]
    size = _bytes(page)
    while size > most and any(k > LEAST_ROWS for k in kept):
        longest = max((n for n, k in enumerate(kept) if k > LEAST_ROWS), key=lambda n: sizes[n][kept[n] + 1])
        before = sizes[longest][kept[longest] + 1]
        kept[longest] = max(LEAST_ROWS, kept[longest] // 2)
        size += sizes[longest][kept[longest] + 1] - before
    for body, starts, count in reversed(list(zip(bodies, rows, kept, strict=True))):
        left = len(starts) - 2 - count
        if left:
            end = body.start(1) + starts[count + 1]
            page = page[:end] + CUT.format(f"{left:,}") + page[body.end(1) :]
    return page
