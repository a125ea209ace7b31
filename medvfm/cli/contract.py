"""`medvfm contract`: nothing heavy is imported before the command needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from medvfm.statistics.interval import Interval


def contract(
    weights: Annotated[
        str, typer.Argument(help="of an image encoder: hub id, folder, `embedded`, name in the catalogue")
    ],
    data: Annotated[str | None, typer.Option(help="a data card, or the path of one: measure mistakes there")] = None,
    root: Annotated[str | None, typer.Option(help="folder of the data; default as for a recipe")] = None,
    label: Annotated[str | None, typer.Option(help="class to judge by; default: the card's first")] = None,
    slices: Annotated[int, typer.Option(min=1, help="taken from a volume")] = 5,
    cases: Annotated[int, typer.Option(min=8, help="at most; more are drawn at random")] = 400,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """What an encoder expects of its pixels, and what each mistake costs: medvfm contract embedded --data virtual_brain

    On a card, features are computed the right way and with each usual mistake, a probe is fitted to half of the
    patients, and the same other patients are judged each way.
    """
    from medvfm.pipeline import contract_costs

    for line in contract_costs.lines(weights):
        print(line)
    if data is None:
        return
    found, measured = contract_costs.costs(weights, data, root=root, label=label, slices=slices, most=cases, seed=seed)
    print()
    for line in measured:
        print(line)
    judged = any(cost.trained for cost in found)
    print("difference of AUROC to the right way, 95% interval over patients:" if judged else "")
    print(
        f"{'mistake':<20}{'in training and test':<28}{'in test alone':<28}{'1 - cosine of features':<28}what was done"
    )
    for cost in found:
        cells = [_cell(*part) if part else "" for part in (cost.trained, cost.deployed, cost.moved)]
        print(f"{cost.name:<20}{cells[0]:<28}{cells[1]:<28}{cells[2]:<28}{cost.said}")


def _cell(value: float, interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return f"{value:.3f}, no interval"
    return f"{value:.3f} [{interval.low:.3f} to {interval.high:.3f}]"
