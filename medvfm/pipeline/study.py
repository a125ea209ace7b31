"""The size of the next study, from what it is to show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from medvfm.core.errors import RecipeError, Undefined, nearest
from medvfm.statistics import power as planning
from medvfm.statistics.power import Auroc, Claim, Mean, Number, Patients, Rate

METRICS = ("auroc", "dice", "sensitivity", "specificity", "accuracy")


@dataclass(frozen=True)
class Study:
    """patients, of whom `positives` have the finding (None where that plays no part); what they give: the `power` of a
    test, or the `width` of the interval; `effective` independent cases that the number rests on; `said` in words."""

    patients: int
    positives: int | None
    effective: float
    power: float | None
    width: float
    said: tuple[str, ...]


def power(
    metric: str,
    *,
    value: float,
    width: float | None = None,
    against: float | None = None,
    other: float | None = None,
    margin: float | None = None,
    patients: int | None = None,
    wanted: float = 0.8,
    level: float = 0.95,
    prevalence: float | None = None,
    sd: float | None = None,
    correlation: float = 0.5,
    cases: float = 1,
    icc: float = 0.5,
) -> Study:
    """How many patients are needed, or, with `patients`, what so many give.

    value        that is expected
    width        of its interval, from end to end, at most
    against      a fixed value that it is tested against
    other        what another model is expected to reach on the same patients; `correlation` of the two
    margin       with `against` or `other`: not worse by the margin or more is to be shown
    prevalence   share of patients with the finding: of AUROC, sensitivity and specificity
    sd           standard deviation of the Dice of cases
    cases, icc   cases of each patient, and how alike they are
    """
    _refuse(metric, locals())
    number, whom = _number(metric, value, prevalence, sd, cases, icc)
    compared = other if other is not None else against
    test = None
    if compared is not None:
        test = Claim(number, compared, correlation if other is not None else None, margin, level)
    try:
        if patients is None and test is not None:
            patients = planning.patients_for_power(test, whom, wanted)
        elif patients is None:
            assert width is not None
            patients = planning.patients_for_width(number, whom, width, level)
        effective = whom.effective(patients)
        reached = None if test is None else test.power(effective)
    except Undefined as reason:
        raise RecipeError(f"no number of patients does this: {reason}", where=f"power {metric}") from reason
    positives = None if prevalence is None or metric in ("dice", "accuracy") else round(patients * prevalence)
    found = Study(patients, positives, effective, reached, number.width(effective, level), ())
    said = _said(metric, number, whom, test, found, level)
    return Study(patients, positives, effective, reached, found.width, said)


def _number(
    metric: str, value: float, prevalence: float | None, sd: float | None, cases: float, icc: float
) -> tuple[Number, Patients]:
    """The number, and what a patient brings to it."""
    if metric == "dice":
        assert sd is not None
        return Mean(value, sd), Patients(1.0, cases, icc)
    if metric == "accuracy":
        return Rate(value), Patients(1.0, cases, icc)
    assert prevalence is not None
    if metric == "auroc":
        return Auroc(value, prevalence), Patients(1.0, cases, icc)
    return Rate(value), Patients(prevalence if metric == "sensitivity" else 1 - prevalence, cases, icc)


def _refuse(metric: str, given: Mapping[str, object]) -> None:
    """What does not fit together, by the option's name."""
    if metric not in METRICS:
        raise RecipeError(f"no plan for {metric!r}; {nearest(metric, METRICS)}", where="power")
    for name in ("value", "against", "other", "prevalence", "wanted", "level", "width"):
        found = given[name]
        if found is not None and not 0 < float(str(found)) < 1:
            raise RecipeError(f"lies between 0 and 1, and {found} does not", where=f"--{name}")
    if metric == "dice" and given["sd"] is None:
        raise RecipeError(
            "the Dice of cases has a standard deviation, which is not given", where="--sd", remedy="as in 0.1"
        )
    if metric in ("auroc", "sensitivity", "specificity") and given["prevalence"] is None:
        raise RecipeError(f"{metric} rests on the patients with the finding", where="--prevalence", remedy="as in 0.2")
    if given["against"] is not None and given["other"] is not None:
        raise RecipeError("a fixed value or another model, not both", where="--against, --other")
    tests = given["against"] is not None or given["other"] is not None
    if given["margin"] is not None and not tests:
        raise RecipeError(
            "a margin is to a value or another model", where="--margin", remedy="give --other or --against"
        )
    if not tests and given["width"] is None and given["patients"] is None:
        raise RecipeError(
            "what is the study to show?", where=f"power {metric}", remedy="--width, --against, --other or --patients"
        )
    for name, low, high in (
        ("correlation", -1, 1), ("icc", 0, 1), ("cases", 1, 1e6), ("margin", 0, 1), ("patients", 2, planning.MOST),
        ("sd", 0, 1e6),
    ):  # fmt: skip
        found = given[name]
        if found is not None and not low <= float(str(found)) <= high:
            raise RecipeError(f"lies between {low:g} and {high:g}, and {found} does not", where=f"--{name}")


def _said(
    metric: str, number: Number, whom: Patients, test: Claim | None, found: Study, level: float
) -> tuple[str, ...]:
    """The plan, and what it rests on, a sentence each."""
    named = {"auroc": "AUROC", "dice": "Dice"}.get(metric, metric)
    first = named[:1].upper() + named[1:]
    of_them = f", {found.positives:,} of them with the finding" if found.positives is not None else ""
    lines = [f"{found.patients:,} patients{of_them}."]
    lines.append(f"{first} of {number.value:g}: a {100 * level:g}% interval {found.width:.3f} wide.")
    if test is not None and found.power is not None:
        what = f"{named} of {test.other:g}"
        rival = f"another model with {what} on the same patients (correlation {test.correlation:g})"
        beside = rival if test.correlation is not None else f"a fixed {what}"
        shows = "differs from" if test.margin is None else f"is not worse by {test.margin:g} or more than"
        lines.append(f"Power {found.power:.3f} to show that it {shows} {beside}.")
    if whom.cases > 1:
        lines.append(
            f"{whom.cases:g} cases of a patient, alike by {whom.icc:g} (intraclass correlation): design effect "
            f"{whom.design_effect:.3g}, worth {found.effective:.0f} independent cases."
        )
    return tuple(lines)
