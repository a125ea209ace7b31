"""The weights, what they take, and how they were adapted."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from medvfm.report import markup, text
from medvfm.report.charts import svg
from medvfm.report.run_view import View

TITLE = "Model and adaptation"
SIZE_IN = (4.3, 2.7)


def build(view: View) -> Markup | None:
    model = view.part("model")
    training = view.part("training")
    if not model and not training:
        return None
    return markup.fragment(
        "model",
        model=model,
        contract=input_contract(model.get("contract") or {}),
        parameters=model.get("parameters") or {},
        choice=model.get("choice") or {},
        features=model.get("features") or {},
        training=training,
        settings={k: v for k, v in (training.get("settings") or {}).items() if v is not None},
        audit=training.get("audit") or {},
        curve=_training_curve(training),
        sweep=_sweep(model.get("choice") or {}),
        metric=view.part("recipe", "select").get("metric") or watched(training) or "value",
        network=_network(model, view.holds_volumes),
    )


def watched(training: dict[str, Any]) -> str | None:
    """The metric of the validation cases that selects the epoch."""
    epochs = training.get("epochs") or []
    names = [n for e in epochs for n in (e.get("val") or {})] if isinstance(epochs, list) else []
    return next(iter(names), None)


def _network(model: dict[str, Any], volumes: bool) -> list[tuple[str, str]]:
    """What a segmenter is made of besides its weights."""
    settings = model.get("network") or {}
    prompts = model.get("prompts") or {}
    facts = [
        ("Network", ", ".join(f"{k} {_plain(v)}" for k, v in settings.items() if v is not None)),
        ("Decoder", str(model.get("decoder") or "")),
        ("Volumes", " ".join((model.get("said") or {}).get("volumes") or []) if volumes else ""),
        ("Prompts", ", ".join(f"{k} {_plain(v)}" for k, v in prompts.items() if v not in (None, {}, []))),
        ("Prompts from the truth", str(model.get("oracle") or "")),
    ]
    return [(name, value) for name, value in facts if value]


def _plain(value: Any) -> str:
    """Lists as 96 × 96, settings within settings as words."""
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}".replace("_", " ") for k, v in value.items())
    return " × ".join(map(str, value)) if isinstance(value, list) else str(value).replace("_", " ")


def input_contract(found: dict[str, Any]) -> str:
    """The input contract in a sentence."""
    size = found.get("size_px")
    if not size:
        return ""
    ways = {
        "squash": "resized to {size}, aspect ratio not kept",
        "shortest_then_crop": "resized to a shorter side of {before} px, then cropped to the central {size}",
        "squash_then_crop": "resized to {both}, then cropped to the central {size}",
        "pad": "fitted into {size} with borders, aspect ratio kept",
    }
    before = found.get("resize_px") or size
    way = ways.get(str(found.get("resize")), "brought to {size}")
    said = way.format(size=f"{size[0]} × {size[1]} px", before=min(before), both=f"{before[0]} × {before[1]} px")
    said += f" ({found['interpolation']} interpolation)" if found.get("interpolation") else ""
    if found.get("mean") and found.get("std"):
        said += f"; {found.get('channels', len(found['mean']))} channels, mean {_each(found['mean'])}"
        said += f", standard deviation {_each(found['std'])}"
    return said


def _each(values: list[float]) -> str:
    """One number where all channels share it."""
    return text.listed([f"{v:g}" for v in (values if len(set(values)) > 1 else values[:1])])


def _training_curve(training: dict[str, Any]) -> Markup | None:
    epochs = training.get("epochs") or []
    if not isinstance(epochs, list) or len(epochs) < 2:
        return None
    number = [e["epoch"] for e in epochs]
    names = list(dict.fromkeys(name for e in epochs for name in (e.get("val") or {})))[:1]
    best = training.get("best_epoch")

    def paint(figure: Figure) -> None:
        axes = figure.subplots(1 + len(names), 1, sharex=True, squeeze=False)[:, 0]
        axes[0].plot(number, [e["loss"] for e in epochs], color=svg.VERMILION, lw=1.5, ls=(0, (5, 2)), marker="s", ms=3)
        axes[0].set_ylabel("Training loss")
        for axis, name in zip(axes[1:], names, strict=True):
            values = [(e.get("val") or {}).get(name) for e in epochs]
            axis.plot(
                number,
                [float("nan") if v is None else v for v in values],
                color=svg.BLUE,
                lw=1.5,
                marker="o",
                ms=3.5,
            )
            axis.set_ylabel("Validation")
            if best in number and values[number.index(best)] is not None:
                axis.plot(best, values[number.index(best)], marker="D", ms=7, mfc="none", mec=svg.INK, mew=1.3)
        for axis in axes:
            axis.yaxis.set_major_locator(MaxNLocator(4))
            axis.margins(y=0.15)
        axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[-1].set_xlabel("Epoch")

    fall = f"loss {epochs[0]['loss']:.3g} to {epochs[-1]['loss']:.3g}"
    alt = f"Training curve over {len(epochs)} epochs: {fall}; best epoch {best}"
    return svg.draw("training", alt, (4.3, 1.6 + 1.4 * len(names)), paint)


def _sweep(choice: dict[str, Any]) -> Markup | None:
    """Validation value against the regularisation strength, where one was swept."""
    pairs = [
        (c, v) for c, v in zip(choice.get("swept") or [], choice.get("values") or [], strict=False) if v is not None
    ]
    if len(pairs) < 3 or "C" not in choice or min(c for c, _ in pairs) <= 0:
        return None
    strengths, values = zip(*pairs, strict=True)

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot(strengths, values, color=svg.BLUE, lw=1.5)
        if choice["C"] in strengths:
            at = values[strengths.index(choice["C"])]
            axes.plot(choice["C"], at, marker="D", ms=7, mfc="white", mec=svg.INK, mew=1.3)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.set(xlabel="C (larger: less regularisation)", ylabel="Validation")

    alt = f"Validation value for {len(pairs)} strengths of regularisation; chosen C {text.compact(choice['C'])}"
    return svg.draw("sweep", alt, SIZE_IN, paint)
