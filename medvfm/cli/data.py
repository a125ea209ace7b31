"""The commands of `medvfm data`. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from medvfm.core.plurals import plural

Strict = Annotated[bool, typer.Option("--strict", help="stop at the first case that cannot be read")]

REASONS = 5  # shown on the screen

app = typer.Typer(help="Data cards and data sets.", no_args_is_help=True)


@app.command("root")
def data_root(
    card: Annotated[str, typer.Argument(help="a data card")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="where its files lie")],
) -> None:
    """Say where the data of a card lie: medvfm data root nih_cxr_pneumonia /data/nih"""
    from medvfm import lookup
    from medvfm.io.dataset import roots

    there = roots.remember(lookup.card(card), folder)
    print(f"{card}: {folder.resolve()}; {there}")


@app.command("make")
def data_make(
    card: Annotated[str, typer.Argument(help="a generated data set")],
    out: Annotated[Path, typer.Option(help="folder to write")],
    options: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="options of the card")] = None,
) -> None:
    """Write a generated data set to disk: medvfm data make virtual_brain --out brains patients=20"""
    from medvfm import lookup
    from medvfm.core import yaml_source
    from medvfm.core.errors import RecipeError
    from medvfm.io.console import Console
    from medvfm.io.dataset import roots

    found = lookup.card(card)
    given = yaml_source.overridden(yaml_source.YamlSource({}, "command line", {}), options or [], RecipeError).data
    print(roots.make(found, out, roots.options_of(found, given, "command line"), Console()))


@app.command("check")
def data_check(
    card: Annotated[str, typer.Argument(help="a data card, or the path of one")],
    root: Annotated[str | None, typer.Option(help="folder of the data; default as for a recipe")] = None,
    layout: Annotated[str | None, typer.Option(help="which of the card's layouts")] = None,
) -> None:
    """Read everything and say what is wrong: medvfm data check nih_cxr_pneumonia"""
    from medvfm import pipeline

    found, summary = pipeline.check_data(card, root, layout)
    for warning in found.warnings:
        print(f"warning: {warning}")
    for error in found.errors:
        print(f"error: {error}", file=sys.stderr)
    print(summary)
    if found.errors:
        raise typer.Exit(2)


@app.command("show")
def data_show(
    card: Annotated[str, typer.Argument(help="a data card, or the path of one")],
    root: Annotated[str | None, typer.Option(help="folder of the data; default as for a recipe")] = None,
    layout: Annotated[str | None, typer.Option(help="which of the card's layouts")] = None,
    out: Annotated[Path | None, typer.Option(help="folder of the page; default runs/card-NAME")] = None,
) -> None:
    """A page about a data set, with counts, sizes, samples and problems: medvfm data show msd_hippocampus"""
    from medvfm import pipeline

    page, answer = pipeline.show_data(card, root, layout, out)
    print(answer)
    print(f"page: {page}")


@app.command("export")
def data_export(
    card: Annotated[str, typer.Argument(help="a data card, or the path of one")],
    out: Annotated[Path, typer.Option(help="folder for the data set: nnUNet_raw")],
    format: Annotated[str, typer.Option(help="nnunet")] = "nnunet",
    root: Annotated[str | None, typer.Option(help="folder of the data; default as for a recipe")] = None,
    layout: Annotated[str | None, typer.Option(help="which of the card's layouts")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="take split, seed and classes from it, so that nnU-Net gets its patients")
    ] = None,
    number: Annotated[int, typer.Option(help="nnU-Net's number of the data set, 1 to 999")] = 500,
    folds: Annotated[int, typer.Option(min=0, help="of the training patients; 0: only train and val of the split")] = 5,
    strict: Strict = False,
) -> None:
    """Write cases for another framework: medvfm data export msd_hippocampus --format nnunet --out nnUNet_raw

    Test cases go to imagesTs. Plan and train with nnU-Net, after nnUNetv2_plan_and_preprocess with our folds:
    cp Dataset500_NAME/splits_final.json $nnUNet_preprocessed/Dataset500_NAME/. Its answers come back by
    nnUNetv2_predict -i Dataset500_NAME/imagesTs -o ANSWERS ... and
    medvfm evaluate segmentation --truth Dataset500_NAME/test.csv --predictions ANSWERS --out eval.
    """
    from medvfm.pipeline import exporting

    done = exporting.export(
        card, out, format=format, root=root, layout=layout, recipe=recipe, number=number, folds=folds, strict=strict
    )
    for case_id, reason in done.left_out:
        print(f"left out: {case_id}: {reason}", file=sys.stderr)
    left = f"; {plural(len(done.left_out), 'case')} left out" if done.left_out else ""
    print(f"{done.folder}: {len(done.training)} training and {plural(len(done.test), 'test case')}{left}")


@app.command("instruct")
def data_instruct(
    card: Annotated[str, typer.Argument(help="a data card, or the path of one")],
    out: Annotated[Path, typer.Option(help="the file to write: .json, in LLaVA's format")],
    options: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="options of the card")] = None,
    root: Annotated[str | None, typer.Option(help="folder of the data; default as for a recipe")] = None,
    layout: Annotated[str | None, typer.Option(help="which of the card's layouts")] = None,
    seed: Annotated[int, typer.Option(min=0, help="from which wordings are drawn")] = 0,
    server: Annotated[
        str | None,
        typer.Option(
            help="a language model writes the questions: address of an OpenAI-compatible server; needs --model"
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="name of the model on the server")] = None,
) -> None:
    """Instruction data from captions, questions and labels: medvfm data instruct virtual_brain --out brains.json"""
    from medvfm.core import yaml_source
    from medvfm.core.errors import RecipeError
    from medvfm.io.dataset.instruction_server import Server
    from medvfm.pipeline import instructing

    if (server is None) != (model is None):
        raise RecipeError("--server and --model go together", where="command line")
    asked = None if server is None or model is None else Server(server, model)
    given = yaml_source.overridden(yaml_source.YamlSource({}, "command line", {}), options or [], RecipeError).data
    kinds = instructing.write(card, out, root=root, layout=layout, options=given, seed=seed, server=asked)
    told = ", ".join(f"{count} of kind {kind}" for kind, count in sorted(kinds.items()))
    print(f"{out}: {plural(sum(kinds.values()), 'sample')}, {told}")


@app.command("index")
def data_index(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="folder of DICOM, NIfTI, NRRD, MetaImage or pictures")],
    out: Annotated[Path, typer.Option(help="the table to write: .csv or .parquet")],
    with_identifiers: Annotated[
        bool,
        typer.Option(
            "--with-identifiers",
            help="IDs, UIDs and paths as they are; else hashed, of paths what headers say of a patient",
        ),
    ] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="processes; default: one a core")] = None,
) -> None:
    """A folder as a table of its series, headers only: medvfm data index scans --out series.parquet"""
    from medvfm.io.console import Console
    from medvfm.io.index.folder import index

    try:
        done = index(folder, out, identifiers=with_identifiers, workers=workers, console=Console())
    except KeyboardInterrupt:
        print("interrupted; run the same command again to resume", file=sys.stderr)
        raise typer.Exit(130) from None
    passed = f"; {plural(done.passed_by, 'file')} passed by, no image" if done.passed_by else ""
    read = f"{done.rows:,} series of {plural(done.files, 'file')} in {done.table}"
    print(f"{read}, {done.problems:,} with problems{passed}")


@app.command("deidentify")
def data_deidentify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="folder of DICOM files")],
    out: Annotated[Path, typer.Option(help="a new or empty folder, not inside DIR")],
    key: Annotated[Path | None, typer.Option(help="file with the secret key; default: this installation's")] = None,
    keep_private: Annotated[
        Path | None, typer.Option(help="safe private elements, a line each: gggg,xxee,CREATOR")
    ] = None,
    blank: Annotated[Path | None, typer.Option(help="YAML rules that name pixel regions to blank")] = None,
    remove_dates: Annotated[
        bool, typer.Option("--remove-dates", help="take dates out instead of shifting them")
    ] = False,
    keep_characteristics: Annotated[
        bool, typer.Option("--keep-characteristics", help="keep sex, age, size, weight")
    ] = False,
    keep_text: Annotated[
        bool, typer.Option("--keep-text", help="keep descriptions and report text, scrubbed of known identifiers")
    ] = False,
    strict_pixels: Annotated[
        bool, typer.Option("--strict-pixels", help="leave out images that may hold text and cannot be blanked")
    ] = False,
    deface: Annotated[
        bool,
        typer.Option(
            "--deface",
            help="remove face and ears of head MR and CT; tried on simulated heads only: look at the results",
        ),
    ] = False,
) -> None:
    """Write DICOM files without their patients (PS3.15 Annex E): medvfm data deidentify scans --out clean"""
    from collections import Counter

    from medvfm.io.console import Console
    from medvfm.io.deidentify.folder import deidentify

    report = deidentify(
        folder,
        out,
        key=key,
        safe_private=keep_private,
        rules=blank,
        shift_dates=not remove_dates,
        characteristics=keep_characteristics,
        keep_text=keep_text,
        strict_pixels=strict_pixels,
        deface=deface,
        console=Console(),
    )
    if deface:
        series = Counter(done for _, done, _ in report.faces)
        print("series: " + (", ".join(f"{n} {done}" for done, n in sorted(series.items())) or "none with pixels"))
        print("look at every head before you pass it on: defacing has been tried on simulated heads only")
    if report.flagged:
        flagged = plural(len(report.flagged), "image")
        print(f"look at {flagged} before you pass them on: text may stand in their pixels")
    if report.mixed_studies:
        studies = plural(report.mixed_studies, "study")
        print(f"{studies} of several patients: to each a pseudonym and a shift of dates of its own")
    reasons = Counter(reason for _, reason in report.left_out)
    for reason, files in reasons.most_common(REASONS):
        print(f"left out, {plural(files, 'file')}: {reason}", file=sys.stderr)
    if len(reasons) > REASONS:
        print(f"left out for {plural(len(reasons) - REASONS, 'other reason')}: see the record", file=sys.stderr)
    print(f"what was done: {out / 'deidentified.json'}")
    left = f"; {plural(len(report.left_out), 'file')} left out" if report.left_out else ""
    print(f"{plural(len(report.written), 'file')} of {plural(report.patients, 'patient')}{left}")
