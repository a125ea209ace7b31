"""What a comparison found, in sentences: never that two runs are equal, unless a margin was stated and kept."""

from __future__ import annotations

from collections.abc import Sequence

from medvfm.report import text
from medvfm.report.plain_table import PlainTable
from medvfm.report.run_view import WHOLE, Row, View

ADJUSTED = {"holm": "Holm", "benjamini_hochberg": "Benjamini and Hochberg"}
TESTS = {
    "delong": "DeLong's test",
    "obuchowski": "DeLong's test with Obuchowski's variance for several cases a patient",
    "exchange": "a permutation test that exchanges the two runs' ranks patient by patient",
    "wilcoxon": "Wilcoxon's signed rank test of patients",
    "mcnemar": "McNemar's exact test",
    "sign_flip": "a permutation test that exchanges the two runs patient by patient",
    "interval": "the highest level at which the interval leaves 0 out",
}


def differences(view: View) -> list[Row]:
    """Every paired difference, that which the runs are ranked by first."""
    rows = [r for r in view.metrics if r["metric"].endswith(text.DIFFERENCE)]
    return sorted(rows, key=lambda r: not is_primary(view, r))


def is_primary(view: View, row: Row) -> bool:
    """Of the number that runs are ranked by."""
    primary = view.part("compared", "primary")
    name = row["metric"].removesuffix(text.DIFFERENCE)
    return (name, row.get("target")) == (primary.get("metric"), primary.get("target"))


def number_name(view: View, row: Row) -> str:
    """`AUROC`, `Dice, lesion` where there are several targets."""
    several = len({r.get("target") for r in view.metrics}) > 1
    named = text.title(text.metric(row["metric"].removesuffix(text.DIFFERENCE)))
    whole = "all" if row.get("target") in WHOLE else text.structure(row.get("target"))
    return f"{named}, {whole}" if several else named


def p_value(value: float | None) -> str:
    """`p < 0.001`, `p 0.012`; empty where there is none."""
    if value is None:
        return ""
    return "p < 0.001" if value < 0.001 else f"p {value:.3f}" if value < 0.0995 else f"p {value:.2f}"


def statement(view: View, row: Row) -> str:
    """One difference as a sentence."""
    one, other = str(row.get("model")), str(row.get("baseline"))
    named = text.quantity(row["metric"].removesuffix(text.DIFFERENCE))
    if row.get("target") not in WHOLE and len({r.get("target") for r in view.metrics}) > 1:
        named += f" of {text.structure(row['target'])}"
    if row["value"] is None:
        return f"{one} and {other} cannot be compared by {named}: {row.get('note') or row.get('test_note')}."
    found, level = text.interval(row), text.level(row)
    p = ", ".join(
        said
        for said in (p_value(row.get("p")), p_value(row.get("p_adjusted")) and f"adjusted {p_value(row['p_adjusted'])}")
        if said
    )
    about = f"difference {text.value(row)}{f', {level} {found}' if found else ''}{f'; {p}' if p else ''}"
    if row.get("separated") and row["value"]:
        higher = "higher" if row["value"] > 0 else "lower"
        said = f"{one} has the {higher} {named} than {other} ({about})".replace("has the", "has a")
        tail = "; which of the two is better this number does not say" if not row.get("better") else ""
        return f"{said}{tail}.{_margin(row)}"
    if row.get("low") == 0 == row.get("high"):
        return f"{one} and {other} gave answers that {named} cannot tell apart."
    open_to = "" if row.get("margin") is not None else " That is not to say that they are equal: no margin was stated."
    return f"{named[:1].upper()}{named[1:]} does not separate {one} and {other} ({about}).{open_to}{_margin(row)}"


def _margin(row: Row) -> str:
    if row.get("margin") is None:
        return ""
    one, other, margin = row.get("model"), row.get("baseline"), text.compact(row["margin"])
    said = {
        "equivalent": f"They are equivalent within the margin of {margin}: the interval lies inside it.",
        "not_worse": f"{one} is not worse than {other} by the margin of {margin} or more.",
        "not_better": f"{other} is not worse than {one} by the margin of {margin} or more.",
    }
    return " " + said.get(
        str(row.get("within_margin")), f"Whether they are equivalent within {margin} stays open: the interval is wider."
    )


