"""Simulated patients, sampled by number, so that a small cohort is the beginning of a large one.

Patients come in blocks of twelve, one for every combination of lesion, scanner and sex. Within a block ages, sizes and
sides are spread evenly and independently of the label, so that no column of the cases table gives the lesion away.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from itertools import product

import numpy as np

SCANNERS = ("A", "B", "C")
SIDES = ("left", "right")
BLOCK = 12
YOUNGEST, OLDEST = 20, 85
ALL = "all"  # in place of one of SCANNERS
LARGEST_MM = (13.0, 15.0)  # longest diameter of a patient's largest lesion, where nothing else is asked for
SMALLEST_MM = 10.0  # of any lesion; and at least half of the smallest of the largest ones
# Of six patients with lesions: how many lesions, and whether they lie on both sides.
_COUNTS = ((1, False), (2, True), (3, False), (3, True), (4, False), (4, True))
_STREAMS = ("person", "head", "lesions", "scan")


@dataclass(frozen=True)
class Lesion:
    """A planned lesion: its longest diameter and the hemisphere that it lies in."""

    diameter_mm: float
    side: str


@dataclass(frozen=True)
class Patient:
    """One simulated person. Every property is sampled from the seed and the number alone.

    lesions       the largest first; none in half of the patients
    ventricle_mm  how far the walls of the lateral ventricles are moved outwards; grows with age
    atrophy       factor of the CSF around the cortex; grows with age
    """

    seed: int
    number: int
    sex: str
    age: int
    scanner: str
    study_date: datetime.date
    lesions: tuple[Lesion, ...]
    ventricle_mm: float
    atrophy: float

    @property
    def name(self) -> str:
        return f"VB{self.number:04d}"

    def rng(self, stream: str) -> np.random.Generator:
        """The patient's own random numbers for one purpose."""
        return np.random.default_rng([self.seed, self.number, 1 + _STREAMS.index(stream)])


def draw(seed: int, number: int, *, lesion_mm: tuple[float, float] = LARGEST_MM, scanner: str = ALL) -> Patient:
    """Patient `number` (from 1) of the cohort with this seed.

    lesion_mm  between which the longest diameter of the largest lesion lies; scanner: the one that examines everyone.
    Neither changes anything else about the patient.
    """
    block, row = divmod(number - 1, BLOCK)
    rng = np.random.default_rng([seed, block, 0])
    combinations = rng.permutation(list(product((0, 1), range(len(SCANNERS)), (0, 1))))
    lesion, sent_to, sex = (int(n) for n in combinations[row])
    age_share = (rng.permutation(BLOCK)[row] + rng.random(BLOCK)[row]) / BLOCK
    half = BLOCK // 2
    counts, sides = rng.permutation(half), rng.permutation(half) % 2
    size_share = (rng.permutation(half) + rng.random(half)) / half
    own = np.random.default_rng([seed, number, 1 + _STREAMS.index("person")])
    lesions: tuple[Lesion, ...] = ()
    if lesion:
        nth = int(combinations[:row, 0].sum())  # among the block's patients with lesions
        lesions = _lesions(own, *_COUNTS[counts[nth]], SIDES[sides[nth]], float(size_share[nth]), lesion_mm)
    years = age_share * (OLDEST - YOUNGEST)
    return Patient(
        seed=seed,
        number=number,
        sex="FM"[sex],
        age=YOUNGEST + int(years),
        scanner=SCANNERS[sent_to] if scanner == ALL else scanner,
        study_date=datetime.date(2020, 1, 1) + datetime.timedelta(days=int(own.integers(0, 1461))),
        lesions=lesions,
        ventricle_mm=float(np.clip(own.normal(-1.0 + 4.5 * age_share, 0.9), -2.0, 5.0)),
        atrophy=float(np.exp(own.normal(-0.2 + 0.7 * age_share, 0.15))),
    )


def _lesions(
    rng: np.random.Generator, count: int, both: bool, side: str, size_share: float, largest_mm: tuple[float, float]
) -> tuple[Lesion, ...]:
    low, high = largest_mm
    largest = round(low + size_share * (high - low), 1)
    other = SIDES[1 - SIDES.index(side)]
    smallest = max(SMALLEST_MM, low / 2)
    found = [Lesion(largest, side)]
    for n in range(1, count):
        where = other if both and n == 1 else str(rng.choice(SIDES)) if both else side
        found.append(Lesion(round(float(rng.uniform(smallest, largest - 0.5)), 1), where))
    return (found[0], *sorted(found[1:], key=lambda lesion: -lesion.diameter_mm))
