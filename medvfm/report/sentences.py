"""What was asked and what was found, in sentences that a clinician can read alone."""

from __future__ import annotations

import re
from collections.abc import Mapping

from medvfm.report import text
from medvfm.report.run_view import EMPTY, MACRO, MEAN, Row, View, is_oracle, is_reference

MOST_LETTERS = 90  # of the truth's source in a sentence
MOST_NAMED = 6  # classes that a sentence names; of more it gives the number


def title(view: View) -> str:
    """The model's name as its adapter gives it, else that of its weights."""
    model = view.part("model")
    named = view.part("model", "said").get("title") or model.get("weights") or model.get("adapter") or "the model"
    return str(named).removeprefix("embedded:")


def label(view: View) -> str:
    """The model's name at the head of a line."""
    return (
        _as_label(str(view.part("model", "said").get("label") or title(view))) if view.part("model") else "Predictions"
    )


def baseline_label(view: View, name: str) -> str:
    """A baseline's name at the head of a line."""
    said = view.part("baselines", name, "said")
    return _as_label(view.baseline(name)) if said.get("title") else text.title(view.baseline(name))


def _as_label(name: str) -> str:
    """Names of weights (`facebook/dinov2-base`, `efficientnet_lite0`) keep their small letters, words do not."""
    first = name.partition(" ")[0].rstrip(",")
    return text.title(name) if first.isalpha() and " " in name else name


def model_subject(view: View) -> str:
    """`A linear probe on frozen features of facebook/dinov2-base`, from the adapter's own words."""
    said = view.part("model", "said").get("subject")
    if said:
        return str(said)
    note = view.part("model").get("method_note") or str(view.part("model").get("method") or "").replace("_", " ")
    return f"{title(view)} ({note})" if note else title(view)


def subject(view: View) -> str:
    """Who answered, at the head of a sentence; with prompts from the truth it says so first."""
    if not view.part("model"):
        return "The predictions"
    if view.oracle is None:
        return model_subject(view)
    return f"With prompts from the truth (oracle prompt: {view.oracle}), {inside(view, model_subject(view))}"


def inside(view: View, said: str) -> str:
    """A subject within a sentence: a small letter, unless it begins with a name."""
    return said if said.startswith(title(view)) else said[:1].lower() + said[1:]


def action(view: View) -> str:
    """What was done, in the task's words: `distinguished lesion from no lesion`, `outlined every nucleus`."""
    template = view.word("action")
    classes = [text.structure(c) for c in view.task.get("classes", [])]
    if template is None:
        name = view.task.get("name")
        return f"performed {str(name).replace('_', ' ')}" if name else "answered"
    few = 0 < len(classes) <= MOST_NAMED
    values = {
        "classes": text.listed(classes) if few else f"{len(classes)} {view.word('classes') or 'classes'}",
        "count": str(len(classes)),
        "named": f" ({text.listed(classes)})" if few else "",
    }
    return _filled(template, values)


def _filled(template: str, values: Mapping[str, str]) -> str:
    """`{name}` by its value, once: names of classes may hold braces."""
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), template)


def units(view: View, row: Row, among: str = "") -> str:
    """`171 images of 132 patients`, `70 test patients`: both are counted wherever patients are known."""
    found = text.plural(row.get("cases") or 0, f"{among} {view.unit}".strip())
    if not view.names_patients or view.unit == "patient":
        return found
    return f"{found} of {text.plural(row.get('patients') or 0, 'patient')}"


def number_name(view: View, row: Row) -> str:
    """`AUROC`; `mean Dice` where numbers are means of cases; counts of cases have no mean."""
    said = text.quantity(row["metric"])
    if row.get("unit") == "cases":
        return f"number of {said}"
    return f"{view.word('average') or ''} {said}".strip()


def truth_source(view: View) -> str:
    """` (truth: text mining of the radiology reports)`: what is claimed is agreement with this, and no more.

    The first clause of the card's account; of an account by split or by class, what is said of this split and classes.
    """
    given = view.part("data", "card").get("truth")
    if isinstance(given, dict):
        mine = [
            given[key]
            for key in (view.split, *view.task.get("classes", []), str(view.task.get("name")))
            if key in given
        ]
        given = text.listed(list(dict.fromkeys(map(str, mine[:2]))))
    clause = re.split(r"[;:.](?:\s|$)", str(given or ""))[0].strip()
    if len(clause) > MOST_LETTERS:
        clause = clause[:MOST_LETTERS].rpartition(",")[0]
    return f" (truth: {clause})" if clause else ""


def over_targets(view: View, row: Row) -> str:
    """` over 2 structures` for a number of all targets together."""
    if row.get("target") == MACRO:
        return f" on average over the {view.word('classes') or 'classes'}"
    if row.get("target") == MEAN:
        return f" over {len(view.task.get('classes', []))} {view.word('classes') or 'classes'}"
    return ""


