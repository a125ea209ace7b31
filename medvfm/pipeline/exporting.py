"""Cases for another framework, with the split that a recipe of ours has."""

from __future__ import annotations

from pathlib import Path

from medvfm import lookup
from medvfm.core import recipe as recipes
from medvfm.core.errors import RecipeError, nearest
from medvfm.core.recipe_sections import Split, TaskSettings
from medvfm.io.console import Console
from medvfm.io.dataset import cases as tables
from medvfm.io.dataset import nnunet_export as nnunet
from medvfm.io.dataset import roots
from medvfm.io.dataset.truth_masks import MaskTruthReader

FORMATS = ("nnunet",)


def export(
    card: str,
    out: Path,
    *,
    format: str = "nnunet",
    root: str | None = None,
    layout: str | None = None,
    recipe: str | None = None,
    number: int = 500,
    folds: int = 5,
    strict: bool = False,
) -> nnunet.Exported:
    """Write the cases of a card; split, seed and classes as a run of the recipe has them, or as one that says nothing.

    number  nnU-Net's number of the data set
    folds   of the training patients; 0: only train and val of the split
    """
    if format not in FORMATS:
        raise RecipeError(f"no format {format!r}; {nearest(format, FORMATS)}", where="--format")
    found, console = lookup.card(card), Console()
    name = next(n for n in lookup.modules("tasks") if format in getattr(lookup.module("tasks", n, n), "EXPORTS", ()))
    module = lookup.module("tasks", name, "--format")
    settings, split, seed, options = TaskSettings(name=name), None, 0, {}
    if recipe is not None:
        loaded = recipes.load(lookup.recipe(recipe), [])
        split, seed, options = loaded.split, loaded.seed, dict(loaded.data.options)
        root, layout = root or loaded.data.root, layout or loaded.data.layout
        wanted = [task for task in loaded.tasks if task.name == name]
        if lookup.card(loaded.data.card).name != found.name or not wanted:
            raise RecipeError(f"the recipe has no task {name} on {found.name}", where=recipe)
        settings = wanted[0]
    task = module.build(settings, lambda *keys: ".".join(map(str, (card, *keys))), found)
    folder = roots.locate(found, root, options, console, layout=layout, beside=lookup.beside(card))
    table = tables.read_cases(found, folder, layout=layout)
    if split is None:  # as a run without a word on it, but the card's own where it has one
        has_own = {"train", "test"} <= {case.split for case in table.cases}
        split = Split.model_validate({"from": "card"} if has_own else {})
    return nnunet.export(
        found,
        table,
        MaskTruthReader.of(found, task.classes, task.kind),
        out,
        number=number,
        split=split,
        seed=seed,
        folds=folds or None,
        strict=strict,
        console=console,
    )
