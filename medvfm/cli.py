"""The command line. Nothing heavy is imported before a command needs it, so that --help answers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Protocol, runtime_checkable

import typer

app = typer.Typer(
    name="medvfm",
    help="Adapt foundation models to clinical imaging tasks, and report honestly how well they do.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="Data cards and data sets.", no_args_is_help=True)
app.add_typer(data_app, name="data")

RecipePath = Annotated[str, typer.Argument(metavar="RECIPE", help="a recipe's path, or the name of a shipped one")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="override any dotted key")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; default: cuda where there is one")]
Strict = Annotated[bool, typer.Option("--strict", help="stop at the first case that cannot be read")]


def _recipe(path: str, overrides: list[str] | None):
    from medvfm import lookup
    from medvfm.core import recipe

    return recipe.load(lookup.recipe(path), overrides or [])


@app.command()
def run(
    recipe: RecipePath,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="run directory; default runs/TITLE-HASH")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with an unfinished run")] = False,
    device: Device = None,
    strict: Strict = False,
) -> None:
    """Adapt, evaluate and report: medvfm run recipes/quickstart.yaml adapter.method=knn"""
    loaded = _recipe(recipe, overrides)
    from medvfm import pipeline

    finished = pipeline.run(loaded, out, resume=resume, device=device, strict=strict)
    directory, record = finished.directory, finished.record
    _numbers(record)
    print(f"report: {directory / 'report.html'}")
    left = len(record["data"].get("left_out", []))
    print(
        f"{len(record['metrics'])} numbers in {directory / 'run.json'}" + (f"; {left} cases left out" if left else "")
    )


@app.command()
def check(
    recipe: RecipePath,
    overrides: Overrides = None,
    ready: Annotated[bool, typer.Option("--ready", help="also that data and weights are here")] = False,
) -> None:
    """All that can be known before training: medvfm check recipes/quickstart.yaml --ready"""
    loaded = _recipe(recipe, overrides)
    from medvfm import pipeline

    for line in pipeline.check(loaded, ready=ready):
        print(line)


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="a finished run")],
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="image files or folders of a DICOM series")],
    out: Annotated[Path, typer.Option(help="folder for the answers")],
    format: Annotated[
        str | None, typer.Option(help="csv for scores; nifti (default), dicom-seg or png for masks")
    ] = None,
    device: Device = None,
    strict: Strict = False,
) -> None:
    """Ask a finished run about new images: medvfm predict runs/lesion scans/series1 --out answers"""
    from medvfm import pipeline

    path, left_out = pipeline.predict(run, inputs, out, form=format, device=device, strict=strict)
    for case_id, reason in left_out:
        print(f"left out: {case_id}: {reason}", file=sys.stderr)
    print(f"{path}" + (f"; {len(left_out)} inputs left out" if left_out else ""))


@app.command()
def evaluate(
    task: Annotated[str, typer.Argument(help="what was asked: classification or segmentation")],
    truth: Annotated[
        Path, typer.Option(help="table with case_id, patient_id and a column a class, or mask; or a folder of masks")
    ],
    predictions: Annotated[
        Path, typer.Option(help="table with case_id and scores or mask; or a folder of masks named after cases")
    ],
    out: Annotated[Path, typer.Option(help="run directory")],
    metrics: Annotated[str, typer.Option(help="names, separated by commas; default: those of the task")] = "",
    kind: Annotated[
        str | None, typer.Option(help="binary, multi_class, multi_label, ordinal; semantic, instances")
    ] = None,
    classes: Annotated[str, typer.Option(help="names of a mask's values 1, 2, ..., separated by commas")] = "",
    threshold: Annotated[float | None, typer.Option(help="a decision is score >= threshold")] = None,
    subgroups: Annotated[str, typer.Option(help="columns of the truth, separated by commas")] = "",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="score the cases that match")] = False,
) -> None:
    """Score any model's output: medvfm evaluate classification --truth t.csv --predictions p.csv --out eval

    Masks likewise: medvfm evaluate segmentation --truth labels --predictions drawn --metrics dice,hd95 --out eval
    """
    from medvfm import pipeline
    from medvfm.core.errors import RecipeError

    if task == "segmentation" and threshold is not None:
        raise RecipeError("masks have no threshold", where="--threshold")
    own = {"classes": _list(classes)} if task == "segmentation" else {"threshold": threshold}
    pipeline.evaluate(
        task,
        truth=truth,
        predictions=predictions,
        metrics=_list(metrics) or None,
        out=out,
        kind=kind,
        subgroups=_list(subgroups),
        seed=seed,
        allow_missing=allow_missing,
        **own,
    )
    from medvfm.io.run_directory import read_record

    _numbers(read_record(out))
    print(f"report: {out / 'report.html'}")


@app.command()
def report(run: Annotated[Path, typer.Argument(help="a run directory")]) -> None:
    """Render report.html again from a run directory: medvfm report runs/lesion"""
    from medvfm import pipeline

    print(f"report: {pipeline.report(run)}")


@app.command("list")
def list_names(
    what: Annotated[str, typer.Argument(help="adapters, methods, tasks, metrics, recipes, cards or runs")],
) -> None:
    """What there is to choose from: medvfm list metrics"""
    from medvfm import lookup
    from medvfm.core.errors import RecipeError, nearest

    if what in ("methods", "metrics"):  # they stand in code that imports torch
        from medvfm import pipeline

        found = pipeline.methods() if what == "methods" else pipeline.metrics()
    elif what in lookup.LISTS:
        found = lookup.LISTS[what]()
    else:
        raise RecipeError(f"no list {what!r}; {nearest(what, [*lookup.LISTS, 'methods', 'metrics'])}")
    for name, summary in found:
        print(f"{name:<34} {summary}".rstrip())


@app.command()
def schema(what: Annotated[str, typer.Argument(help="recipe or card")]) -> None:
    """The JSON Schema, for editors: medvfm schema recipe"""
    import json

    from medvfm.core import data_card, recipe
    from medvfm.core.errors import RecipeError, nearest

    schemas = {"recipe": recipe.json_schema, "card": data_card.json_schema}
    if what not in schemas:
        raise RecipeError(f"no schema {what!r}; {nearest(what, schemas)}")
    print(json.dumps(schemas[what](), indent=2))


@app.command()
def doctor() -> None:
    """What is installed, which codecs, which device, what is cached."""
    from medvfm.io import doctor as health

    for name, value in health.findings():
        print(f"{name:<26} {value}")


@data_app.command("root")
def data_root(
    card: Annotated[str, typer.Argument(help="a data card")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="where its files lie")],
) -> None:
    """Say where the data of a card lie: medvfm data root nih_cxr_pneumonia /data/nih"""
    from medvfm import lookup
    from medvfm.io import roots

    roots.remember(lookup.card(card).name, folder)
    print(f"{card}: {folder.resolve()}")


@data_app.command("make")
def data_make(
    card: Annotated[str, typer.Argument(help="a generated data set")],
    out: Annotated[Path, typer.Option(help="folder to write")],
    options: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="options of the card")] = None,
) -> None:
    """Write a generated data set to disk: medvfm data make virtual_brain --out brains patients=20"""
    from medvfm import lookup
    from medvfm.core import yaml_source
    from medvfm.core.errors import RecipeError
    from medvfm.io import roots
    from medvfm.io.console import Console

    found = lookup.card(card)
    given = yaml_source.overridden(yaml_source.Source({}, "command line", {}), options or [], RecipeError).data
    print(roots.make(found, out, found.options_with(given), Console()))


@data_app.command("check")
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


@data_app.command("show")
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


@data_app.command("export")
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
    from medvfm import lookup
    from medvfm.core.errors import RecipeError, nearest
    from medvfm.core.recipe import Split, Task
    from medvfm.io import nnunet, roots, tables
    from medvfm.io.console import Console
    from medvfm.io.truth import TruthReader
    from medvfm.tasks import segmentation

    if format != "nnunet":
        raise RecipeError(f"no format {format!r}; {nearest(format, ['nnunet'])}", where="--format")
    found, console = lookup.card(card), Console()
    settings, split, seed, options = Task(name="segmentation"), None, 0, {}
    if recipe is not None:
        loaded = _recipe(recipe, None)
        split, seed, options = loaded.split, loaded.seed, dict(loaded.data.options)
        root, layout = root or loaded.data.root, layout or loaded.data.layout
        asked = [task for task in loaded.tasks if task.name == "segmentation"]
        if lookup.card(loaded.data.card).name != found.name or not asked:
            raise RecipeError(f"the recipe asks for no segmentation of {found.name}", where=recipe)
        settings = asked[0]
    question = segmentation.build(settings, card, found)
    table = tables.read_cases(found, roots.locate(found, root, options, console, layout=layout), layout=layout)
    if split is None:  # as a run without a word on it, but the card's own where it has one
        has_own = {"train", "test"} <= {case.split for case in table.cases}
        split = Split.model_validate({"from": "card"} if has_own else {})
    done = nnunet.export(
        found,
        table,
        TruthReader.of(found, question.classes, question.kind),
        out,
        number=number,
        split=split,
        seed=seed,
        folds=folds or None,
        strict=strict,
        console=console,
    )
    for case_id, reason in done.left_out:
        print(f"left out: {case_id}: {reason}", file=sys.stderr)
    left = f"; {len(done.left_out)} cases left out" if done.left_out else ""
    print(f"{done.folder}: {len(done.training)} training and {len(done.test)} test cases{left}")


@data_app.command("index")
def data_index(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="folder of DICOM, NIfTI, NRRD, MetaImage or pictures")],
    out: Annotated[Path, typer.Option(help="the table to write: .csv or .parquet")],
    with_identifiers: Annotated[
        bool, typer.Option("--with-identifiers", help="patient IDs, UIDs and paths as they are, not hashed")
    ] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="processes; default: one a core")] = None,
) -> None:
    """A folder as a table of its series, headers only: medvfm data index scans --out series.parquet"""
    from medvfm.io.console import Console
    from medvfm.io.index import index

    try:
        done = index(folder, out, identifiers=with_identifiers, workers=workers, console=Console())
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        raise typer.Exit(130) from None
    passed = f"; {done.passed_by} files that are no images passed by" if done.passed_by else ""
    print(f"{done.rows} series of {done.files} files in {done.table}, {done.problems} with problems{passed}")


@data_app.command("deidentify")
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
    from medvfm.io.deidentify import deidentify

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
        print(f"look at {len(report.flagged)} images before you pass them on: text may stand in their pixels")
    print(f"what was done: {out / 'deidentified.json'}")
    left = len(report.left_out)
    print(f"{len(report.written)} files of {report.patients} patients" + (f"; {left} files left out" if left else ""))


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _numbers(record: dict) -> None:
    """The main numbers as a table: every metric of the model, and of baselines the first."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=record["title"], title_justify="left", header_style="bold")
    for name in ("metric", "of", "value", "interval", "cases", "patients"):
        table.add_column(name, justify="right" if name in ("value", "cases", "patients") else "left")
    rows = [
        r
        for r in record["metrics"]
        if r["split"] == "test"
        and not r["group"]
        and not r["metric"].endswith("_difference")
        and (not r["baseline"] or r["metric"] == record["metrics"][0]["metric"])
    ]
    for row in rows:
        of = " ".join(str(p) for p in (row["target"], f"({row['baseline']})" if row["baseline"] else None) if p)
        value = (
            "-" if row["value"] is None else f"{row['value']:.0f}" if row["unit"] == "cases" else f"{row['value']:.3f}"
        )
        interval = row["note"] or "" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
        table.add_row(row["metric"], of, value, interval, str(row["cases"]), str(row["patients"]))
    Console(width=None if sys.stdout.isatty() else 110).print(table)


def main() -> None:
    """Run the command line: 0 done, 2 the user's input is wrong, 1 our fault, 130 interrupted."""
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        code = app(arguments, standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except KeyboardInterrupt:
        print("interrupted; --resume goes on from the last epoch", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
        sys.exit(_explain(error))


@runtime_checkable
class _UsageFault(Protocol):
    """What the parser raises for a wrong command line: known by what it does, as Typer brings its own click."""

    exit_code: int

    def show(self) -> None: ...


def _explain(error: Exception) -> int:
    if isinstance(error, typer.Abort):
        print("interrupted", file=sys.stderr)
        return 130
    if isinstance(error, _UsageFault):
        error.show()
        return error.exit_code
    from medvfm.core.errors import MedvfmError

    if isinstance(error, MedvfmError):
        print(f"medvfm: {error}", file=sys.stderr)
        return 2
    print(f"medvfm: a fault of medvfm itself: {type(error).__name__}: {error} (--debug shows where)", file=sys.stderr)
    return 1


if __name__ == "__main__":
    main()
