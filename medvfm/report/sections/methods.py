"""A Methods paragraph from the record, to be copied into a paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from medvfm.report import markup, sentences, text
from medvfm.report.run_view import Row, View, group_name, is_oracle, is_reference
from medvfm.report.sections import repeats
from medvfm.report.sections.model import input_contract, watched

TITLE = "Methods, for copying"
DECIDED = "decided at "
RANDOM = {"scratch", "tiny"}  # weights that are no files
VARIED = {  # by what a group is named for: what was computed again, and with what
    "box_jitter_px": ("The overlap was", "boxes whose sides were off by up to a number of pixels"),
    "clicks": ("The overlap was", "one click or more"),
    "guidance": ("Numbers of made images were", "other scales of guidance"),
    "steps": ("Numbers of made images were", "other numbers of steps"),
}


def build(view: View) -> Markup | None:
    found = paragraphs(view)
    return markup.fragment("methods", paragraphs=found, id="methods-text") if found else None


def paragraphs(view: View) -> list[str]:
    """Data, model, evaluation, software."""
    return [" ".join(part) for part in (_data(view), _model(view), _evaluation(view), _software(view)) if part]


def _sentence(said: str) -> str:
    """Ended once, with a full stop."""
    said = " ".join(str(said).split())
    return text.title(said if said.endswith((".", "!", "?")) else f"{said}.") if said else ""


def _data(view: View) -> list[str]:
    data, card = view.part("data"), view.part("data", "card")
    said = []
    if card.get("title"):
        version = f" (version {card['version']})" if card.get("version") else ""
        said.append(_sentence(f"The data were {card['title']}{version}"))
    if card.get("statement"):
        said.append(_sentence(card["statement"]))
    if card.get("population"):
        said.append(_sentence(f"Population: {card['population']}"))
    if card.get("truth"):
        said.append(_sentence(f"The reference standard was: {card['truth']}"))
    flow = data.get("flow") or []
    if flow:
        lost = [f"{text.plural(-s['cases'], 'case')} ({s['step']})" for s in flow if (s.get("cases") or 0) < 0]
        begun, ended = flow[0], flow[-1]
        left = f"; excluded were {text.listed(lost)}" if lost else ""
        among = f" of {text.plural(ended['patients'], 'patient')}" if ended.get("patients") else ""
        whole = "" if begun["cases"] == ended["cases"] else f"Of {text.plural(begun['cases'], 'case')}, "
        said.append(f"{whole}{text.plural(ended['cases'], 'case')}{among} were analysed{left}.")
    if not view.names_patients:
        what = "splits and intervals take" if view.has_splits else "intervals take"
        said.append(f"Patients were unknown: which images are of one patient is not recorded, so that {what} every "
                    "case alone.")  # fmt: skip
    return said + _splits(view)


def _splits(view: View) -> list[str]:
    data, recipe = view.part("data"), view.part("recipe")
    names = {"train": "training", "val": "validation", "test": "test"}
    nouns = ("case", "patient") if view.names_patients else ("case",)
    sizes = [
        f"{names.get(name, name)} ({', '.join(_amount(s, noun) for noun in nouns)})"
        for name, s in (data.get("splits") or {}).items()
    ]
    if not sizes:
        return []
    if view.part("tested"):
        own = "whose model and thresholds came from other data and were not changed"
        return [f"All of them were test cases of a finished run, {own}."]
    split, who = recipe.get("split") or {}, "Patients" if view.names_patients else "Cases"
    if split.get("folds"):
        return [f"{who} were divided into {split['folds']} folds (seed {recipe.get('seed', 0)}); in the first fold "
                f"the splits were {text.listed(sizes)}."]  # fmt: skip
    if split.get("hold_out"):
        held = [f"{c} {text.listed([str(v) for v in vs], 'or')}" for c, vs in split["hold_out"].items()]
        return [f"Cases with {text.listed(held)} were held out for testing: {text.listed(sizes)}."]
    how = "as the data card gives it" if split.get("from") == "card" else f"at random (seed {recipe.get('seed', 0)})"
    leaky = split.get("from") == "card" and view.part("data", "card").get("split_leaks")
    apart = ", no patient in two splits," if view.names_patients and not leaky else ""
    return [f"{who} were split {how}{apart} into {text.listed(sizes)}."]


def _amount(split: dict[str, Any], noun: str) -> str:
    return text.plural(split.get(f"{noun}s") or 0, noun)


def _model(view: View) -> list[str]:
    model, own = view.part("model"), view.part("model", "said")
    if not model:
        return []
    subject = sentences.inside(view, sentences.model_subject(view)).rstrip(",")
    said = [f"The model was {subject}{_weights(model)}."]
    contract = input_contract(model.get("contract") or {})
    if contract:
        said.append(f"Images were {contract}.")
    said += own.get("input") or []
    if view.holds_volumes:
        said += own.get("volumes") or []
    if model.get("method"):
        note = f" ({model['method_note']})" if model.get("method_note") else ""
        said.append(f"Method of adaptation: {str(model['method']).replace('_', ' ')}{note}.")
    return said + (own.get("prompts") or []) + _variants(view) + _fitting(view)


def _weights(model: dict[str, Any]) -> str:
    """Hash and licence of pretrained weights; what was drawn at random has neither."""
    if not model.get("sha256") or model.get("source", model.get("weights")) in RANDOM:
        return ""
    licence = f", {text.licence(model['licence'])} licence" if model.get("licence") else ""
    return f" (weights: sha256 {str(model['sha256'])[:16]}…{licence})"


def _variants(view: View) -> list[str]:
    """The prompts, or settings of sampling, under which numbers were computed again."""
    varied = dict.fromkeys(group_name(r) for r in view.variants())
    found: dict[str, list[str]] = {}
    for name in varied:
        what, how = VARIED.get(name, ("Numbers were", name.replace("_", " ")))
        found.setdefault(what, []).append(how)
    return [f"{what} computed again with {text.listed(how)}." for what, how in found.items()]


def _conventions(view: View, rows: Sequence[Row]) -> list[str]:
    """How the task's numbers are defined, then what holds of single metrics, each once."""
    names = [r["metric"].partition("@")[0] for r in rows]
    said = [view.word("convention"), *(view.word(f"convention_{name}") for name in names)]
    return [*dict.fromkeys(s for s in said if s)]


