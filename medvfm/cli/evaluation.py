"""Commands that judge what is finished: compare runs, test one on other data, reconcile a number, plan a study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def listed(text: str) -> list[str]:
    """Words between commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="finished runs, or folders of `evaluate`")],
    out: Annotated[Path, typer.Option(help="folder for run.json, report.html, table.tex and table.md")],
    metrics: Annotated[
        str, typer.Option(help="names, separated by commas, the first decides places; default: all that runs share")
    ] = "",
    adjust: Annotated[str, typer.Option(help="of p-values for several tests: holm or benjamini_hochberg")] = "holm",
    margin: Annotated[
        str | None, typer.Option(help="differences that do not matter: 0.05 of the first metric, or dice=0.02,hd95=1")
    ] = None,
    level: Annotated[float, typer.Option(help="of intervals; tests reject at 1 less it")] = 0.95,
    resamples: Annotated[int, typer.Option(help="of patients, where an interval needs them")] = 2000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Paired tests of runs on the same cases: medvfm compare runs/probe runs/knn --out runs/compared

    What no test separates shares a place. With a margin: medvfm compare runs/new runs/old --margin 0.05 --out compared
    """
    from medvfm.core.errors import RecipeError
    from medvfm.core.recipe import Confidence
    from medvfm.core.yaml_source import YamlSource, validated
    from medvfm.pipeline import comparing

    given = YamlSource({"level": level, "resamples": resamples}, "--level, --resamples", {})
    confidence = validated(given, Confidence, RecipeError)
    comparing.compare(
        runs,
        out,
        metrics=listed(metrics) or None,
        adjust=adjust.replace("-", "_"),
        margin=margin,
        confidence=confidence,
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
