"""What a cohort can be asked for; wrong values are refused before anything is drawn."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from medvfm.core.errors import DataError, nearest
from medvfm.core.layout import OptionValue
from medvfm.io.virtual_brain.patients import ALL, LARGEST_MM, SCANNERS

FORMATS = ("dicom", "nifti")
LESIONS_MM = (11.0, 36.0)  # largest lesions may be asked for within: others are 10 mm and more, and need a place too
SPAN = (0.40, 0.56)  # of the height of a scan: where the lateral ventricles are seen, and their usual area is known
THICKEST_SHARE = 1 / 29  # of the height of a scan, which one slice of the scanner with the fewest slices takes


def refuse(options: Mapping[str, OptionValue], given: Collection[str] = (), where: str | None = None) -> None:
    """DataError for a value that the generator cannot take.

    options  `patients`, `seed`, `format`, `slices`, `slice_span`, `lesion_mm`, `scanner`, each of the type that the
             card declares; the last two may be missing, as in cards of earlier versions
    given    names of those that the user set; where: file and key that they stand in
    """
    if _whole(options["patients"]) < 1 or _whole(options["seed"]) < 0:
        raise DataError(
            f"{options['patients']} patients with seed {options['seed']}",
            where=where,
            remedy="at least 1 patient, and a seed from 0",
        )
    if options["format"] not in FORMATS:
        raise DataError(f"no format {options['format']!r}; {nearest(options['format'], FORMATS)}", where=where)
    _refuse_patients(options, where)
    slices = _whole(options["slices"])
    if slices < 0:
        raise DataError(
            f"the option 'slices' is {slices}",
            where=where,
            remedy="0 for whole volumes, else the number of axial slices of each patient",
        )
    if slices == 0:
        if "slice_span" in given:
            raise DataError(
                "the option 'slice_span' has no use for whole volumes",
                where=where,
                remedy="say slices: 4 for 4 axial slices of each patient, or leave slice_span out",
            )
        return
    span = options["slice_span"]
    low, high = _pair(span)
    if not SPAN[0] <= low < high <= SPAN[1]:
        raise DataError(
            f"the option 'slice_span' is {_shown(span)}",
            where=where,
            remedy=f"[low, high], shares of the height of a scan within {list(SPAN)}, where the ventricles are seen",
        )
    most = int((high - low) / THICKEST_SHARE + 1e-6)
    if slices > max(1, most):
        raise DataError(
            f"{slices} slices in the span {[low, high]} of the height of a scan are closer than a scanner's own slices",
            where=where,
            remedy=f"at most {max(1, most)} there",
        )


def _refuse_patients(options: Mapping[str, OptionValue], where: str | None) -> None:
    """Sizes of lesions that have no place in white matter, and scanners that there are not."""
    sizes = options.get("lesion_mm", LARGEST_MM)
    low, high = _pair(sizes)
    if not LESIONS_MM[0] <= low <= high <= LESIONS_MM[1]:
        raise DataError(
            f"the option 'lesion_mm' is {_shown(sizes)}",
            where=where,
            remedy=f"[low, high], longest diameters of largest lesions within {list(LESIONS_MM)}",
        )
    scanner = options.get("scanner", ALL)
    if scanner not in (ALL, *SCANNERS):
        raise DataError(f"no scanner {scanner!r}; {nearest(str(scanner), (ALL, *SCANNERS))}", where=where)


def _pair(value: OptionValue) -> tuple[float, float]:
    """(low, high), or a pair that no range holds."""
    if isinstance(value, tuple | list) and len(value) == 2:
        return float(value[0]), float(value[1])
    return 1.0, 0.0


def _shown(value: OptionValue) -> str:
    return str(list(value)) if isinstance(value, tuple | list) else repr(value)


def _whole(value: OptionValue) -> int:
    return value if isinstance(value, int) else -1