def _fitting(view: View) -> list[str]:
    model, training, said = view.part("model"), view.part("training"), []
    sizes, choice, select = model.get("parameters") or {}, model.get("choice") or {}, view.part("recipe", "select")
    name = select.get("metric") or watched(training)
    metric = text.quantity(name) if name else "value"
    if sizes.get("total") and training:
        share = 100 * (sizes.get("trainable") or 0) / sizes["total"]
        said.append(f"Of {text.count(sizes['total'])} parameters {text.count(sizes.get('trainable') or 0)} "
                    f"({share:.3g}%) were trained.")  # fmt: skip
    if isinstance(choice.get("C"), int | float) and choice.get("on"):
        said.append(f"The regularisation strength C = {text.compact(choice['C'])} had the best validation {metric} of "
                    f"{len(choice.get('swept') or [])} values.")  # fmt: skip
    if isinstance(choice.get("k"), int) and choice.get("on"):
        said.append(f"The number of neighbours k = {choice['k']} had the best validation {metric} of "
                    f"{len(choice.get('swept') or [])} values.")  # fmt: skip
    epochs = training.get("epochs")
    if isinstance(epochs, list) and epochs:
        settings = {
            k: v for k, v in (training.get("settings") or {}).items() if isinstance(v, int | float | str) and v != ""
        }
        how = f" ({', '.join(f'{k} {v}'.replace('_', ' ') for k, v in settings.items())})" if settings else ""
        length = text.plural(len(epochs), "epoch")
        said += [
            f"Training used AdamW with a linear warm-up and a cosine decay, for {length}{how}.",
            f"The weights of epoch {training.get('best_epoch')}, the best by validation {metric}, were kept.",
        ]
    return said


