"""What was asked and what was found, in sentences that a clinician can read alone."""

from __future__ import annotations

from medvfm.report import segmenters, text
from medvfm.report.run_view import MACRO, Row, View, is_oracle

HEADS = {
    "linear_probe": "A linear probe on frozen features of {model}",
    "knn": "Nearest neighbours in the frozen features of {model}",
    "lora": "{model}, adapted with LoRA,",
    "last_blocks": "{model}, with its last blocks fine-tuned,",
    "full": "{model}, fine-tuned in full,",
    "zero_shot": "{model}, without any training (zero-shot),",
}


def model_name(view: View) -> str:
    """The weights by the name that their makers gave them."""
    own = segmenters.name(view) if view.segments else None
    if own is not None:
        return own
    model = view.part("model")
    weights = str(model.get("weights") or model.get("adapter") or "the model")
    return weights.removeprefix("embedded:")


def label(view: View) -> str:
    """The model's name at the head of a line; names of weights keep their small letters."""
    if not view.part("model"):
        return "Predictions"
    own = segmenters.name(view) if view.segments else None
    return model_name(view) if own is None else text.title(own)


def subject(view: View) -> str:
    """Who answered: `A linear probe on frozen features of facebook/dinov2-base`."""
    if view.segments:
        return segmenters.subject(view)
    model = view.part("model")
    if not model:
        return "The predictions"
    method = str(model.get("method") or "")
    head = HEADS.get(method, "{model}, adapted by " + method.replace("_", " ") + "," if method else "{model}")
    return head.replace("{model}", model_name(view))


def deed(view: View) -> str:
    """What was asked: `told lesion from no lesion`."""
    if view.segments:
        return segmenters.deed(view)
    task = view.part("task")
    classes, kind = [str(c) for c in task.get("classes", [])], task.get("kind")
    if kind == "binary" and len(classes) == 1:
        return f"told {classes[0]} from no {classes[0]}"
    named = f" ({text.listed(classes)})" if 0 < len(classes) <= 6 else ""
    if kind == "multi_label":
        return f"looked for {len(classes)} findings{named}"
    if kind == "ordinal":
        return f"graded on {len(classes)} levels{named}"
    if classes:
        return f"told {len(classes)} classes apart{named}"
    return f"was asked for {str(task.get('name') or 'an answer').replace('_', ' ')}"


def answer(view: View) -> dict[str, str] | None:
    """The sentence at the top in three parts, of which the middle is the number; None without any number."""
    row = view.primary
    if row is None:
        return None
    seen = " it had never seen" if view.record.get("kind") == "run" and view.split == "test" else ""
    among = segmenters.units(view, row) if view.segments else text.units(row, view.unit)
    before = f"{subject(view)} {deed(view)} in {among}{seen}"
    name = segmenters.number_name(row) if view.segments else text.quantity(row["metric"])
    if row.get("value") is None:
        return {"before": f"{before}, and the {name} is", "number": text.with_interval(row), "after": ".", "whole": ""}
    mean = " on average over the classes" if row.get("target") == MACRO else segmenters.over(view, row)
    return {
        "before": f"{before}, with {'an' if name[0] in 'AEIOaeio' else 'a'} {name} of",
        "number": text.with_interval(row),
        "after": f"{mean}.",
        "whole": "yes",  # to be kept on one line
    }


def comparison(view: View) -> str | None:
    """How the strongest baseline did, and whether the data tell the two apart."""
    row = view.primary
    if row is None or row.get("value") is None:
        return None
    best = best_baseline(view)
    if best is None:
        return None
    name = text.baseline(best["baseline"]) + (" (oracle prompt)" if is_oracle(best.get("note")) else "")
    fair = " without prompts from the truth" if _left_out(view, best) else ""
    sentence = f"The strongest baseline{fair}, {name}, reached {text.with_interval(best)}."
    paired = f"{row['metric']}{text.DIFFERENCE}"
    found = next(iter(view.rows(metric=paired, target=row.get("target"), baseline=best["baseline"])), None)
    if found is None or found.get("value") is None or found.get("low") is None:
        return sentence
    return f"{sentence} {_verdict(found)}"


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
    """Rows of the primary metric of all baselines."""
    row = view.primary
    if row is None:
        return []
    rows = view.rows(metric=row["metric"], target=row.get("target"), baseline=...)
    return [r for r in rows if r.get("baseline") and r.get("value") is not None]


def _left_out(view: View, best: Row) -> bool:
    """Another baseline took prompts from the truth, and `best` and the model took none."""
    if view.oracle is not None or is_oracle(best.get("note")):
        return False
    return any(is_oracle(r.get("note")) for r in _others(view))


def _verdict(difference: Row) -> str:
    """Better, worse, or not told apart, by where the paired interval lies."""
    value, low, high = difference["value"], difference["low"], difference["high"]
    unit = text.UNITS.get(str(difference.get("metric")).removesuffix(text.DIFFERENCE))
    shown = text.value(difference).lstrip("−") + (f" {unit}" if unit else "")
    gap = f"{shown} ({text.level(difference)} {text.interval(difference)}, paired)"
    if low <= 0 <= high:
        return f"The difference of {gap} does not tell the two apart."
    higher = difference.get("better") != "lower"
    return f"The model was {'better' if (value > 0) == higher else 'worse'} by {gap}."
