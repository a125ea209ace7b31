"""table.tex and table.md of a comparison, for a paper: the same rows as the page, from the same directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medvfm.io.run_directory import write_text
from medvfm.report import run_view, text
from medvfm.report.run_view import View
from medvfm.report.sections.comparison import how, words

TEX, MARKDOWN = "table.tex", "table.md"
ESCAPED = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$", "−": "$-$", "×": r"$\times$",
    "–": "--", "\u202f": r"\,",
}  # fmt: skip


def write(directory: Path) -> None:
    """Both tables, beside run.json."""
    view = run_view.load(directory)
    columns, rows = _cells(view)
    write_text(directory / MARKDOWN, markdown(columns, rows, _caption(view)))
    write_text(directory / TEX, latex(columns, rows, _caption(view)))


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """A table as GitHub and pandoc read it."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(c.replace('|', chr(92) + '|') for c in line)} |" for line in lines) + (
        f"\n\n{caption}\n"
    )


def latex(columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """A table that needs the package booktabs and nothing else."""
    lines = [" & ".join(map(_escaped, line)) + r" \\" for line in (columns, *rows)]
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{_escaped(caption)}}}",
            rf"\begin{{tabular}}{{{'l' * len(columns)}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _escaped(said: str) -> str:
    return "".join(ESCAPED.get(letter, letter) for letter in said)


def _cells(view: View) -> tuple[list[str], list[list[str]]]:
    found = words.differences(view)
    level = text.level(found[0]) if found else "95% CI"
    rows = [
        [
            words.number_name(view, r),
            f"{r.get('model')} minus {r.get('baseline')}",
            "not defined" if r["value"] is None else text.value(r),
            text.interval(r),
            words.p_value(r.get("p")).removeprefix("p "),
            words.p_value(r.get("p_adjusted")).removeprefix("p "),
        ]
        for r in found
    ]
    return ["Number", "Runs", "Difference", level, "p", "Adjusted p"], rows


def _caption(view: View) -> str:
    return " ".join([words.comparison(view), *how.sentences(view)])
