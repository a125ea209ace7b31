"""A colour palette that is readable with any colour vision."""

from __future__ import annotations

import colorsys

Colour = tuple[int, int, int]

# Any two lie at least 0.18 apart in OKLab as people see them with normal vision, protanopia and deuteranopia (simulated
# after Machado 2009), and all are light enough for lines on black; Okabe and Ito's lie 0.08 apart.
PALETTE: tuple[Colour, ...] = (
    (86, 190, 245),  # sky blue
    (232, 173, 107),  # apricot
    (252, 255, 3),  # yellow
    (101, 92, 255),  # violet
    (162, 252, 255),  # pale cyan
    (227, 54, 11),  # vermilion
    (32, 138, 150),  # teal
)
TRUTH: Colour = (86, 180, 233)  # of one structure alone: Okabe and Ito's sky blue against their orange
PREDICTION: Colour = (230, 159, 0)
_GOLDEN = 0.618034  # of a turn: hues a golden angle apart never come close together


def label_colour(value: int) -> Colour:
    """The colour of a label value (1, 2, ...): the same in every picture and file; beyond the palette by hue."""
    place = value - 1
    if place < len(PALETTE):
        return PALETTE[place]
    red, green, blue = colorsys.hls_to_rgb(place * _GOLDEN % 1.0, 0.62, 0.65)
    return round(red * 255), round(green * 255), round(blue * 255)
