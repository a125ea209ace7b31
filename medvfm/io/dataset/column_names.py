"""What a column is by its name: patients and groups, in English, German, French, Spanish, Italian and Dutch."""

from __future__ import annotations

import re
from collections.abc import Iterable

_MEASURE = re.compile(
    r"weight|height|size|position|comment|visit|date|time|birth|count|score|\bn\b|gewicht|gr[oö](ss|ß)e", re.I
)
_NAMES = re.compile(r"\b(id|nr|no|num|number|code|key|pid|mrn)\b|\b(patient|subject|participant)$", re.IGNORECASE)
_PATIENT = re.compile(
    r"patient|\bpat[\s_.-]*(id|nr|no|num)|\bpid\b|\bmrn\b|\bsubjects?\b|participant|proband|\bperson|paciente|paziente|pati[eë]nt",
    re.IGNORECASE,
)
_GROUPS = {
    "age": re.compile(r"\b(age|alter|âge|edad|et[aà]|leeftijd)\b", re.IGNORECASE),
    "sex": re.compile(r"\b(sex|gender|geschlecht|sexe|sesso|genere|geslacht)\b", re.IGNORECASE),
    "view": re.compile(r"\b(view|projection|projektion|view.?position)\b", re.IGNORECASE),
    "scanner": re.compile(r"\b(scanner|manufacturer|vendor|hersteller|device|ger[aä]t|model)\b", re.IGNORECASE),
    "site": re.compile(r"\b(site|hospital|cent(er|re)|klinik|zentrum|institution|h[oô]pital)\b", re.IGNORECASE),
    "race": re.compile(r"\b(race|ethnicity)\b", re.IGNORECASE),
}


def group_of(name: str) -> str | None:
    """Our name of the group that a column of this name holds."""
    words = _words(name)
    return next((group for group, pattern in _GROUPS.items() if pattern.search(words)), None)


def of_patients(name: str) -> bool:
    """Whether the name says that the column names patients, and not their age, sex or weight."""
    words = _words(name)
    if group_of(name) is not None or _MEASURE.search(words):
        return False
    return bool(_PATIENT.search(words) or _PATIENT.search(name))


def names_patients_best(names: Iterable[str]) -> str | None:
    """Of several such columns the one that speaks of an id or number, else the first."""
    found = [name for name in names if of_patients(name)]
    return next((name for name in found if _NAMES.search(_words(name))), found[0] if found else None)


def _words(name: str) -> str:
    """`PatientID`, `patient_id` and `patient.id` as `Patient ID`."""
    return re.sub(r"[_.-]+", " ", re.sub(r"(?<=[a-zäöüß])(?=[A-Z])", " ", name))
