"""Pages of the reference that come from the JSON Schemas and from tables in the code: keys, options, methods, models."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import metric_examples
from pydantic import BaseModel

from medvfm import lookup, pipeline
from medvfm.core import data_card
from medvfm.core.metric_spec import shown
from medvfm.models import catalogue
from medvfm.pipeline import values_used

UNDEFINED = "A value that does not exist (no positive, an empty structure) is null, with the reason in `note`."


def cell(text: object) -> str:
    """Text that may stand in a table of Markdown."""
    return re.sub(r"\s+", " ", str(text)).replace("|", "\\|").replace("<", "&lt;").strip()


def no_links(text: object) -> str:
    """Brackets as brackets."""
    return str(text).replace("[", "\\[").replace("]", "\\]")


def table(head: tuple[str, ...], rows: Iterator[tuple[object, ...]] | list[tuple[object, ...]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(cell(c) for c in row)} |" for row in rows)]) + "\n"


def recipe_keys() -> str:
    """Every key of a recipe, with the value that each method uses where it is left out."""
    intro = (
        "# Keys of a recipe\n\nMade from the code: `medvfm schema recipe` prints the same for editors. An unknown key is "
        "refused with its file, its line and the nearest name. What each method uses where `train` leaves a key out "
        "stands beside it.\n"
    )
    return intro + _sections(values_used.schema(), "Recipe")


def card_keys() -> str:
    """Every key of a data card."""
    intro = (
        "# Keys of a data card\n\nMade from the code: `medvfm schema card` prints the same for editors. How a card is "
        "written is said in [Data cards](../cards.md).\n"
    )
    return intro + _sections(data_card.json_schema(), "DataCard")


def _sections(schema: Mapping[str, Any], top: str) -> str:
    parts = [(top, schema), *schema.get("$defs", {}).items()]
    return "\n".join(_section(name, part) for name, part in parts if "properties" in part)


def _section(name: str, part: Mapping[str, Any]) -> str:
    said = str(part.get("description", "")).replace("\n\n", "\n").strip()
    needed = set(part.get("required", ()))
    rows = [
        (
            f"`{key}`",
            _kind(entry),
            "needed" if key in needed else f"`{_default(entry)}`",
            no_links(entry.get("description", "")),
        )
        for key, entry in part["properties"].items()
    ]
    return f"\n## {name}\n\n{no_links(cell(said))}\n\n" + table(("key", "what", "default", "meaning"), rows)


def _default(entry: Mapping[str, Any]) -> str:
    value = entry.get("default")
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _kind(entry: Mapping[str, Any]) -> str:
    if "$ref" in entry:
        return f"[{entry['$ref'].rsplit('/', 1)[-1]}](#{entry['$ref'].rsplit('/', 1)[-1].lower()})"
    if "enum" in entry:
        return ", ".join(map(str, entry["enum"]))
    if "const" in entry:
        return str(entry["const"])
    if "anyOf" in entry:
        return " or ".join(dict.fromkeys(_kind(one) for one in entry["anyOf"] if one.get("type") != "null"))
    if entry.get("type") == "array":
        inner = entry.get("items") or (entry.get("prefixItems") or [{}])[0]
        return f"list of {_kind(inner)}"
    if entry.get("type") == "object" and isinstance(entry.get("additionalProperties"), dict):
        return f"names to {_kind(entry['additionalProperties'])}"
    return str(entry.get("type", "anything"))


def adapters() -> str:
    """Adapters, their methods and what each understands, and their options."""
    parts = ["# Adapters and methods\n\nMade from the code. Values of the training loop are those that a run uses.\n"]
    for name, summary in lookup.LISTS["adapters"]():
        module = lookup.module("adapters", name, name)
        rows = [
            (f"`{method}`", entry.summary, entry.fits, ", ".join(sorted(entry.tasks)), _loop(module, method, entry))
            for method, entry in module.METHODS.items()
        ]
        parts.append(f"\n## {name}\n\n{summary}\n\nDefault method: `{module.DEFAULT_METHOD}`.\n\n")
        parts.append(table(("method", "what it does", "fits", "tasks", "settings without `train`"), rows))
        options = getattr(module, "Options", None)
        if options is not None:
            parts.append(f"\n### Options of {name}\n\n{_options(options)}")
    return "".join(parts)


def _loop(module: Any, method: str, entry: Any) -> str:
    from medvfm.core.recipe_sections import Train

    if entry.fits != "weights":
        return getattr(module, "HEAD_SWEEPS", {}).get(method, "")
    task = sorted(entry.tasks)[0]
    own = module.training(method, None, Train(), task)
    return ", ".join(f"{key} {value}" for key, value in own.items() if key != "augment" and value is not None)


def _options(model: type[BaseModel]) -> str:
    """What the docstring says, and each key with its type and default."""
    said = inspect.cleandoc(model.__doc__ or "")
    rows = [
        (f"`{key}`", str(entry.annotation).replace("typing.", "").replace("<class '", "").replace("'>", ""),
         "needed" if entry.is_required() else f"`{entry.get_default(call_default_factory=True)}`", entry.description or "")
        for key, entry in model.model_fields.items()
    ]  # fmt: skip
    return f"```text\n{said}\n```\n\n" + table(("key", "type", "default", "meaning"), rows)


def tasks() -> str:
    """Tasks with their options."""
    parts = ["# Tasks\n\nMade from the code. `task.options` takes what only one task understands.\n"]
    for name, summary in lookup.LISTS["tasks"]():
        module = lookup.module("tasks", name, name)
        options = getattr(module, "Options", None)
        parts.append(
            f"\n## {name}\n\n{summary}\n\n{_options(options) if options is not None else 'It has no options.'}\n"
        )
    return "".join(parts)


def metrics() -> str:
    """Every metric with definition, source, convention, unit, cost, how a recipe writes it, and an example that ran."""
    parts = [
        f"# Metrics\n\nMade from the code. Truth first, prediction second. {UNDEFINED} Examples were run when this page was "
        "made; what each gave stands behind its last line.\n"
    ]
    for task in lookup.modules("tasks"):
        for of, rows in lookup.module("tasks", task, task).TABLES.items():
            parts.append(f"\n## {task}{of}\n\n" + table(
                ("in a recipe", "definition", "unit", "better", "from, to", "over cases", "interval", "cost"),
                [(f"`{shown(row)}`", row[1].summary, row[1].unit or "1", row[1].better or "neither", _range(row[1].within),
                  row[1].over_cases, row[1].interval, metric_examples.COSTS[row[1].takes]) for row in rows.items()],
            ))  # fmt: skip
            told: set[str] = set()
            for name, entry in rows.items():
                module = sys.modules[entry.function.__module__]
                if module.__name__ not in told:
                    told.add(module.__name__)
                    parts.append(
                        f"\nOf the following, by `{module.__name__}`:\n\n```text\n{inspect.cleandoc(module.__doc__ or '')}\n```\n"
                    )
                doc = inspect.cleandoc(entry.function.__doc__ or "")
                if doc:
                    parts.append(f"\n### {task}{of}: {name}\n\n```text\n{doc}\n```\n\n{_example(task, name, entry)}")
                    lines = metric_examples.code(entry)
                    parts.append(f"\n```python\n{lines}  # {metric_examples.result(lines)}\n```\n")
    return "".join(parts)


def _range(within: tuple[float, float]) -> str:
    return ", ".join("no end" if abs(v) == float("inf") else f"{v:g}" for v in within)


def _example(task: str, name: str, entry: Any) -> str:
    value = {"specificity": 0.9, "sensitivity": 0.9, "tolerance": 2, "iou": 0.5, "k": 10}
    written = f"{name}@{entry.parameter}={value.get(entry.parameter, 1)}" if entry.parameter else name
    return f"Example: `evaluate: {{metrics: [{written}]}}`, or `medvfm evaluate {task} ... --metrics {written}`.\n"


def names() -> str:
    """Baselines, augmentations and steps after the model."""
    parts = [
        "# Baselines, augmentations, post-processing\n\nMade from the code: `medvfm list baselines` and the like.\n"
    ]
    for title, key, found in (
        ("Baselines", "baselines: [{name: NAME}]", pipeline.baselines()),
        ("Augmentations", "train: {augment: [{name: NAME, OPTION: VALUE}]}", pipeline.augmentations()),
        ("Post-processing", "task: {postprocess: [NAME]}", pipeline.postprocess()),
    ):
        parts.append(
            f"\n## {title}\n\nIn a recipe: `{key}`.\n\n"
            + table(("name", "what it is"), [(f"`{n}`", s) for n, s in found])
        )
    return "".join(parts)


def models() -> str:
    """The catalogue."""
    rows = [
        (f"`{name}`", f"`{m.hub}`", f"`{m.adapter}`" if m.adapter else f"none: {m.loads_with}", m.licence, m.gate,
         m.contract.said(), m.trap, f"{m.medical}: {m.said_to_have_seen}", {"yes": "yes", "format": "in its format only", "no": "no"}[m.tested])
        for name, m in catalogue.models().items()
    ]  # fmt: skip
    head = (
        "name",
        "hub id",
        "adapter",
        "licence",
        "gate",
        "input contract",
        "trap",
        "saw medical images in pretraining",
        "loaded by a test",
    )
    return (
        "# Models\n\nMade from the catalogue, `medvfm list models`. A name stands for its hub id and contract, in "
        "`adapter.weights` and in `--model NAME`. Licences, gates and contracts are as their pages, repositories or "
        "packages said in November 2026, and *not checked* where nobody could look: read the page of a model before you use it. *In its format only* means that "
        "tests load small random weights laid out as these are, not these.\n\n" + table(head, rows)
    )


def shipped() -> str:
    """Recipes and cards that come with it."""
    cards = [(f"`{name}`", card.title, card.access, card.licence.name if card.licence else "", ", ".join(card.modality))
             for name, path in lookup.shipped("data_cards").items() for card in (data_card.load_card(path),)]  # fmt: skip
    recipes = [(f"`{name}`", title) for name, title in lookup.LISTS["recipes"]()]
    return (
        "# Shipped recipes and data cards\n\n`medvfm check NAME` and `medvfm run NAME` find a recipe by its name, outside "
        "a clone too.\n\n## Recipes\n\n" + table(("name", "title"), recipes) + "\n## Data cards\n\n"
        + table(("name", "title", "access", "licence", "modality"), cards)
    )  # fmt: skip
