"""The model: weights, input contract, what was trained and what was chosen."""

from __future__ import annotations

from typing import Any

from medvfm.report import figures
from medvfm.report.run import Run

TITLE = "Model"


def content(run: Run) -> dict[str, Any] | None:
    model = run.part("model")
    if not model:
        return None
    return {"model": model, "figure": _training(run), "sweep": _sweep(model), "training": run.part("training")}


def _training(run: Run) -> Any:
    history = run.part("training", "epochs")
    if not history:
        return None
    figure, axes = figures.canvas(7.4, 2.6)
    epochs = [e["epoch"] for e in history]
    axes.plot(epochs, [e["loss"] for e in history], color=figures.BLUE, marker="o", ms=3.5, label="training loss")
    axes.set(xlabel="Epoch", ylabel="Training loss")
    axes.grid(True, lw=0.6)
    name = next(iter(history[0]["val"]), None)
    handles = axes.get_lines()[:1]
    if name:
        right = axes.twinx()
        right.spines["right"].set_visible(True)
        right.plot(
            epochs,
            [e["val"][name] for e in history],
            color=figures.RED,
            marker="s",
            ms=3.5,
            ls="--",
            label=f"val {name}",
        )
        right.set_ylabel(f"Validation {name}")
        handles = [*handles, *right.get_lines()[:1]]
        best = run.part("training", "best_epoch")
        if best:
            axes.axvline(best, color=figures.GRAY, lw=0.8, ls=(0, (2, 2)))
    axes.legend(handles=handles, frameon=False, fontsize=8)
    return figures.svg(figure, "Training loss and validation value by epoch")


def _sweep(model: dict[str, Any]) -> Any:
    choice = model.get("choice") or {}
    values = choice.get("values") or []
    if "C" not in choice or len(values) < 3:
        return None
    figure, axes = figures.canvas(7.4, 2.3)
    pairs = [(c, v) for c, v in zip(choice["swept"], values, strict=True) if v is not None]
    axes.plot(*zip(*pairs, strict=True), color=figures.BLUE, marker="o", ms=2.5, lw=1.1)
    axes.axvline(choice["C"], color=figures.RED, lw=1.2, ls="--")
    axes.set(
        xscale="log",
        xlabel="C (inverse strength of regularisation); the dashed line is the one chosen",
        ylabel="Validation",
    )
    axes.grid(True, lw=0.6)
    return figures.svg(figure, "Validation value against the strength of regularisation")
