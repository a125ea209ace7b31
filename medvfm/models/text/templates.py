"""Templates that a class name is put into for zero-shot classification, by kind of image.

Ensembles of templates steady the answer (Radford et al. 2021, section 3.1.4). `{}` is the name of the class.
"""

from __future__ import annotations

from collections.abc import Sequence

from medvfm.core.errors import RecipeError, nearest

GENERAL = "general"
TEMPLATES: dict[str, tuple[str, ...]] = {
    GENERAL: ("{}", "a medical image of {}", "findings: {}", "an image that shows {}"),
    "chest_xray": (
        "{}",
        "a chest X-ray with {}",
        "frontal chest radiograph showing {}",
        "findings suggest {}",
        "chest film, impression: {}",
    ),
    "ct": ("{}", "a CT scan with {}", "computed tomography showing {}", "an axial CT slice with {}", "CT findings: {}"),
    "mr": ("{}", "an MRI with {}", "magnetic resonance imaging showing {}", "an MR slice with {}", "MRI findings: {}"),
    "pathology": (
        "{}",
        "a histopathology image of {}",
        "an H&E stained section of {}",
        "microscopy of tissue showing {}",
        "a pathology slide with {}",
    ),
    "dermatology": (
        "{}",
        "a photograph of skin with {}",
        "a dermatoscopic image of {}",
        "a skin lesion that is {}",
        "clinical picture: {}",
    ),
    "retina": (
        "{}",
        "a fundus photograph with {}",
        "a colour retinal image showing {}",
        "a photograph of the eye's fundus, {}",
        "ophthalmoscopy shows {}",
    ),
    "ultrasound": (
        "{}",
        "an ultrasound image of {}",
        "sonography showing {}",
        "a B-mode ultrasound with {}",
        "ultrasound findings: {}",
    ),
}


def templates_of(given: str | Sequence[str] | None, where: str) -> tuple[str, ...]:
    """A shipped set by its name, or templates as they are given; each has one `{}`."""
    if given is None or isinstance(given, str):
        name = given or GENERAL
        if name not in TEMPLATES:
            raise RecipeError(
                f"no templates {name!r}; {nearest(name, TEMPLATES)}",
                where=where,
                remedy="or give a list of sentences with {} in the place of the class",
            )
        return TEMPLATES[name]
    for template in given:
        if template.count("{}") != 1:
            raise RecipeError(f"the template {template!r} does not have {{}} once, for the class", where=where)
    if not given:
        raise RecipeError("an empty list of templates", where=where, remedy="leave it out for the general ones")
    return tuple(dict.fromkeys(given))
