"""Generators from scratch by name, and what sizes they take; nothing heavy is imported."""

from __future__ import annotations

TINY, MONAI = "tiny", "monai"
SCRATCH = (TINY, "tiny-spatial", "pixels", MONAI)  # begin with random weights
OF_VOLUMES = (TINY, MONAI)  # make volumes too
SIDES_OF_MONAI = 16  # whose multiples its networks take
