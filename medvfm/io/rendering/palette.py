"""A colour palette that is readable with any colour vision."""

from __future__ import annotations

import colorsys

Colour = tuple[int, int, int]

# Okabe and Ito 2008, "Color Universal Design", without its black; in an order in which neighbours differ most.
OKABE_ITO: tuple[Colour, ...] = (
    (230, 159, 0),  # orange
    (86, 180, 233),  # sky blue
    (0, 158, 115),  # bluish green
    (240, 228, 66),  # yellow
    (204, 121, 167),  # reddish purple
    (213, 94, 0),  # vermilion
    (0, 114, 178),  # blue
)
_GOLDEN = 0.618034  # of a turn: hues a golden angle apart never come close together


def label_colour(value: int) -> Colour:
    """The colour of a label value (1, 2, ...): the same in every picture and file; beyond the palette by hue."""
    place = value - 1
    if place < len(OKABE_ITO):
        return OKABE_ITO[place]
    red, green, blue = colorsys.hls_to_rgb(place * _GOLDEN % 1.0, 0.62, 0.65)
    return round(red * 255), round(green * 255), round(blue * 255)