def answer(view: View) -> dict[str, str]:
    """The first difference of two runs; of several who stands first, and whether alone."""
    rows = [r for r in differences(view) if is_primary(view, r)]
    board = view.part("compared", "leaderboard") or []
    if len(rows) == 1 or not board:
        return {
            "before": statement(view, rows[0]) if rows else "No difference was computed.",
            "number": "",
            "after": "",
        }
    named = text.quantity(str(board[0].get("metric") or view.part("compared", "primary", "metric")))
    first = [str(r["model"]) for r in board if r["rank"] == 1]
    last = [str(r["model"]) for r in board if r["rank"] > 1]
    if not last:
        said = f"No test separates {text.listed(first)} by {named}: they share the first place."
    elif len(first) == 1:
        said = f"{first[0]} stands first by {named}, above {text.listed(_below(board, first[0]))} by a test."
    else:
        said = f"{text.listed(first)} share the first place by {named}; {_stand(last)} below one or more of them."
    return {"before": said, "number": "", "after": ""}


def _below(board: Sequence[Row], name: str) -> list[str]:
    return [str(r["model"]) for r in board if name in (r.get("below") or [])]


def _stand(names: Sequence[str]) -> str:
    return f"{text.listed(names)} {'stands' if len(names) == 1 else 'stand'}"


def comparison(view: View) -> str:
    """What the comparison is about: runs, not methods, where each was trained once."""
    runs = view.part("compared", "runs") or []
    flow = (view.part("data", "flow") or [{}])[-1]
    cases = text.plural(flow.get("cases") or 0, "case")
    of_patients = f" of {text.plural(flow['patients'], 'patient')}" if "patients" in flow else " of unknown patients"
    return f"All answered the same {cases}{of_patients}. {_about(runs)}"


def _about(runs: Sequence[Row]) -> str:
    """Runs where each was trained once, methods where all were trained with several seeds."""
    if not any(run.get("kind") == "run" for run in runs):
        return "This is about these predictions, and not about the methods that they come from."
    seeds = [int(run.get("seeds") or 1) for run in runs]
    if min(seeds) > 1:
        often = f"{seeds[0]} seeds" if len(set(seeds)) == 1 else f"{text.listed([str(s) for s in seeds])} seeds"
        return (
            f"They were trained with {often}: this is about these methods, on this split, and intervals and tests hold "
            "the choice of patients and of seeds."
        )
    if max(seeds) > 1:
        once = text.listed([str(run["name"]) for run, count in zip(runs, seeds, strict=True) if count == 1])
        return (
            f"Trained with one seed alone: {once}. Of these the comparison is about the run, and not about the method; "
            "the others were trained with several seeds."
        )
    return "Each was trained once: this is about these runs, and not about their methods, which other seeds would move."


def headline(view: View) -> PlainTable | None:
    """The leaderboard; without one (a metric that has no better side) the differences."""
    board = view.part("compared", "leaderboard") or []
    primary = view.part("compared", "primary")
    if not board:
        rows = [r for r in differences(view) if is_primary(view, r)]
        return PlainTable(
            "",
            ("", "Difference", text.level(rows[0]) if rows else ""),
            tuple((f"{r.get('model')} minus {r.get('baseline')}", text.value(r), text.interval(r)) for r in rows),
            tuple(str(r.get("note") or "") for r in rows),
        )
    named = text.title(text.metric(str(primary.get("metric"))))
    shared = {r["rank"] for r in board if sum(o["rank"] == r["rank"] for o in board) > 1}
    return PlainTable(
        "",
        ("", "Place", named, text.level(board[0])),
        tuple(
            (
                str(r["model"]),
                f"{r['rank']}{' (shared)' if r['rank'] in shared else ''}",
                text.value(r),
                text.interval(r),
            )
            for r in board
        ),
        tuple(f"below {text.listed(r['below'])} by a test" if r.get("below") else "" for r in board),
    )
