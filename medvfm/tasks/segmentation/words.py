"""What a report says of segmentation; a key that ends in a kind goes before the key alone."""

from __future__ import annotations

_DIAGONAL = "A missed structure counts with the diagonal of the image as its distance."
_DETECTED = "Distances where detected leave missed structures out."
WORDS = {
    "action": "outlined {classes}",
    "action_instances": "outlined every {classes}",
    "class": "structure",
    "classes": "structures",
    "holds": "Cases that hold each structure",
    "positive": "Present",
    "average": "mean",  # numbers are means of cases
    "convention": "Metrics were computed for each structure of each case on the grid of the image, and averaged over "
    "the cases that hold the structure; a missed structure counts with an overlap of 0.",
    "convention_instances": "Objects were matched one to one within each image; values are means over images that hold "
    "objects.",
    "convention_hd95": _DIAGONAL,
    "convention_assd": _DIAGONAL,
    "convention_hd95_detected": _DETECTED,
    "convention_assd_detected": _DETECTED,
    "baseline_location": "location prior",
    "baseline_ellipse": "ellipse in the true box",
}
