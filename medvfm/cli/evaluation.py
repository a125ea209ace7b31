"""Commands that judge what is finished: compare runs, test one on other data, reconcile a number, plan a study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medvfm.cli import mask_options
from medvfm.tasks import OF_LABELS


def listed(text: str) -> list[str]:
    """Words between commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN RUN...", help="finished runs, folders of `evaluate`, or predictions with --truth"),
    ],
    out: Annotated[Path, typer.Option(help="folder for run.json, report.html, table.tex and table.md")],
    truth: Annotated[
        Path | None, typer.Option(help="of predictions that were never evaluated, as `medvfm evaluate` takes it")
    ] = None,
    task: Annotated[str, typer.Option(help="with --truth: name of the task")] = OF_LABELS,
    kind: Annotated[str | None, typer.Option(help="with --truth: as for `medvfm evaluate`")] = None,
    classes: Annotated[str, typer.Option(help="with --truth: as for `medvfm evaluate`")] = "",
    labels: mask_options.Labels = None,
    predicted_labels: mask_options.PredictedLabels = None,
    background: mask_options.Background = "",
    threshold: Annotated[float | None, typer.Option(help="with --truth: a decision is score >= threshold")] = None,
    metrics: Annotated[
        str, typer.Option(help="names, separated by commas, the first decides places; default: all that runs share")
    ] = "",
    adjust: Annotated[str, typer.Option(help="of p-values for several tests: holm or benjamini_hochberg")] = "holm",
    test: Annotated[
        str, typer.Option(help="auto; permutation for AUROC; wilcoxon for means of values of cases, such as Dice")
    ] = "auto",
    margin: Annotated[
        str | None, typer.Option(help="differences that do not matter: 0.05 of the first metric, or dice=0.02,hd95=1")
    ] = None,
    level: Annotated[float, typer.Option(help="of intervals; tests reject at 1 less it")] = 0.95,
    resamples: Annotated[int, typer.Option(help="of patients, where an interval needs them")] = 2000,
    interval: Annotated[str, typer.Option(help="auto, bootstrap, bca or clopper_pearson (of shares)")] = "auto",
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Paired tests of runs on the same cases: medvfm compare runs/probe runs/knn --out runs/compared

    What no test separates shares a place. With a margin: medvfm compare runs/new runs/old --margin 0.05 --out compared

    Tables of predictions: medvfm compare mine.csv theirs.csv --truth truth.csv --out compared

    Masks: medvfm compare mine theirs --truth labels --task segmentation --labels 1=liver,6=spleen --out compared
    """
    from medvfm.core.errors import RecipeError
    from medvfm.pipeline import asked_confidence, comparing

    given = {
        "kind": kind,
        "classes": listed(classes),
        "labels": labels,
        "predicted_labels": predicted_labels,
        "background": listed(background),
        "threshold": threshold,
    }
    options = {name: value for name, value in given.items() if value not in (None, [])}
    if options and truth is None:
        option = next(iter(options)).replace("_", "-")
        raise RecipeError("only predictions with --truth take this", where=f"--{option}")
    comparing.compare(
        runs,
        out,
        truth=truth,
        task=task,
        options=options,
        metrics=listed(metrics) or None,
        adjust=adjust.replace("-", "_"),
        test=test,
        margin=margin,
        confidence=asked_confidence.confidence(level=level, resamples=resamples, method=interval, where="compare"),
        seed=seed,
    )
    from medvfm.cli import summary

    summary.show(out)


def test(
    run: Annotated[Path, typer.Argument(help="a finished run")],
    card: Annotated[str, typer.Option(help="data card of the other set: a name or a path")],
    out: Annotated[Path, typer.Option(help="run directory of its own; the finished run is never written to")],
    root: Annotated[Path | None, typer.Option(help="folder of the other data; default: as for `medvfm run`")] = None,
    layout: Annotated[str | None, typer.Option(help="of the other card, where it has several")] = None,
    other_patients: Annotated[
        bool, typer.Option("--other-patients", help="names of patients in both sets stand for different people")
    ] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; default: cuda where there is one")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="stop at the first case that cannot be read")] = False,
) -> None:
    """External validation, nothing fitted anew: medvfm test runs/lesion --card other.yaml --root scans --out external

    Weights, windows, thresholds and calibration are those of the run. Cases that it was trained on stop the test.
    """
    from medvfm.pipeline import external

    external.test(run, card, out, root=root, layout=layout, other_patients=other_patients, device=device, strict=strict)
    from medvfm.cli import summary

    summary.show(out)


def reconcile(
    table: Annotated[
        Path, typer.Argument(help="case_id, truth, answer (and question_type, question, ...), or case_id, truth, score")
    ],
    published: Annotated[str, typer.Option(help="the number as it is printed: 0.84, or 84.0%")],
    metric: Annotated[str, typer.Option(help="its name, as in `medvfm list metrics`")],
    out: Annotated[Path | None, typer.Option(help="file for the whole table, .csv or .parquet")] = None,
) -> None:
    """Which protocol gives a published number: medvfm reconcile t.csv --published 0.84 --metric closed_accuracy

    Every named protocol, split and denominator is counted; a number reproduces the printed one if it rounds to it.
    """
    from medvfm.io.run_directory import write_table
    from medvfm.pipeline import reconciling

    found = reconciling.reconcile(table, published, metric)
    if out is not None:
        write_table(out, found)
    for row in found.to_dict("records"):
        mark = "  =" if row["reproduces"] else "   "
        where = f"{row['protocol']}: {row['denominator']}, {row['split']}"
        print(f"{mark} {row['value']:.4f}  {row['cases']:>6}  {where}")
    print(found.attrs["said"])


def power(
    metric: Annotated[str, typer.Argument(help="auroc, dice, sensitivity, specificity or accuracy")],
    value: Annotated[float, typer.Option(help="that is expected")],
    width: Annotated[float | None, typer.Option(help="of its interval, from end to end, at most")] = None,
    against: Annotated[float | None, typer.Option(help="a fixed value that it is tested against")] = None,
    other: Annotated[float | None, typer.Option(help="what another model reaches on the same patients")] = None,
    margin: Annotated[float | None, typer.Option(help="not worse by this or more is to be shown")] = None,
    patients: Annotated[int | None, typer.Option(help="what so many give, in place of how many are needed")] = None,
    wanted: Annotated[float, typer.Option("--power", help="that the test is to have")] = 0.8,
    level: Annotated[float, typer.Option(help="of the interval that decides")] = 0.95,
    prevalence: Annotated[
        float | None, typer.Option(help="share of patients with the finding: auroc, sensitivity, specificity")
    ] = None,
    sd: Annotated[float | None, typer.Option(help="standard deviation of the Dice of cases")] = None,
    correlation: Annotated[
        float, typer.Option(help="with --other: of the two AUROC or Dice, or of being right (sensitivity)")
    ] = 0.5,
    cases: Annotated[float, typer.Option(help="of each patient, such as images")] = 1,
    icc: Annotated[float, typer.Option(help="how alike cases of a patient are: 0 strangers, 1 all the same")] = 0.5,
) -> None:
    """Patients for the next study: medvfm power auroc --value 0.85 --prevalence 0.2 --width 0.1

    auroc, dice, sensitivity, specificity and accuracy: for an interval of some width (--width), a test against a fixed
    value (--against) or against another model on the same patients (--other), or to show that it is not worse by a
    margin (--margin). Several cases of a patient count as fewer (--cases, --icc).

    medvfm power dice --value 0.85 --sd 0.12 --other 0.83 --correlation 0.7

    medvfm power sensitivity --value 0.9 --prevalence 0.1 --other 0.9 --margin 0.05
    """
    from medvfm.pipeline import study

    found = study.power(
        metric,
        value=value,
        width=width,
        against=against,
        other=other,
        margin=margin,
        patients=patients,
        wanted=wanted,
        level=level,
        prevalence=prevalence,
        sd=sd,
        correlation=correlation,
        cases=cases,
        icc=icc,
    )
    for line in found.said:
        print(line)
