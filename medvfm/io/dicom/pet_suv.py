"""PET values: Bq/ml as stored, or body-weight SUV where the header allows it.

SUVbw after the vendor-neutral pseudo-code of QIBA (FDG-PET/CT profile, appendix G).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from medvfm.core.errors import UnreadableImage
from medvfm.io.dicom.header import Header
from medvfm.io.dicom.header_facts import clock_seconds

_DAY_S = 86_400.0
_LEAST_BQ = 1e5  # a smaller dose makes no image: it is stated in MBq, as some old scanners do


def scaling(headers: Sequence[Header], unit: str | None, repairs: list[str]) -> tuple[str | None, list[float] | None]:
    """The requested unit and the factor of each slice that gives it; (None, None) for what is stored."""
    if unit is None:
        return None, None
    first = headers[0]
    if unit != "SUV" or first.text("Modality") != "PT":
        what = f"unit {unit} cannot be computed for modality {first.text('Modality') or 'unknown'}"
        raise UnreadableImage(what, where=first.path, remedy="only SUV, and only of PET, is computed")
    if first.text("PhotometricInterpretation") == "MONOCHROME1":
        raise UnreadableImage("no SUV: its values are inverted (MONOCHROME1)", where=first.path)
    if first.text("Units") == "GML" and first.text("SUVType") in ("", "BW"):
        return "SUV", [1.0] * len(headers)
    if first.text("Units") != "BQML":
        raise UnreadableImage("its values are not in Bq/ml: no SUV can be computed", where=first.path)
    start = min(_series_start(h) for h in headers)
    factor = suv_per_bqml(first, start)
    repairs.append("body-weight SUV computed from dose, weight and decay")
    return "SUV", [factor] * len(headers)


def suv_per_bqml(header: Header, scan_start_s: float) -> float:
    """weight (g) / injected dose (Bq), the dose decayed to the time that the values are corrected to."""
    weight_kg = header.number("PatientWeight")
    injection = header.item("RadiopharmaceuticalInformationSequence")
    corrected = header.text("DecayCorrection")
    if injection is None or not weight_kg or weight_kg <= 0:
        raise UnreadableImage("no SUV: weight or injection is not stated", where=header.path)
    dose_bq, half_life_s = injection.number("RadionuclideTotalDose"), injection.number("RadionuclideHalfLife")
    if not dose_bq or not half_life_s or dose_bq <= 0 or half_life_s <= 0:
        raise UnreadableImage("no SUV: dose or half-life is not stated", where=header.path)
    if dose_bq < _LEAST_BQ:
        raise UnreadableImage("no SUV: the dose stated is too small to be in Bq", where=header.path)
    if corrected == "ADMIN":
        return weight_kg * 1000 / dose_bq
    if corrected != "START":
        raise UnreadableImage("no SUV: its values are not corrected for decay", where=header.path)
    injected_s = _injected(header, injection.text("RadiopharmaceuticalStartDateTime"),
                           injection.text("RadiopharmaceuticalStartTime"))  # fmt: skip
    elapsed_s = scan_start_s - injected_s
    if elapsed_s < 0 and not injection.text("RadiopharmaceuticalStartDateTime"):
        elapsed_s += _DAY_S  # injected before midnight
    if not 0 <= elapsed_s < _DAY_S:
        raise UnreadableImage("no SUV: the time between injection and scan cannot be right", where=header.path)
    return weight_kg * 1000 / (dose_bq * 2 ** (-elapsed_s / half_life_s))


def _series_start(header: Header) -> float:
    """Seconds of the moment that START refers to: the series time, unless that is later than the acquisition."""
    series = _moment(header, header.text("SeriesDate"), header.text("SeriesTime"))
    acquired = _moment(header, header.text("AcquisitionDate") or header.text("SeriesDate"),
                       header.text("AcquisitionTime"))  # fmt: skip
    if series <= acquired:
        return series
    reference_ms, half_life = header.number("FrameReferenceTime"), header.item("RadiopharmaceuticalInformationSequence")
    if reference_ms is None or half_life is None:
        raise UnreadableImage("no SUV: its series time was changed after the scan", where=header.path)
    return acquired - reference_ms / 1000


def _injected(header: Header, moment: str, clock: str) -> float:
    if moment:
        return _moment(header, moment[:8], moment[8:].split("+")[0].split("-")[0])
    if not clock:
        raise UnreadableImage("no SUV: the time of injection is not stated", where=header.path)
    return _moment(header, header.text("SeriesDate"), clock)


def _moment(header: Header, date: str, clock: str) -> float:
    seconds = clock_seconds(clock)
    try:
        day = datetime.strptime(date.replace(".", ""), "%Y%m%d").toordinal()
    except ValueError:
        day = None
    if day is None or seconds is None:
        raise UnreadableImage("no SUV: a date or time is missing or no date or time", where=header.path)
    return day * _DAY_S + seconds
