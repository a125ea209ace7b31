"""PET values: Bq/ml as stored, or body-weight SUV where the header allows it.

SUVbw after the vendor-neutral pseudo-code of QIBA (FDG-PET/CT profile, appendix G). A refusal names the attribute that
is missing or wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime

from medvfm.core.errors import UnreadableImage
from medvfm.io.dicom.header import DataSet, Header
from medvfm.io.dicom.header_facts import clock_seconds

_DAY_S = 86_400.0
_HEAVIEST_KG = 650.0  # nobody weighed more: it is stated in grams or pounds of another system
_LEAST_BQ = 1e5  # a smaller dose makes no image: it is stated in MBq, as some old scanners do
_LONGEST_HALF_LIVES = 10  # from injection to scan, beyond which nothing can be imaged
_LEAN = "lean body mass"
_OTHER_SUV = {
    "BSA": "body surface",
    "LBM": _LEAN,
    "LBMJAMES128": _LEAN,
    "LBMJANMA": _LEAN,
    "IBW": "ideal body weight",
}
_STORED = "without unit=SUV (in a card: `unit: SUV` under `reading`) it is read as it is stored"
COMPUTED = "body-weight SUV computed from dose, weight and decay"


def scaling(headers: Sequence[Header], unit: str | None, repairs: list[str]) -> tuple[str | None, list[float] | None]:
    """The requested unit and the factor of each slice that gives it; (None, None) for what is stored."""
    if unit is None:
        return None, None
    first = headers[0]
    if unit != "SUV" or first.text("Modality") != "PT":
        what = f"unit {unit} cannot be computed for modality {first.text('Modality') or 'unknown'}"
        raise UnreadableImage(what, where=first.path, remedy="only SUV, and only of PET, is computed")
    if first.text("PhotometricInterpretation") == "MONOCHROME1":
        raise _no("its values are inverted (MONOCHROME1)", first)
    units, kind = first.text("Units"), first.text("SUVType")
    if units == "GML":
        if kind not in ("", "BW"):
            raise _no(f"it holds SUV by {_OTHER_SUV.get(kind, kind)}, not by body weight (SUVType {kind})", first)
        return "SUV", [1.0] * len(headers)
    if units == "CNTS":
        return "SUV", _of_counts(headers, repairs)
    if units != "BQML":
        raise _no(f"its values are not in Bq/ml (Units {units or 'is not stated'})", first)
    return "SUV", [_of_becquerel(headers, repairs)] * len(headers)


def _no(why: str, header: DataSet, remedy: str = _STORED) -> UnreadableImage:
    return UnreadableImage(f"no SUV: {why}", where=header.path, remedy=remedy)


def _of_becquerel(headers: Sequence[Header], repairs: list[str]) -> float:
    first = headers[0]
    corrected = first.texts("CorrectedImage")
    for mark, meant in (("ATTN", "attenuation"), ("DECY", "decay")):
        if corrected and mark not in corrected:
            raise _no(f"its values are not corrected for {meant} (CorrectedImage has no {mark})", first)
    if not corrected:
        repairs.append("CorrectedImage is not stated: taken as corrected for attenuation")
    factor = suv_per_bqml(first, lambda: min(_scan_start(h) for h in headers))
    repairs.append(COMPUTED)
    return factor


def _of_counts(headers: Sequence[Header], repairs: list[str]) -> list[float]:
    """Of counts, as Philips stores them, by its private factors: to SUV (7053,xx00), else to Bq/ml (7053,xx09)."""
    first = headers[0]
    found = [h.private_number("Philips PET Private Group", 0x7053, 0x00) for h in headers]
    if all(found):
        repairs.append("body-weight SUV by the scanner's own factor (7053,1000)")
        return [f for f in found if f]
    found = [h.private_number("Philips PET Private Group", 0x7053, 0x09) for h in headers]
    if not all(found):
        raise _no("its values are counts (Units CNTS), and no factor (7053,1000) or (7053,1009) is stated", first)
    factor = _of_becquerel(headers, repairs)
    return [f * factor for f in found if f]


def suv_per_bqml(header: Header, scan_start_s: Callable[[], float]) -> float:
    """weight (g) / injected dose (Bq), the dose decayed to the time that the values are corrected to."""
    weight_kg = header.number("PatientWeight")
    injection = header.item("RadiopharmaceuticalInformationSequence")
    corrected = header.text("DecayCorrection")
    if not weight_kg or weight_kg <= 0:
        raise _no("the patient's weight is not stated (PatientWeight)", header)
    if weight_kg > _HEAVIEST_KG:
        raise _no(f"the weight stated, {weight_kg:g}, is too large to be in kg (PatientWeight)", header)
    if injection is None:
        raise _no("the injection is not stated (RadiopharmaceuticalInformationSequence)", header)
    dose_bq = _stated(injection, "RadionuclideTotalDose", "the injected dose")
    if dose_bq < _LEAST_BQ:
        raise _no("the dose stated is too small to be in Bq (RadionuclideTotalDose)", header)
    if corrected == "ADMIN":
        return weight_kg * 1000 / dose_bq
    if corrected != "START":
        told = corrected or "is not stated"
        raise _no(f"its values are not corrected for decay to the start of the scan (DecayCorrection {told})", header)
    half_life_s = _stated(injection, "RadionuclideHalfLife", "the half-life")
    moment = injection.text("RadiopharmaceuticalStartDateTime")
    elapsed_s = scan_start_s() - _injected(header, moment, injection.text("RadiopharmaceuticalStartTime"))
    if elapsed_s < 0 and not moment:
        elapsed_s += _DAY_S  # injected before midnight
    longest_s = max(_DAY_S, _LONGEST_HALF_LIVES * half_life_s) if moment else _DAY_S
    if not 0 <= elapsed_s < longest_s:
        why = "the time between injection and scan cannot be right (RadiopharmaceuticalStartDateTime, SeriesTime)"
        raise _no(why, header)
    return weight_kg * 1000 / (dose_bq * 2 ** (-elapsed_s / half_life_s))


def _stated(injection: DataSet, keyword: str, meant: str) -> float:
    value = injection.number(keyword)
    if not value or value <= 0:
        raise _no(f"{meant} is not stated ({keyword})", injection)
    return value


def _scan_start(header: Header) -> float:
    """Seconds of the moment that START refers to: the series time, unless that is later than the acquisition.

    A series that was written anew after the scan has GE's private time of the scan, or the time of its frame.
    """
    series = _moment(header, "SeriesDate", "SeriesTime")
    date = "AcquisitionDate" if "AcquisitionDate" in header else "SeriesDate"
    acquired = _moment(header, date, "AcquisitionTime")
    if series <= acquired:
        return series
    if scanned := header.private_text("GEMS_PETD_01", 0x0009, 0x0D):
        return _seconds(header, scanned[:8], _clock_of(scanned), "(0009,100D)")
    reference_ms, lasted_ms = header.number("FrameReferenceTime"), header.number("ActualFrameDuration")
    injection = header.item("RadiopharmaceuticalInformationSequence")
    if reference_ms is None or injection is None:
        raise _no("its series was written anew after the scan, and FrameReferenceTime is not stated", header)
    half_life_s = _stated(injection, "RadionuclideHalfLife", "the half-life")
    return acquired - reference_ms / 1000 + _average_count_s((lasted_ms or 0) / 1000, half_life_s)


def _average_count_s(lasted_s: float, half_life_s: float) -> float:
    """From the start of a frame to the moment at which its count rate is the average one."""
    decay = math.log(2) / half_life_s
    if lasted_s <= 0:
        return 0.0
    return math.log(decay * lasted_s / -math.expm1(-decay * lasted_s)) / decay


def _injected(header: Header, moment: str, clock: str) -> float:
    if moment:
        return _seconds(header, moment[:8], _clock_of(moment), "RadiopharmaceuticalStartDateTime")
    if not clock:
        raise _no("the time of injection is not stated (RadiopharmaceuticalStartTime)", header)
    return _seconds(header, header.text("SeriesDate"), clock, "SeriesDate, RadiopharmaceuticalStartTime")


def _clock_of(moment: str) -> str:
    """HHMMSS.FFFFFF of a date and time, which may end with a distance to UTC."""
    return moment[8:].split("+")[0].split("-")[0]


def _moment(header: Header, date: str, clock: str) -> float:
    return _seconds(header, header.text(date), header.text(clock), f"{date}, {clock}")


def _seconds(header: Header, date: str, clock: str, named: str) -> float:
    seconds = clock_seconds(clock)
    try:
        day = datetime.strptime(date.replace(".", ""), "%Y%m%d").toordinal()
    except ValueError:
        day = None
    if day is None or seconds is None:
        raise _no(f"a date or a time is missing, or cannot be read as one ({named})", header)
    return day * _DAY_S + seconds
