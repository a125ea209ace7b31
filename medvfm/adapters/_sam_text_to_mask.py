"""`sam` prompted in words: the masks that `clip` finds by its method `dense` become boxes, points or masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medvfm.adapters import clip
from medvfm.adapters._clip_dense import PatchSegmenter
from medvfm.core.errors import RecipeError
from medvfm.core.protocols import Task
from medvfm.core.recipe_sections import AdapterSettings, Prepare, Train
from medvfm.models.sam.prompt_sources import Kind
from medvfm.models.sam.segmenter_prompts import FromSegmenter

METHOD = "dense"
WHERE = "adapter.prompts"


def refuse(settings: AdapterSettings, size: int | None, prepare: Prepare, question: Task) -> None:
    """What cannot prompt, with the place in the recipe, before weights are loaded."""
    if settings.method not in (None, METHOD):
        raise RecipeError(f"{settings.method} gives no masks", where=f"{WHERE}.adapter.method", remedy=f"take {METHOD}")
    for key in ("stages", "rank", "alpha", "blocks", "prompts"):
        if getattr(settings, key) is not None:
            raise RecipeError(f"{METHOD} has no use for {key!r}", where=f"{WHERE}.adapter.{key}")
    if settings.options.get("roles") is not None:
        raise RecipeError("it is given the slices that sam is given", where=f"{WHERE}.adapter.options.roles")
    try:
        clip.refuse(settings, [METHOD], _prepared(prepare, size), question)
    except RecipeError as error:  # its keys stand below the prompts of another adapter
        where, remedy = error.where or "adapter", error.remedy
        raise RecipeError(
            error.what,
            where=f"{WHERE}.{where}" if where.startswith("adapter") else where,
            remedy=remedy and remedy.replace("adapter.", f"{WHERE}.adapter."),
        ) from error


def source(
    settings: AdapterSettings,
    size: int | None,
    prepare: Prepare,
    question: Task,
    prompt: Kind,
    per: str,
    *,
    windows: Mapping[str, tuple[float, float]],
    read: Mapping[Any, Any],
    seed: int,
) -> FromSegmenter:
    """Loads the weights. `size` stands for `prepare.size`, which is SAM's own."""
    found = clip.build(
        settings, question, METHOD, _prepared(prepare, size), windows=windows, read=read, train=Train(), seed=seed
    )
    assert isinstance(found, PatchSegmenter)
    return FromSegmenter(found, prompt, question.kind, per)


def _prepared(prepare: Prepare, size: int | None) -> Prepare:
    return prepare.model_copy(update={"size": size})
