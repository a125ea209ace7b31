"""What a column is by its name: patients and groups, in English, German, French, Spanish, Italian and Dutch."""

from __future__ import annotations

import re

_PATIENT = re.compile(
    r"patient|\bpat[\s_.-]*(id|nr|no|num)|\bpid\b|\bmrn\b|subject|participant|proband|\bperson|paciente|paziente|pati[eë]nt",
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
    words = re.sub(r"[_.-]+", " ", name)
    return next((group for group, pattern in _GROUPS.items() if pattern.search(words)), None)


def of_patients(name: str) -> bool:
    """Whether the name says that the column names patients, and not their age or sex."""
    return bool(_PATIENT.search(name.replace("_", " ")) or _PATIENT.search(name)) and group_of(name) is None
