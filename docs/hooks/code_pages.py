"""Pages of the reference that come from docstrings and messages: Python, commands, files of a run, errors."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main
from schema_pages import cell, no_links, table

import medvfm
from medvfm.core import errors, result_row
from medvfm.io import run_directory

PACKAGE = Path(medvfm.__file__).parent
# Said here because no docstring holds it; a test compares the names with those of a run.
COLUMNS = {
    "metric": "its name, as in [Metrics](metrics.md)",
    "target": "class or structure; null for all together",
    "split": "test, val, or external:CARD",
    "group": "`sex=F`, `shots=4`, ...; null for everyone",
    "baseline": "name of a baseline; null for the model itself",
    "value": "the number; null where it does not exist, with the reason in note",
    "low": "lower end of the interval",
    "high": "upper end of the interval",
    "level": "of the interval: 0.95",
    "method": "how the interval was found",
    "cases": "that were counted",
    "patients": "that were counted",
    "positives": "cases that have it",
    "unit": "mm, ml, or nothing",
    "better": "higher, lower or zero",
    "note": "what has to be known to read the number",
    "p": "of a test against the cases outside the group, or between two groups; null elsewhere",
    "p_adjusted": "the same, adjusted for the number of such tests",
    "task": "in a run of several tasks, which",
    "seeds": "with `repeats`: how many seeds the number is the mean of",
    "sampling_error": "standard error of that mean by the choice of patients: half the interval of these very seeds, over z",
    "seed_error": "standard error of that mean by the seeds; low and high hold both",
}
PREDICTIONS = {
    "case_id": "a keyed hash, or the card's own where it says `ids: safe`",
    "patient": "a keyed hash",
    "split": "test or val",
    "fold": "number of the fold",
    "target": "class or structure",
    "truth": "0, 1 or empty; the index of a class; a file of a mask; a text",
    "score": "of the model; `answer` where answers are texts or files",
    "baseline": "name of a baseline; empty for the model",
    "probability": "whether scores are meant as probabilities",
    "score_before": "of test cases before `evaluate.recalibrate`; only there",
    "threshold": "from which on a score decides for the target; fixed on validation data",
    "novelty": "of models on stored features: the share of training cases that lie nearer to the others than this case",
    "agreement": "of masks: the Dice with the mask of the mirrored image; `confidence`: the Dice that probabilities expect",
    "predicted_dice": "of masks: the Dice that these two predict without the truth; `for_human`: doubted enough",
    "size_low": "of masks: the interval of the size that promises 90%, up to `size_high`",
}


def python() -> str:
    """Every public name with its signature and docstring."""
    parts = [
        "# Python\n\nMade from the code. `import medvfm` is quick: a name loads what it needs when it is first used.\n"
    ]
    for name in medvfm.__all__:
        thing: Any = getattr(medvfm, name)
        try:
            signature = str(inspect.signature(thing))
        except (TypeError, ValueError):
            signature = "(...)"
        said = inspect.cleandoc(thing.__doc__ or "")
        parts.append(f"\n## {name}\n\n```text\nmedvfm.{name}{signature}\n\n{said}\n```\n")
        for inner, member in vars(thing).items() if inspect.isclass(thing) else ():
            function = getattr(member, "__func__", member)
            if not inner.startswith("_") and inspect.isfunction(function) and function.__doc__:
                parts.append(f"\n### {name}.{inner}\n\n```text\n{inspect.cleandoc(function.__doc__)}\n```\n")
    return "".join(parts)


def commands() -> str:
    """Every command with its options."""
    from medvfm.cli import app

    group = typer.main.get_command(app)
    parts = [
        "# Commands\n\nMade from the code: `medvfm COMMAND --help`. Exit 0: done. 2: the input is wrong, or no case "
        "could be read; one message, no traceback (`--debug` shows it). 1: our fault. 130: interrupted.\n"
    ]
    for words, command in _commands("medvfm", group):
        rows = [(_called(p), getattr(p, "help", "") or "", _default(p.default)) for p in command.params]
        said = inspect.cleandoc(command.help or "")
        parts.append(f"\n## {words}\n\n{said}\n\n" + table(("argument", "meaning", "default"), rows))
    return "".join(parts)


def _called(parameter: Any) -> str:
    if parameter.param_type_name == "option":
        return ", ".join(f"`{name}`" for name in parameter.opts)
    return f"`{getattr(parameter, 'metavar', None) or parameter.name.upper()}`"


def _default(value: object) -> str:
    return "" if value in (None, False) or callable(value) else f"`{value}`"


def _commands(words: str, group: Any) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(f"{words} {name}", command)
        else:
            yield f"{words} {name}", command


def files() -> str:
    """run.json and predictions.parquet."""
    names = [field.name for field in dataclasses.fields(result_row.ResultRow)]
    return (
        "# Files of a run\n\n```text\nrecipe.yaml          the recipe as run, every default filled in\n"
        "run.json             the record: data, split, training, environment, warnings, metrics\n"
        "predictions.parquet  a row for each case, target and model\nseeds/1/ ...         with `repeats`: the same tables of every further seed\nmasks/ images/       predictions that are files\n"
        "previews/            the small pictures that the report shows\n"
        "weights/             what was trained, and adapter.json, which names the frozen weights by hash\n"
        "private/cases.csv    from hashes back to case ids: leave it out when you pass a run on\n"
        f"report.html          one file, no network needed\n```\n\n## Rows of run.json\n\nUnder `metrics`; "
        f"`{run_directory.RECORD}` is plain JSON, and `medvfm.run(...).metrics` the same as a table.\n\n"
        + table(("column", "meaning"), [(f"`{name}`", COLUMNS[name]) for name in names])
        + "\n## Columns of predictions.parquet\n\n"
        + table(("column", "meaning"), [(f"`{name}`", said) for name, said in PREDICTIONS.items()])
    )


def all_errors() -> str:
    """The kinds of errors, and every message with what to do about it."""
    kinds = [(f"`{n}`", inspect.getdoc(k) or "") for n, k in inspect.getmembers(errors, inspect.isclass)
             if issubclass(k, errors.MedvfmError)]  # fmt: skip
    found = sorted({row for file in sorted(PACKAGE.rglob("*.py")) for row in _raised(file)})
    return (
        "# Errors\n\nMade from the code. A message says where, what, and what to do; from Python they are "
        "`medvfm.MedvfmError` and its kinds, with `what`, `where` and `remedy`.\n\n## Kinds\n\n"
        + table(("kind", "when"), kinds)
        + "\n## Messages with their remedies\n\n`...` stands for a name or a number.\n\n"
        + table(("message", "what to do"), [(no_links(what), no_links(remedy)) for what, remedy in found])
    )


def _raised(file: Path) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            remedy = next((k.value for k in node.exc.keywords if k.arg == "remedy"), None)
            what = _text(node.exc.args[0])
            if what and remedy is not None and (said := _text(remedy)):
                yield cell(what), cell(said)


def _text(node: ast.expr) -> str:
    """A string as it is written, with ... for what is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            v.value if isinstance(v, ast.Constant) and isinstance(v.value, str) else "..." for v in node.values
        )
    return ""
