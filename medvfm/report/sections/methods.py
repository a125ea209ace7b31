"""A Methods paragraph written from the record, for copying into a paper."""

from __future__ import annotations

from typing import Any

from medvfm.report.run import Run, number

TITLE = "Methods"


def content(run: Run) -> dict[str, Any] | None:
    parts = [_data(run), _model(run), _chosen(run), _judged(run)]
    return {"paragraph": " ".join(p for p in parts if p)}


def _data(run: Run) -> str:
    splits, card = run.part("data", "splits"), run.part("data", "card")
    if not splits or not card:
        return ""
    sizes = "; ".join(f"{name} {s['cases']} cases of {s['patients']} patients" for name, s in splits.items())
    folds = run.part("data", "folds") or 1
    how = f"{folds}-fold cross-validation by patient" if folds > 1 else "splits by patient"
    named = f"{card['title']}{' (simulated)' if card.get('simulated') else ''}, version {card['version']}"
    return f"We used {named}, with {how} ({sizes}), seed {run.part('recipe', 'seed')}."


def _model(run: Run) -> str:
    model = run.part("model")
    if not model:
        return ""
    size, counts = (model.get("contract") or {}).get("size_px"), model.get("parameters") or {}
    method = str(model.get("method")).replace("_", " ")
    share = ""
    if counts.get("trainable"):
        share = f"; {number(counts['trainable'])} of {number(counts.get('total'))} parameters were trained"
    taken = f" Images entered at {size[0]} × {size[1]} pixels." if size else ""
    return f"{model.get('weights')} was adapted by {method} ({model.get('method_note')}{share}).{taken}"


def _chosen(run: Run) -> str:
    choice = run.part("model", "choice")
    if choice and choice.get("on"):
        kind = "the strength of regularisation" if "C" in choice else "the number of neighbours"
        picked = f"C = {choice['C']:.3g}" if "C" in choice else f"k = {choice.get('k')}"
        return f"On validation data we chose {kind} among {len(choice.get('swept', []))} values ({picked})."
    settings = run.part("training", "settings")
    if not settings:
        return ""
    listed = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in settings.items() if not isinstance(v, list | dict))
    kept = "; the epoch with the best validation value was kept" if run.part("data", "splits", "val") else ""
    return f"Training used AdamW with a warm-up and cosine decay ({listed}){kept}."


def _judged(run: Run) -> str:
    rows = run.select()
    if not rows:
        return ""
    kinds = {r["method"] for r in rows if r["method"]}
    named = {"delong": "DeLong's method on the logit scale", "bootstrap": "the percentile bootstrap over patients"}
    how = " or ".join(named.get(k, k) for k in sorted(kinds))
    resamples = run.part("recipe", "evaluate", "confidence", "resamples")
    drawn = f" ({number(resamples)} resamples)" if resamples and "bootstrap" in kinds else ""
    fixed = ""
    if run.part("thresholds") and run.record["kind"] == "run":
        fixed = " Thresholds were fixed on validation data and applied to test data unchanged."
    return f"Intervals are at the {run.level} level by {how}{drawn}.{fixed} Analyses used medvfm {run.part('medvfm')}."
