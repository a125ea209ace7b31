"""Dots and intervals beside each other, as a table whose middle column is drawn: it wraps, prints and is read aloud."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from medvfm.report import markup, text
from medvfm.report.run_view import Row

SHORT = 30  # letters that stand beside each label, however often


@dataclass(frozen=True)
class Line:
    """One line: a row of run.json with its label, or a heading where there is no row."""

    label: str
    row: Row | None = None
    detail: str = ""
    mark: str = "dot"  # dot, square or diamond: the kind is seen without its colour
    extra: str = ""


def table(
    caption: str,
    lines: Sequence[Line],
    *,
    first: str,
    value: str,
    reference: float | None = None,
    extra: str | None = None,
) -> Markup:
    """`reference` is where the dashed line stands; `extra` names a fourth column."""
    rows = [line.row for line in lines if line.row is not None]
    numbers = [r[k] for r in rows for k in ("value", "low", "high") if r.get(k) is not None]
    numbers += [] if reference is None else [reference]
    if not numbers:
        numbers = [0.0, 1.0]
    axis = ticks(min(numbers), max(numbers), 5 if extra is None else 4)
    low, high = axis[0], axis[-1]

    def place(number: float | None) -> float | None:
        return None if number is None else round(100 * (number - low) / (high - low), 2)

    said = [_said(line) for line in lines]
    times = Counter(words for several in said for words in several)
    repeated = [words for words, count in times.items() if count > 1 and len(words) > SHORT]
    letters = {words: text.letter(n) for n, words in enumerate(repeated)}
    shown = [
        {
            "label": line.label,
            "details": [words for words in several if words not in letters],
            "marks": [letters[words] for words in several if words in letters],
            "mark": line.mark,
            "extra": line.extra,
            "heading": line.row is None,
            "at": {k: place(line.row.get(k)) for k in ("value", "low", "high")} if line.row else {},
            "text": text.value(line.row) if line.row else "",
            "interval": text.interval(line.row) if line.row else "",
            "note": (line.row.get("note") or "") if line.row else "",
            "defined": line.row is not None and line.row.get("value") is not None,
        }
        for line, several in zip(lines, said, strict=True)
    ]
    return markup.fragment(
        "forest",
        caption=caption,
        lines=shown,
        ticks=[{"at": place(t), "text": text.compact(t)} for t in axis],
        reference=place(reference),
        first=first,
        value=value,
        extra=extra,
        level=text.level(rows[0]) if rows else "",
        footnotes={letter: words for words, letter in letters.items()},
    )


def _said(line: Line) -> list[str]:
    """What stands under a label: what it is, and the note of its interval. Where several lines have the same words,
    and these are long, they become a footnote."""
    note = line.row.get("note") if line.row and line.row.get("value") is not None else None
    return [words for words in dict.fromkeys((line.detail, note)) if words]


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers that hold low and high between them, in about `most` steps."""
    if high - low < 1e-9:
        low, high = low - 0.05, high + 0.05
    found: Any = MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [round(float(t), 10) + 0.0 for t in found]
