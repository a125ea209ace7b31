"""The items of TRIPOD+AI, and what CLAIM asks of images besides: filled where the record knows the answer.

Collins et al. 2024, BMJ 385:e078378 (TRIPOD+AI, whose item numbers stand here); Tejani et al. 2024, Radiology:
Artificial Intelligence 6(4):e240300 (CLAIM 2024, which is cited without numbers).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup

from medvfm.report import markup, sentences, text
from medvfm.report.run_view import View

TITLE = "Reporting checklist (TRIPOD+AI, CLAIM)"
AUTHOR = "needs an author"
CLAIM = "CLAIM"


@dataclass(frozen=True)
class Item:
    """The item's number, what it asks for, and what the record answers: None where only an author can."""

    number: str
    asks: str
    answer: Callable[[View], str | None] = lambda view: None


def build(view: View) -> Markup | None:
    if view.primary is None:
        return None
    filled = answers(view)
    done = sum(answer is not None for _, answer in filled)
    return markup.fragment("checklist", items=filled, done=done, author=AUTHOR)


def answers(view: View) -> list[tuple[Item, str | None]]:
    """Every item with its answer."""
    return [(item, item.answer(view) or None) for item in ITEMS]


def _card(key: str) -> Callable[[View], str | None]:
    return lambda view: _plain(view.part("data", "card").get(key))


def _plain(said: object) -> str | None:
    if isinstance(said, dict):
        return "; ".join(f"{name}: {value}" for name, value in said.items()) or None
    if isinstance(said, list):
        return "; ".join(map(str, said)) or None
    return str(said) if said else None


def _source(view: View) -> str | None:
    card = view.part("data", "card")
    return ", ".join(str(card[key]) for key in ("title", "citation") if card.get(key)) or None


def _left_out(view: View) -> str | None:
    flow = view.part("data").get("flow") or []
    lost = [f"{text.plural(-s['cases'], 'case')} ({s['step']})" for s in flow if (s.get("cases") or 0) < 0]
    if lost:
        return f"left out: {text.listed(lost)}"
    handed_in = view.record.get("kind") == "evaluation" and not view.part("tested")  # others may have left cases out
    known = flow and not handed_in
    return "no case was left out" if known else None


def _splits(view: View) -> str | None:
    parts = [
        f"{name} {text.plural(s.get('cases') or 0, 'case')}"
        for name, s in (view.part("data").get("splits") or {}).items()
    ]
    return f"split by patient: {', '.join(parts)}" if parts and view.names_patients else ", ".join(parts) or None


def _model(view: View) -> str | None:
    return f"{sentences.model_subject(view)}; section Model and adaptation" if view.part("model") else None


def _measures(view: View) -> str | None:
    return text.listed(list(dict.fromkeys(text.metric(r["metric"]) for r in view.rows()))) or None


def _groups(view: View) -> str | None:
    groups = dict.fromkeys(r["group"].partition("=")[0].replace("_", " ") for r in view.subgroups())
    return f"by {text.listed(list(groups))}: section Subgroups" if groups else None


def _result(view: View) -> str | None:
    row = view.primary
    return (
        None if row is None or row.get("value") is None else f"{text.metric(row['metric'])} {text.with_interval(row)}"
    )


def _events(view: View) -> str | None:
    row = view.primary
    if row is None or row.get("positives") is None:
        return None
    return f"{sentences.units(view, row, 'test')}, {text.count(row['positives'])} positive"


def _shares(view: View) -> str | None:
    row = view.primary
    if row is None or not row.get("positives") or not row.get("cases"):
        return None
    return f"{100 * row['positives'] / row['cases']:.0f}% of the test {view.unit}s are positive; nothing was resampled"


def _limits(view: View) -> str | None:
    said = [
        *(view.part("data", "card").get("known_flaws") or []),
        *(view.part("data", "card").get("confounders") or []),
    ]
    return f"known of the data: {'; '.join(map(str, said))} An author adds the others." if said else None


def _code(view: View) -> str | None:
    version, digest = view.record.get("medvfm"), view.record.get("hash")
    return f"medvfm {version}{f', recipe {digest}' if digest else ''}" if version else None


