"""The catalogue of models: what a name stands for, under which licence, and what its pixels must be."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from medvfm.core.errors import RecipeError

FILE = Path(__file__).with_suffix(".yaml")
NORMALISED: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5,) * 3, (0.5,) * 3),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "minmax": ((0.0,) * 3, (1.0,) * 3),
    "zscore": ((0.0,) * 3, (1.0,) * 3),
    "none": ((0.0,) * 3, (1.0,) * 3),
}
Lax = Field(strict=False)


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class MeanAndDeviation(_Closed):
    mean: Annotated[tuple[float, ...], Lax]
    std: Annotated[tuple[float, ...], Lax]


Range = Annotated[tuple[float, float], Lax]


class Contract(_Closed):
    """What pixels must be; sizes are (height, width), or (i, j, k) of volumes, 0 where a model takes any.

    unit         of `range` and `windows`
    range        the values that become 0 and 1; of volumes and of pictures of them
    windows      three such ranges, that become red, green and blue
    orientation  where the axes of a volume point, as RAS; or by plane, where rows and columns of slices do: each letter
                 names the side that the axis leads to
    spacing_mm   distances along these axes
    """

    size_px: Annotated[tuple[int, ...], Lax]
    resize: Literal["squash", "shortest_then_crop", "squash_then_crop", "pad", "crop", "none"]
    resize_px: Annotated[tuple[int, int], Lax] | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic"]
    antialias: bool = True
    normalise: Literal["imagenet", "half", "clip", "minmax", "zscore", "none"] | MeanAndDeviation
    unit: str | None = None
    range: Range | None = None
    windows: Annotated[tuple[Range, Range, Range], Lax] | None = None
    orientation: str | dict[Literal["axial", "coronal", "sagittal"], str] | None = None
    spacing_mm: Annotated[tuple[float, float, float], Lax] | None = None
    more: str | None = None

    @property
    def mean_and_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Of pixels in [0, 1]."""
        own = self.normalise
        return (own.mean, own.std) if isinstance(own, MeanAndDeviation) else NORMALISED[own]

    def said(self) -> str:
        """`224 px after a crop from 256, bicubic, ImageNet mean and deviation`."""
        size = " x ".join(map(str, dict.fromkeys(self.size_px) if len(self.size_px) == 2 else self.size_px))
        parts = [f"{size} px" if any(self.size_px) else "any size"]
        if self.resize == "shortest_then_crop" and self.resize_px:
            parts[0] += f" cropped from {self.resize_px[0]}"
        elif self.resize not in ("none", "squash"):
            parts[0] += f" ({self.resize.replace('_', ' ')})"
        parts += [self.interpolation] + ["no antialias"] * (not self.antialias)
        own = self.normalise
        words = {
            "half": "mean 0.5, deviation 0.5",
            "minmax": "minimum to maximum",
            "zscore": "z-score of the volume",
            "none": "",
            "imagenet": "ImageNet mean",
        }
        parts.append("own mean" if isinstance(own, MeanAndDeviation) else words.get(own, f"{own.upper()} mean"))
        return ", ".join(filter(None, [*parts, *self.of_volumes(), self.more]))

    def of_volumes(self) -> list[str]:
        """What it says of intensities, orientation and spacing, each in words."""
        unit = f" {self.unit}" if self.unit else ""
        found = []
        if self.range is not None:
            found.append(f"{_span(self.range)}{unit} become 0 to 1")
        if self.windows is not None:
            found.append(f"{'; '.join(map(_span, self.windows))}{unit} as red, green and blue")
        if isinstance(self.orientation, str):
            found.append(f"axes to {self.orientation}")
        elif self.orientation is not None:
            found.append(", ".join(f"{plane} slices {axes}" for plane, axes in self.orientation.items()))
        if self.spacing_mm is not None:
            found.append(f"{' x '.join(f'{mm:g}' for mm in self.spacing_mm)} mm")
        if self.unit and self.range is None and self.windows is None:
            found.append(f"values in {self.unit}, as they are")
        return found


def _span(values: tuple[float, float]) -> str:
    return f"{values[0]:g} to {values[1]:g}"


class CatalogueModel(_Closed):
    """A model as people bring it."""

    name: str
    hub: str
    adapter: str | None
    loads_with: str
    licence: str
    gate: Literal["open", "request", "form", "unknown"]
    contract: Contract
    build: dict[str, int] | None = None
    summary: Literal["class_token", "class_and_patches"] = "class_token"
    trap: str
    medical: Literal["yes", "no", "unknown"]
    saw: str
    saw_cards: dict[str, Literal["yes", "no"]] = {}
    tested: Literal["yes", "format", "no"]

    def saw_card(self, card: str) -> Literal["yes", "no", "unknown"]:
        """Whether it saw images of a data card, by the card's name; what saw no medical images saw none of a card."""
        return self.saw_cards.get(card) or ("no" if self.medical == "no" else "unknown")

    @property
    def said_to_have_seen(self) -> str:
        """What it saw, and the names of the data cards that are known to be in it."""
        cards = [card for card, saw in self.saw_cards.items() if saw == "yes"]
        return f"{self.saw}; cards: {', '.join(cards)}" if cards else self.saw

    def said(self) -> str:
        """One line: hub id, adapter, licence, gate, contract, trap."""
        how = f"adapter {self.adapter}" if self.adapter else f"no adapter yet, {self.loads_with}"
        gate = {"open": "open", "request": "gated: by request", "form": "gated: by a form", "unknown": "gate unknown"}
        saw = {"yes": "saw medical images", "no": "saw no medical images", "unknown": "medical images unknown"}
        parts = [self.hub, how, self.licence, gate[self.gate], self.contract.said(), self.trap]
        return "; ".join(
            [*parts, f"{saw[self.medical]} ({self.said_to_have_seen})", f"loaded by a test: {_TESTED[self.tested]}"]
        )


_TESTED = {"yes": "yes", "format": "in its format only", "no": "no"}


@cache
def models() -> dict[str, CatalogueModel]:
    """Name to entry, in the order of the file."""
    entries: list[dict[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["models"]
    found = [CatalogueModel.model_validate(entry) for entry in entries]
    return {model.name: model for model in found}


def listed() -> list[tuple[str, str]]:
    return [(name, model.said()) for name, model in models().items()]


def of_hub(source: str) -> CatalogueModel | None:
    """The entry of a hub id, with or without a revision."""
    plain = source.partition("@")[0]
    return next((model for model in models().values() if model.hub == plain), None)


def of_sizes(sizes: Mapping[str, Any]) -> CatalogueModel | None:
    """The model of timm whose `build` names these sizes; the number of heads, which no weights tell, aside."""
    for model in models().values():
        build = {key: value for key, value in (model.build or {}).items() if key != "num_heads"}
        if build and all(sizes.get(key) == value for key, value in build.items()):
            return model
    return None


def hub_of(weights: str, adapter: str, where: str | None = None) -> str:
    """The hub id that a name of the catalogue stands for; other weights, and folders of that name, as they are."""
    model = models().get(weights)
    if model is None or model.hub == weights or Path(weights).exists():
        return weights
    if model.adapter is None:
        raise RecipeError(f"{weights} ({model.hub}) has no adapter here: {model.loads_with}", where=where)
    if model.adapter != adapter:
        raise RecipeError(
            f"{weights} is a model of the adapter {model.adapter}, not of {adapter}", where=where,
            remedy=f"say adapter: {{name: {model.adapter}, weights: {weights}}}, or give the hub id {model.hub}",
        )  # fmt: skip
    return model.hub
