"""One case as a model takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from medvfm.core.case import Case
from medvfm.core.slice_grid import SliceGrid

PIXELS = "pixels"  # the array that nearly every preparer makes


@dataclass(frozen=True, eq=False)
class Item:
    """A case with its prepared arrays.

    case    text, question, conditions and groups; what is truth is hidden from an item that is to be answered
    arrays  what the preparer made of the images, by name (`pixels`, ...); may be memory-mapped
    slices  how slices lie in the image, and the way back; None where the model needs no way back
    truth   a true mask (S, H, W) on the model's grid, (T, S, H, W) where structures may overlap; None where it is
            hidden, and for tasks whose truth the case holds
    towers  outputs of towers that the method leaves frozen, computed once: tower to its arrays by name
    """

    case: Case
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    slices: SliceGrid | None = None
    truth: np.ndarray | None = None
    towers: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)

    @property
    def grid(self) -> SliceGrid:
        """`slices` of a model that needs the way back to the image."""
        assert self.slices is not None
        return self.slices

    @property
    def case_id(self) -> str:
        return self.case.case_id

    @property
    def pixels(self) -> np.ndarray:
        """The array PIXELS."""
        return self.arrays[PIXELS]
