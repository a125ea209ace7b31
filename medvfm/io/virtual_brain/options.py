"""What a cohort can be asked for; wrong values are refused before anything is drawn."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from medvfm.core.errors import DataError, nearest
from medvfm.core.layout import OptionValue

FORMATS = ("dicom", "nifti")
SPAN = (0.40, 0.56)  # of the height of a scan: where the lateral ventricles are seen, and their usual area is known
THICKEST_SHARE = 1 / 29  # of the height of a scan, which one slice of the scanner with the fewest slices takes


def refuse(options: Mapping[str, OptionValue], given: Collection[str] = (), where: str | None = None) -> None:
    """DataError for a value that the generator cannot take.

    options  `patients`, `seed`, `format`, `slices`, `slice_span`, each of the type that the card declares
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
    low, high = span if isinstance(span, tuple | list) and len(span) == 2 else (1.0, 0.0)
    if not SPAN[0] <= low < high <= SPAN[1]:
        raise DataError(
            f"the option 'slice_span' is {list(span) if isinstance(span, tuple | list) else span!r}",
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


def _whole(value: OptionValue) -> int:
    return value if isinstance(value, int) else -1
