"""Headers of a PET for tests, and its body-weight SUV in closed form."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

INJECTION = "RadiopharmaceuticalInformationSequence"
HALF_LIFE_S = 6586.2  # fluorine 18
DOSE_BQ, WEIGHT_KG = 3.7e8, 72.0


def injection(**fields) -> Sequence:
    item = Dataset()
    item.RadionuclideTotalDose, item.RadionuclideHalfLife = DOSE_BQ, HALF_LIFE_S
    item.RadiopharmaceuticalStartTime = "093000.00"
    for keyword, value in fields.items():
        if value is None:
            delattr(item, keyword)
        else:
            setattr(item, keyword, value)
    return Sequence([item])


def pet(**fields) -> dict:
    return {
        "Modality": "PT", "Units": "BQML", "DecayCorrection": "START", "PatientWeight": WEIGHT_KG,
        "RescaleSlope": 2.5, "RescaleIntercept": 0, "SeriesDate": "20260302", "SeriesTime": "103000",
        "AcquisitionDate": "20260302", "AcquisitionTime": "103000.5",
        "RadiopharmaceuticalInformationSequence": injection(), **fields,
    }  # fmt: skip


def suv(decayed_s: float) -> float:
    return WEIGHT_KG * 1000 / (DOSE_BQ * 2 ** (-decayed_s / HALF_LIFE_S))