def _software(view: View) -> str | None:
    found = view.part("environment")
    return (
        ", ".join(
            f"{n} {found[k]}" for n, k in (("Python", "python"), ("PyTorch", "torch"), ("on", "device")) if found.get(k)
        )
        or None
    )


def _weights(view: View) -> str | None:
    model = view.part("model")
    if not model.get("weights"):
        return None
    return f"{model['weights']}{', sha256 ' + str(model['sha256'])[:16] + '…' if model.get('sha256') else ''}"


def _thresholds(view: View) -> str | None:
    return "section Performance at fixed thresholds" if view.part("thresholds") else None


def _failures(view: View) -> str | None:
    return "section Cases" if view.record.get("previews") or view.record.get("examples") else None


def _external(view: View) -> str | None:
    found = dict.fromkeys(str(r["split"]) for r in view.metrics if str(r["split"]).startswith("external:"))
    return f"rows {', '.join(found)}" if found else None


def _here(section: str) -> Callable[[View], str | None]:
    """The page answers it in one of its sections, where the record holds what that needs."""
    return lambda view: (
        f"section {section}" if view.part("data").get("flow" if "Data" in section else "characteristics") else None
    )


ITEMS = (
    Item("1", "Title names the kind of study, population and outcome"),
    Item("2", "Structured abstract"),
    Item("3", "Background, intended users, known inequalities", _card("intended_use")),
    Item("4", "Objectives: development, evaluation or both"),
    Item("5a", "Sources of data", _source),
    Item("5b", "Dates of accrual and of follow-up"),
    Item("6a", "Setting, number and place of centres", _card("population")),
    Item("6b", "Eligibility criteria", _left_out),
    Item("6c", "Treatments received"),
    Item("7", "Preparation of data", lambda v: "section Methods, on images" if v.part("model", "contract") else None),
    Item("8a", "Outcome and how it was assessed", _card("truth")),
    Item("8b", "Qualification of the assessors"),
    Item("8c", "Blinding of the assessors"),
    Item("9", "Predictors and their measurement", lambda v: "images alone" if v.part("model") else None),
    Item("10", "How the study size was arrived at"),
    Item("11", "Missing data", _left_out),
    Item("12a", "Use of the data: training, validation, test", _splits),
    Item("12c", "Type of model, steps of building it, hyperparameters", _model),
    Item("12d", "Heterogeneity between clusters", _groups),
    Item("12e", "Measures of performance and how they were compared", _measures),
    Item("12g", "How predictions were calculated", _weights),
    Item("13", "Class imbalance", _shares),
    Item("14", "Fairness", _groups),
    Item("15", "Output of the model, and thresholds", _thresholds),
    Item("16", "Differences between development and evaluation data", _here("Data, characteristics by split")),
    Item("17", "Ethical approval and consent"),
    Item("18a", "Funding"),
    Item("18b", "Conflicts of interest"),
    Item("18c–d", "Protocol and registration"),
    Item("18e", "Availability of data", lambda v: _plain(v.part("data", "card").get("access"))),
    Item("18f", "Availability of code", _code),
    Item("19", "Involvement of patients and the public"),
    Item("20a", "Flow of participants", _here("Data")),
    Item("20b", "Characteristics of participants", _here("Data, characteristics by split")),
    Item("21", "Participants and outcome events in each analysis", _events),
    Item("22", "Full specification of the model", _weights),
    Item("23a", "Performance with confidence intervals", _result),
    Item("23b", "Performance in subgroups and clusters", _groups),
    Item("25", "Interpretation, fairness included"),
    Item("26", "Limitations", _limits),
    Item("27", "Use in care, quality of input, next steps", _card("out_of_scope")),
    Item(CLAIM, "De-identification of the images"),
    Item(CLAIM, "Acquisition protocol and devices", lambda v: _plain(v.part("data", "card").get("modality"))),
    Item(CLAIM, "Variability between and within raters"),
    Item(CLAIM, "Software, libraries and hardware", _software),
    Item(CLAIM, "Comparison with simpler methods", lambda v: sentences.comparison(v)),
    Item(CLAIM, "Analysis of failures", _failures),
    Item(CLAIM, "External testing", _external),
)  # fmt: skip
