"""What a layout holds and what its cases must be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.cards.files import Mask


@dataclass(frozen=True)
class Made:
    """What a case must be. Paths are below the root; images or masks None: in the cache. A target None is unknown."""

    case_id: str
    patient: str | None
    images: Mapping[str, str] | str | None
    masks: Mapping[str, str] | str | Sequence[str] | None = field(default_factory=dict)
    split: str | None = None
    targets: Mapping[str, float | None] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Known:
    """Files of a layout and the cases they hold.

    passed_over  rows that are no case; of these `left_out` are named as faults, and the others are not asked for
    """

    files: Mapping[str, Any]
    cases: tuple[Made, ...]
    passed_over: int = 0
    left_out: int = 0


def csv(*lines: str) -> str:
    return "\n".join(lines) + "\n"


def pairs(images: str, masks: str, names: tuple[str, ...], values: tuple[int, ...] = (1,), **more: Any) -> Known:
    """Images and masks in folders of their own; `*` is the name, which is the patient too."""
    files = {images.replace("*", n): more.get("content") for n in names}
    files |= {masks.replace("*", n): Mask(values) for n in names}
    patient = (lambda n: n) if more.get("patients", True) else (lambda n: None)
    made = [Made(n, patient(n), images.replace("*", n), masks.replace("*", n)) for n in names]
    return Known(files | more.get("extra", {}), tuple(made))