def _evaluation(view: View) -> list[str]:
    rows = view.rows()
    if not rows:
        return []
    said = []
    if view.record.get("kind") == "run" and any(
        e.get("fixed_on") == "val" for t in view.part("thresholds").values() for e in t.values()
    ):
        said.append("Thresholds were fixed on validation data and applied to the test data unchanged.")
    said += _deciding(rows)
    names = list(dict.fromkeys(text.metric(r["metric"]) for r in rows))
    said.append(f"We report {text.listed(names)}.")
    said += _conventions(view, rows)
    said += _intervals(view, rows)
    said += repeats.sentences(view)
    oracles = {r["baseline"] for r in view.rows(baseline=...) if r.get("baseline") and is_oracle(r.get("note"))}
    others = dict.fromkeys(r["baseline"] for r in view.rows(baseline=...) if r.get("baseline"))
    named = [view.baseline(n) + (" (oracle prompt)" if n in oracles else "") for n in others if not is_reference(n)]
    if named:
        were = "Baselines on the same cases were" if len(named) > 1 else "The baseline on the same cases was"
        said.append(f"{were} {text.listed(named)}; differences are paired.")
    references = [view.baseline(n) for n in others if is_reference(n)]
    if references:
        said.append(f"For reference, the same was computed for {text.listed(references)}.")
    groups = dict.fromkeys(r["group"].partition("=")[0].replace("_", " ") for r in view.subgroups())
    if groups:
        said.append(f"The same was computed by {text.listed(list(groups))}.")
    return said


def _deciding(rows: Sequence[Row]) -> list[str]:
    """Where metrics without a threshold in their name were decided, as their rows say."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for part in str(row.get("note") or "").split("; "):
            if part.startswith(DECIDED):
                how = part.removeprefix(DECIDED).partition(" (")[0]
                found.setdefault(how, []).append(text.metric(row["metric"]))
    return [
        f"{text.title(text.listed(list(dict.fromkeys(names))))} {'is' if len(set(names)) == 1 else 'are'} of decisions "
        f"at {how}."
        for how, names in found.items()
    ]


def _intervals(view: View, rows: Sequence[Row]) -> list[str]:
    """Which method gave the interval of which metrics, and that some are approximate."""
    confidence = view.part("recipe", "evaluate", "confidence") or view.part("confidence")
    ways: dict[str, list[str]] = {}
    for row in rows:
        if row.get("method"):
            ways.setdefault(str(row["method"]), []).append(text.metric(row["metric"]))
    if not ways:
        return []
    drawn = f" of {text.count(confidence['resamples'])} resamples" if confidence.get("resamples") else ""
    named = [
        f"{text.interval_method(way, view.owner)}{drawn if way.startswith('bootstrap') else ''} "
        f"({', '.join(dict.fromkeys(metrics))})"
        for way, metrics in ways.items()
    ]
    said = [f"Intervals ({text.level(rows[0]).replace('CI', 'confidence')}) are from {text.listed(named)}."]
    if any("approximate:" in str(r.get("note") or "") for r in rows):
        said.append("Intervals that a simulation found to cover less or more than stated are marked as approximate.")
    return said


def _software(view: View) -> list[str]:
    environment = view.part("environment")
    version = view.record.get("medvfm")
    if not version:
        return []
    beside = [
        f"{name} {environment[key]}"
        for key, name in (("python", "Python"), ("torch", "PyTorch"))
        if environment.get(key)
    ]
    where = f", on {text.device(str(environment['device']))}" if environment.get("device") else ""
    digest = f" (recipe {view.record['hash']})" if view.record.get("hash") else ""
    return [
        f"Everything was run with medvfm {version}{digest}{' under ' + text.listed(beside) if beside else ''}{where}."
    ]
