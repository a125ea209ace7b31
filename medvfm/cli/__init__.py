"""The command line. Nothing heavy is imported before a command needs it, so that --help answers at once."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, Protocol, runtime_checkable

import typer

from medvfm.cli import contract as contracts
from medvfm.cli import data, evaluation, mask_options
from medvfm.cli import init as proposal
from medvfm.cli import view as viewing

app = typer.Typer(
    name="medvfm",
    help="Adapt foundation models to clinical imaging tasks, and report honestly how well they do.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data.app, name="data")
app.command("init")(proposal.init)
app.command("contract")(contracts.contract)
app.command("view")(viewing.view)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        print(f"medvfm {metadata.version('medvfm')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version, and no more")
    ] = False,
) -> None:
    """Adapt foundation models to clinical imaging tasks, and report honestly how well they do."""


RecipePath = Annotated[str, typer.Argument(metavar="RECIPE", help="a recipe's path, or the name of a shipped one")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="override any dotted key")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; default: cuda where there is one")]
Strict = Annotated[bool, typer.Option("--strict", help="stop at the first case that cannot be read")]


Model = Annotated[str | None, typer.Option(help="weights in place of the recipe's: a name of `medvfm list models`")]


def _recipe(path: str, overrides: list[str] | None, model: str | None = None):
    from medvfm import lookup
    from medvfm.core import recipe

    chosen = [] if model is None else lookup.model(model)
    return recipe.load(lookup.recipe(path), [*chosen, *(overrides or [])])


@app.command()
def run(
    recipe: RecipePath,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="run directory; default runs/TITLE-HASH")] = None,
    model: Model = None,
    resume: Annotated[bool, typer.Option("--resume", help="continue an unfinished run")] = False,
    device: Device = None,
    strict: Strict = False,
) -> None:
    """Adapt, evaluate and report: medvfm run recipes/quickstart.yaml adapter.method=knn"""
    from medvfm.io.console import Console

    console = Console()
    loaded = _recipe(recipe, overrides, model)
    console.say(f"{loaded.title} ({loaded.adapter.name}, {loaded.data.card})")
    with console.working("starting"):
        from medvfm import pipeline
        from medvfm.cli import summary

    finished = pipeline.run(loaded, out, resume=resume, device=device, strict=strict, console=console)
    directory, record = finished.directory, finished.record
    summary.show(directory)
    left = len(record["data"].get("left_out", []))
    print(
        f"{len(record['metrics'])} numbers in {directory / 'run.json'}" + (f"; {left} cases left out" if left else "")
    )


@app.command()
def check(
    recipe: RecipePath,
    overrides: Overrides = None,
    ready: Annotated[bool, typer.Option("--ready", help="read and split every case, as a run would")] = False,
    model: Model = None,
    device: Device = None,
) -> None:
    """All that can be known before training: medvfm check recipes/quickstart.yaml --ready"""
    loaded = _recipe(recipe, overrides, model)
    from medvfm import pipeline

    for line in pipeline.check(loaded, ready=ready, device=device):
        print(line)


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="a finished run")],
    out: Annotated[Path, typer.Option(help="folder for the answers")],
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[INPUT]...", help="image files, DICOM series, folders, tables with a column image, cards"
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            help="csv for scores; nifti (default), dicom-seg or png for masks; png, png16 or dicom for made images, "
            "nifti for made volumes; parquet, safetensors for vectors"
        ),
    ] = None,
    query: Annotated[str | None, typer.Option(help="rank the images by these words")] = None,
    like: Annotated[Path | None, typer.Option(help="rank the images by how alike they are to this one")] = None,
    question: Annotated[str | None, typer.Option(help="what to ask of every image, in words")] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="table of boxes or points, or folder of masks, for a prompted model")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="make images of what these words say")] = None,
    case: Annotated[str | None, typer.Option(help="make images for the condition of this case of the run")] = None,
    strength: Annotated[
        float | None, typer.Option(help="with --prompt and an INPUT to begin with: how much of it is made anew, to 1")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="of made images: the same seed gives the same image")] = 0,
    count: Annotated[int, typer.Option(min=1, help="how many images are made, from the seed on")] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace answers that lie in --out")] = False,
    device: Device = None,
    strict: Strict = False,
) -> None:
    """Ask a finished run about new images: medvfm predict runs/lesion scans/series1 --out answers

    A run of image and text searches: medvfm predict runs/reports scans --query "pleural effusion" --out found

    A run of question answering is asked: medvfm predict runs/vqa scan --question "Is there a lesion?" --out answers

    A run of generation makes images: medvfm predict runs/synthesis --prompt "pleural effusion" --seed 1 --out made
    """
    from medvfm.core.errors import RecipeError
    from medvfm.pipeline import making, predicting, searching

    if prompt is not None or case is not None:
        asked: dict[str, Any] = {
            "prompt": prompt,
            "case": case,
            "image": making.one_input(inputs),
            "strength": strength,
        }
        drawn: dict[str, Any] = {"seed": seed, "count": count, "form": format, "overwrite": overwrite}
        made = making.make(run, out, **asked, **drawn, device=device)
        print(f"{len(made)} image{'s' * (len(made) > 1)}: {', '.join(str(out / file) for file in made['file'][:3])}")
        return
    if not inputs:
        raise RecipeError("no images were given", where="INPUT", remedy="name files, or --prompt TEXT to make images")
    how: dict[str, Any] = {"overwrite": overwrite, "device": device, "strict": strict}
    written = out / "predictions.csv"
    if query is not None or like is not None:
        table = searching.search(run, inputs, out, query=query, like=like, **how)
        left_out, unlike = table.attrs["left_out"], table.attrs["unlike"]
    elif format in searching.EXPORTS:
        vectors = searching.export(run, inputs, out, format, **how)
        left_out, unlike, written = vectors.left_out, vectors.unlike, out / f"embeddings.{format}"
    else:
        table = predicting.predict(run, inputs, out, form=format, prompts=prompts, question=question, **how)
        left_out, unlike = table.attrs["left_out"], table.attrs["unlike"]
    for name, reason in unlike:
        print(f"unlike the training images: {name}: {reason}", file=sys.stderr)
    for name, reason in left_out:
        print(f"left out: {name}: {reason}", file=sys.stderr)
    ends = [f"{len(left_out)} inputs left out"] * bool(left_out)
    ends += [f"{len(unlike)} unlike the training images"] * bool(unlike)
    print("; ".join([str(written), *ends]))


@app.command()
def evaluate(
    task: Annotated[str, typer.Argument(help="name of the task; see `medvfm list tasks`")],
    truth: Annotated[
        Path,
        typer.Option(help="table with case_id, patient_id and a column a class, or mask; folder of masks or images"),
    ],
    predictions: Annotated[
        Path, typer.Option(help="table with case_id and scores or mask; or a folder of masks named after cases")
    ],
    out: Annotated[Path, typer.Option(help="run directory")],
    metrics: Annotated[str, typer.Option(help="names, separated by commas; default: those of the task")] = "",
    kind: Annotated[
        str | None, typer.Option(help="binary, multi_class, multi_label, ordinal; semantic, instances")
    ] = None,
    classes: Annotated[
        str, typer.Option(help="classes in order, comma-separated; of masks the names of 1, 2, ...")
    ] = "",
    labels: mask_options.Labels = None,
    predicted_labels: mask_options.PredictedLabels = None,
    background: mask_options.Background = "",
    threshold: Annotated[float | None, typer.Option(help="a decision is score >= threshold")] = None,
    subgroups: Annotated[str, typer.Option(help="columns of the truth, separated by commas")] = "",
    extractor: Annotated[
        str | None, typer.Option(help="of features of images: embedded, inception:FILE, dinov2:WEIGHTS, clip:WEIGHTS")
    ] = None,
    level: Annotated[float, typer.Option(help="of intervals, above 0.5 and below 1")] = 0.95,
    resamples: Annotated[int, typer.Option(help="where an interval needs them, at least 100")] = 2000,
    cluster: Annotated[str, typer.Option(help="what is resampled whole: patient")] = "patient",
    interval: Annotated[str, typer.Option(help="auto, bootstrap, bca or clopper_pearson (of shares)")] = "auto",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="score the cases that match")] = False,
) -> None:
    """Score any model's output: medvfm evaluate classification --truth t.csv --predictions p.csv --out eval

    Masks likewise: medvfm evaluate segmentation --truth labels --predictions masks --metrics dice,hd95 --out eval

    Sets of images: medvfm evaluate generation --truth real --predictions made --metrics fid,kid --out eval
    """
    from medvfm import pipeline
    from medvfm.pipeline import asked_confidence

    given: dict[str, Any] = {
        "kind": kind,
        "classes": _list(classes),
        "labels": labels,
        "predicted_labels": predicted_labels,
        "background": _list(background),
        "threshold": threshold,
        "subgroups": _list(subgroups),
        "allow_missing": allow_missing,
        "extractor": extractor,
    }
    pipeline.evaluate(
        task,
        truth=truth,
        predictions=predictions,
        metrics=_list(metrics) or None,
        out=out,
        confidence=asked_confidence.confidence(
            level=level, resamples=resamples, cluster=cluster, method=interval, where="evaluate"
        ),
        seed=seed,
        **{name: value for name, value in given.items() if value not in (None, [], False)},
    )
    from medvfm.cli import summary

    summary.show(out)


app.command()(evaluation.test)
app.command()(evaluation.compare)
app.command()(evaluation.reconcile)
app.command()(evaluation.power)


@app.command()
def report(run: Annotated[Path, typer.Argument(help="a run directory")]) -> None:
    """Render report.html again from a run directory: medvfm report runs/lesion"""
    from medvfm import pipeline

    pipeline.report(run)
    from medvfm.cli import summary

    summary.show(run)


@app.command("list")
def list_names(
    what: Annotated[
        str,
        typer.Argument(
            help="adapters, methods, tasks, metrics, models, baselines, augmentations, postprocess, recipes, cards or "
            "runs"
        ),
    ],
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="[FOLDER]...", help="of runs: where to look, default runs")
    ] = None,
) -> None:
    """What there is to choose from: medvfm list metrics, medvfm list runs results older_results"""
    from medvfm import lookup
    from medvfm.cli.listing import show
    from medvfm.core.errors import RecipeError, nearest

    heavy = ("methods", "metrics", "baselines", "augmentations", "postprocess")  # they stand in code that imports torch
    if folders and what != "runs":
        raise RecipeError("folders are for `medvfm list runs`", where=str(folders[0]))
    if what in heavy:
        from medvfm import pipeline

        show(getattr(pipeline, what)())
    elif what == "runs":
        show(lookup.runs(folders or [f for f in (Path("runs"),) if f.is_dir()]), none="no run below this folder's runs")
    elif what in lookup.LISTS:
        show(lookup.LISTS[what]())
    else:
        raise RecipeError(f"no list {what!r}; {nearest(what, [*lookup.LISTS, *heavy, 'runs'])}")


@app.command()
def schema(what: Annotated[str, typer.Argument(help="recipe or card")]) -> None:
    """The JSON Schema, for editors: medvfm schema recipe"""
    import json

    from medvfm.core import data_card
    from medvfm.core.errors import RecipeError, nearest

    def of_recipe() -> dict[str, Any]:
        from medvfm.pipeline import values_used

        return values_used.schema()

    schemas = {"recipe": of_recipe, "card": data_card.json_schema}
    if what not in schemas:
        raise RecipeError(f"no schema {what!r}; {nearest(what, schemas)}")
    print(json.dumps(schemas[what](), indent=2))


@app.command()
def doctor() -> None:
    """What is installed, which codecs, which device, what is cached."""
    from medvfm.cli.doctor import findings

    for name, value in findings():
        print(f"{name:<26} {value}")


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def main() -> None:
    """Run the command line: 0 done, 2 the user's input is wrong, 1 an internal error, 130 interrupted."""
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    # What one library says of another, where no user can do anything: peft asks transformers by an old name.
    warnings.filterwarnings("ignore", ".is_gradient_checkpointing. is deprecated", FutureWarning)
    try:
        code = app(arguments, standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except KeyboardInterrupt:
        print("interrupted; run the same command again with --resume to continue after the last epoch", file=sys.stderr)
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
    if isinstance(error, OSError) and error.filename is not None:  # a full disk, a folder without permission
        print(f"medvfm: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    print(f"medvfm: internal error: {type(error).__name__}: {error} (--debug shows where)", file=sys.stderr)
    return 1
