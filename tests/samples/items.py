"""Cases as a model takes them, made from arrays in memory, and what an adapter answers to one."""

from __future__ import annotations

from typing import Any

import numpy as np

from medvfm.core.case import Case
from medvfm.core.item import Item
from medvfm.core.protocols import Adapter
from medvfm.core.slice_grid import SliceGrid


def prepared(case_id: str, pixels: np.ndarray, grid: SliceGrid | None, truth: np.ndarray | None = None) -> Item:
    """pixels (C, S, H, W) in [0, 1]; truth (S, H, W) or (T, S, H, W) on the model's grid."""
    return Item(Case(case_id, None, {}), {"pixels": pixels}, grid, truth)


def answer_to(adapter: Adapter, item: Item, variant: str | None = None) -> Any:
    return adapter.answer([item], variant)[0]
