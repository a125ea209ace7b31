"""Of what size a generator's images are: what `prepare` says of pictures and of volumes, and what does not fit."""

from __future__ import annotations

import math
from collections.abc import Sequence

from medvfm.core.degradation import Degradation
from medvfm.core.errors import RecipeError
from medvfm.core.recipe_sections import Prepare, Slices
from medvfm.models.diffusion.names import MONAI, OF_VOLUMES, SIDES_OF_MONAI

LEAST = 8  # pixels or voxels a side
MOST = 2**26  # pixels or voxels: 400 a side of a volume


def size_of(prepare: Prepare) -> tuple[int, ...] | None:
    """(height, width) of pictures, (slices, rows, columns) of volumes; None: the model's own size of pictures."""
    size = prepare.size
    if size is None:
        return None
    found = (size, size) if isinstance(size, int) else tuple(size)
    if len(found) not in (2, 3) or min(found) < LEAST:
        raise RecipeError(
            f"images of size {size}",
            where="prepare.size",
            remedy=f"give one number of pixels from {LEAST} on, or two, or three for volumes",
        )
    return found


def is_of_volumes(prepare: Prepare) -> bool:
    """The recipe asks for volumes."""
    return len(size_of(prepare) or ()) == 3


def spacing_of(prepare: Prepare) -> tuple[float, float, float]:
    """(between slices, rows, columns) of volumes."""
    given = prepare.spacing
    assert given is not None
    return (given[0],) * 3 if len(given) == 1 else (given[0], given[1], given[2])


def refuse(prepare: Prepare, weights: str, methods: Sequence[str]) -> None:
    """Sizes that nothing is made at; volumes of models and methods of pictures; and settings of the other kind."""
    size = size_of(prepare) or ()
    if math.prod(size) > MOST:
        raise RecipeError(
            f"images of {' × '.join(map(str, size))} hold more than {MOST:,} numbers",
            where="prepare.size",
            remedy="take a smaller size, and a coarser spacing",
        )
    if weights == MONAI and any(side % SIDES_OF_MONAI for side in size):
        raise RecipeError(
            f"MONAI's networks do not take sides of {' × '.join(map(str, size))}",
            where="prepare.size",
            remedy=f"take multiples of {SIDES_OF_MONAI}",
        )
    if not is_of_volumes(prepare):
        if prepare.spacing is not None:
            raise RecipeError(
                "pictures are fitted into prepare.size, and have no spacing",
                where="prepare.spacing",
                remedy="leave it out, or give prepare.size three numbers to make volumes",
            )
        return
    if weights not in OF_VOLUMES:
        raise RecipeError(
            f"{weights} makes pictures, and three sizes are those of a volume",
            where="prepare.size",
            remedy=f"take weights: {' or '.join(OF_VOLUMES)}, or two numbers",
        )
    if "restore" in methods:
        raise RecipeError("restore works on pictures, not on volumes", where="prepare.size", remedy="give two numbers")
    if prepare.spacing is None or len(prepare.spacing) not in (1, 3):
        raise RecipeError(
            "volumes are made on one grid, whose spacing must be said",
            where="prepare.spacing",
            remedy="give one distance in mm for all directions, or three: between slices, rows and columns",
        )
    if isinstance(prepare.windows, tuple) and len(prepare.windows) == 3:
        raise RecipeError("volumes are gray, and take one window", where="prepare.windows", remedy="give one")
    if prepare.slices != Slices():
        raise RecipeError("a whole volume is made, and no slices of it", where="prepare.slices", remedy="leave it out")


def refuse_blocks(degradation: Degradation, size_px: Sequence[int] | None) -> None:
    """Sides of images that blocks of a lower resolution do not fill."""
    if degradation.kind == "lower_resolution" and size_px and any(side % degradation.factor for side in size_px):
        raise RecipeError(
            f"images of {' × '.join(map(str, size_px))} px are no blocks of {degradation.factor} px",
            where="prepare.size",
            remedy=f"take a multiple of {degradation.factor}",
        )
