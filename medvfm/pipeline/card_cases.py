"""The cases of a data card, for scripts."""

from __future__ import annotations

from medvfm import lookup
from medvfm.core.case import Case
from medvfm.core.layout import OptionValue
from medvfm.io.console import Console
from medvfm.io.dataset import cases as tables
from medvfm.io.dataset import roots


def cases(
    card: str, root: str | None = None, *, layout: str | None = None, console: Console | None = None,
    **options: OptionValue,
) -> list[Case]:  # fmt: skip
    """Every case of a card: `for case in medvfm.cases("virtual_brain", patients=20): ...`.

    card     the name of a shipped card, or the path of one
    root     the folder of its data; None: as for a recipe (`medvfm data root`, beside the card, the cache)
    options  of a generated data set, as `data.options` of a recipe

    A case names its files (`case.images["image"]`, for `medvfm.read_image`), its patient, targets, masks, text, groups.
    Raises DataCardError and DataError as `medvfm data check` says them.
    """
    found = lookup.card(card)
    folder = roots.locate(found, root, options, console or Console(), layout=layout, beside=lookup.beside(card))
    return tables.read_cases(found, folder, layout=layout).cases