def answer(view: View) -> dict[str, str] | None:
    """The sentence at the top in three parts, of which the middle is the number; None without any number."""
    row = view.primary
    if row is None:
        return None
    test = "test" if view.record.get("kind") == "run" and view.split == "test" else ""
    before = f"{subject(view)} {action(view)}{truth_source(view)} in {units(view, row, test)}"
    name = number_name(view, row)
    if row.get("value") is None:
        return {"before": f"{before}, and the {name} is", "number": text.with_interval(row), "after": ".", "whole": ""}
    return {
        "before": f"{before}, with {'an' if name[0] in 'AEIOaeio' else 'a'} {name} of",
        "number": text.with_interval(row),
        "after": f"{over_targets(view, row)}.",
        "whole": "yes",  # to be kept on one line
    }


def comparison(view: View) -> str | None:
    """How the strongest baseline did, and whether the data show a difference."""
    row = view.primary
    if row is None or row.get("value") is None:
        return None
    best = best_baseline(view)
    if best is None:
        return _of_the_run_itself(view, row)
    name = view.baseline(best["baseline"]) + (" (oracle prompt)" if is_oracle(best.get("note")) else "")
    fair = " without prompts from the truth" if _left_out(view, best) else ""
    sentence = f"The strongest baseline{fair}, {name}, reached {text.with_interval(best)}."
    found = _difference(view, row, best)
    if found is None:
        return sentence
    return f"{sentence} {_verdict(found)}"


def _of_the_run_itself(view: View, row: Row) -> str | None:
    """Of a test on another data set: what the same model reached on the test cases of its own."""
    own = view.part("tested")
    if not own:
        return None
    rows = own.get("metrics") or []
    same = next((r for r in rows if (r["metric"], r.get("target")) == (row["metric"], row.get("target"))), None)
    reached = (
        f" On its own test cases ({own.get('card')}) it reached {text.with_interval(EMPTY | same)}." if same else ""
    )
    return f"Weights, windows and thresholds are those of the finished run, unchanged.{reached}"


def against_best(view: View) -> str | None:
    """`better`, `worse` or `not shown better` than the strongest baseline, by the paired interval; None without one."""
    row, best = view.primary, best_baseline(view)
    found = None if row is None or best is None else _difference(view, row, best)
    if found is None:
        return None
    if found["low"] <= 0 <= found["high"]:
        return "not shown better"
    return "better" if (found["low"] > 0) == (found.get("better") != "lower") else "worse"


def _difference(view: View, row: Row, best: Row) -> Row | None:
    """Model minus baseline in the first metric, where it has an interval."""
    paired = f"{row['metric']}{text.DIFFERENCE}"
    found = next(iter(view.rows(metric=paired, target=row.get("target"), baseline=best["baseline"])), None)
    return None if found is None or found.get("value") is None or found.get("low") is None else found


def best_baseline(view: View) -> Row | None:
    """The row of the primary metric of the baseline that did best on the same cases.

    A baseline with prompts from the truth is no measure of a model without them: it stands here only where it is alone.
    """
    row = view.primary
    others = _others(view)
    if row is None or not others or row.get("better") not in ("higher", "lower"):
        return None
    if view.oracle is None:
        others = [r for r in others if not is_oracle(r.get("note"))] or others
    sign = 1 if row["better"] == "higher" else -1
    return max(others, key=lambda r: sign * r["value"])


def _others(view: View) -> list[Row]:
    """Rows of the primary metric of all baselines; references are none."""
    row = view.primary
    if row is None:
        return []
    rows = view.rows(metric=row["metric"], target=row.get("target"), baseline=...)
    return [r for r in rows if r.get("baseline") and not is_reference(r["baseline"]) and r.get("value") is not None]


def _left_out(view: View, best: Row) -> bool:
    """Another baseline took prompts from the truth, and `best` and the model took none."""
    if view.oracle is not None or is_oracle(best.get("note")):
        return False
    return any(is_oracle(r.get("note")) for r in _others(view))


def _verdict(difference: Row) -> str:
    """Better, worse, or neither shown, by where the paired interval lies."""
    low, high = difference["low"], difference["high"]
    unit = text.UNITS.get(str(difference.get("metric")).removesuffix(text.DIFFERENCE))

    def shown(row: Row) -> str:
        amount = text.value(row) + (f" {unit}" if unit else "")
        return f"{amount} ({text.level(row)} {text.interval(row)}, paired)"

    if low <= 0 <= high:
        return f"The data do not show that the model is better: the difference is {shown(difference)}."
    found = difference if low > 0 else {**difference, "value": -difference["value"], "low": -high, "high": -low}
    higher = difference.get("better") != "lower"
    return f"The model was {'better' if (low > 0) == higher else 'worse'} by {shown(found)}."
