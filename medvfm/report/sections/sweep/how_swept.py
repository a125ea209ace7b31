"""How the sweep was done, to be copied into a paper."""

from __future__ import annotations

from markupsafe import Markup

from medvfm.report import markup, text
from medvfm.report.run_view import View

TITLE = "How it was done"


def build(view: View) -> Markup | None:
    found = sentences(view)
    return markup.fragment("how_compared", said=found, runs=[]) if found else None


def sentences(view: View) -> list[str]:
    """Models, draws, intervals, and how patients for a value are counted."""
    swept = view.part("sweep")
    models = [str(model.get("name")) for model in swept.get("models") or []]
    if not models:
        return []
    sizes = sorted({int(r["train_patients"]) for r in view.metrics if r.get("train_patients") is not None})
    return [
        f"Models were {text.listed(models)}, each fitted on {text.listed([str(n) for n in sizes])} training patients.",
        f"Patients were drawn {swept.get('draws')} times, of each set of labels alike and one at least; within a draw "
        "fewer patients are some of the more. All models have the same, and validation patients are drawn in the same "
        "share. Thresholds, hyperparameters and epochs were chosen on those validation patients alone.",
        "Each draw has a training seed of its own. Intervals treat draws and test patients as crossed, as readers and "
        "cases are in reader studies (Obuchowski and Rockette 1995; degrees of freedom of Hillis 2007).",
        "Patients for a value: the number tried from which on the mean reaches it and stays there; between it and the "
        "number tried before, a straight line over the logarithm of patients.",
    ]
