"""What an image is asked for: from a case to words and numbers, and from words back to a case."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from medvfm.core.case import Case
from medvfm.core.errors import RecipeError

By = Literal["text", "classes", "none"]
_ARTICLE = re.compile(r"^(an?|the) ")
_NONE = ("", "nan", "none", "unknown")


@dataclass
class Conditions:
    """How the cases of a task ask for images.

    by          the text of a case, its labels of `classes`, or nothing
    classes     of the task
    exclusive   each training case has one class of several, so that its name alone says the condition
    attributes  columns of a case's groups, beside classes
    columns     what `values` holds, in order: a class, (attribute, low, high) of a number, (attribute, value) of a
                word; those of attributes are known once training cases were seen
    """

    by: By
    classes: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    exclusive: bool = False
    columns: list[tuple[Any, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.by == "classes" and not self.columns:
            self.columns = [(name,) for name in self.classes]

    def fit(self, cases: Iterable[Case]) -> None:
        """See the range of each attribute that is a number, and the values of each that is a word."""
        if self.by != "classes":
            return
        self.columns = [(name,) for name in self.classes]
        seen = list(cases)
        labels = np.array([[case.target(name) for name in self.classes] for case in seen])
        self.exclusive = len(self.classes) > 1 and bool(len(seen)) and bool((labels.sum(1) == 1).all())
        for name in self.attributes:
            given = [v for v in (case.groups.get(name) for case in seen) if v is not None and not _unknown(v)]
            numbers = [_number(v) for v in given]
            if given and all(n is not None for n in numbers):
                exact = [float(n) for n in numbers if n is not None]
                self.columns.append((name, min(exact), max(exact)))
            else:
                self.columns += [(name, value) for value in sorted({str(v) for v in given})]

    def values(self, case: Case) -> np.ndarray:
        """(V,) float32: labels and attributes in [0, 1], NaN where unknown."""
        found = []
        for name, *more in self.columns:
            if not more:
                found.append(case.target(name))
                continue
            given = case.groups.get(name)
            if given is None or _unknown(given):
                found.append(math.nan)
            elif len(more) == 2:
                number = _number(given)
                found.append(math.nan if number is None else _share(number, more[0], more[1]))
            else:
                found.append(float(str(given) == more[0]))
        return np.array(found, np.float32)

    def words(self, case: Case) -> str:
        """The prompt of a case: its text, or `lesion, no ventricles`, or nothing."""
        if self.by == "text":
            return (case.text or "").strip()
        if self.by == "none":
            return ""
        said = []
        for name in self.classes:
            value = case.target(name)
            if math.isnan(value) or (self.exclusive and value < 0.5):
                continue
            said.append(spoken(name) if value >= 0.5 else f"no {spoken(name)}")
        said += [
            f"{spoken(name)} {_shown(case.groups[name])}"
            for name in self.attributes
            if name in case.groups and not _unknown(case.groups[name])
        ]
        return ", ".join(said)

    def asked(self, prompt: str) -> Case:
        """A case that asks for what the words say; RecipeError where they are no class or attribute."""
        text = " ".join(prompt.split())
        name = "prompt-" + hashlib.sha256(text.encode()).hexdigest()[:12]
        if self.by == "text":
            return Case(name, None, {}, text=text)
        if self.by == "none":
            if text:
                raise RecipeError(
                    "this model was trained without conditions, and cannot be asked for anything",
                    where="prompt",
                    remedy="give an empty prompt",
                )
            return Case(name, None, {})
        targets: dict[str, float] = {}
        groups: dict[str, str | float] = {}
        for part in filter(None, (p.strip() for p in re.split(r"[,;]", text))):
            before = {**targets, **groups}
            self._read(part, targets, groups)
            for name, value in {**targets, **groups}.items():
                if before.get(name, value) != value:
                    raise RecipeError(
                        f"{part!r} says something else of {spoken(name)} than what stands before it", where="prompt"
                    )
        if self.exclusive and any(v >= 0.5 for v in targets.values()):
            targets = {c: targets.get(c, 0.0) for c in self.classes}
        return Case(name, None, {}, targets=targets, groups=groups)

    def _read(self, part: str, targets: dict[str, float], groups: dict[str, str | float]) -> None:
        """One part: `lesion`, `no lesion`, `lesion=1`, `age 63`, `age=63`."""
        said = _ARTICLE.sub("", part.replace("_", " ").lower())
        key, equals, value = (p.strip() for p in said.partition("="))
        for name in self.classes:
            if equals and key == spoken(name).lower() and (number := _number(value)) is not None and 0 <= number <= 1:
                targets[name] = number
                return
            if not equals and said in (spoken(name).lower(), f"no {spoken(name).lower()}"):
                targets[name] = float(not said.startswith("no ") or said == spoken(name).lower())
                return
        for name in self.attributes:
            begin = spoken(name).lower()
            if said.startswith((f"{begin} ", f"{begin}=")):
                given = part[len(begin) + 1 :].strip(" =")
                number = _number(given)
                ranges = [column for column in self.columns if column[0] == name and len(column) == 3]
                if ranges and number is None:
                    low, high = ranges[0][1:]
                    raise RecipeError(
                        f"{spoken(name)} is a number, and {given!r} is none",
                        where="prompt",
                        remedy=f"the model was trained on {low:g} to {high:g}",
                    )
                groups[name] = given if number is None else number
                return
        known = [f"{spoken(c)}" for c in self.classes] + [f"{spoken(a)} VALUE" for a in self.attributes]
        raise RecipeError(
            f"the model was not trained on {part!r}",
            where="prompt",
            remedy=f"it knows {', '.join(known)}; `no {spoken(self.classes[0])}` and `{self.classes[0]}=1` too",
        )

    def as_record(self) -> dict[str, Any]:
        return {
            "by": self.by,
            "classes": list(self.classes),
            "attributes": list(self.attributes),
            "columns": [list(c) for c in self.columns],
        }

    def take_columns(self, columns: Sequence[Sequence[Any]]) -> None:
        """The columns of a trained model, as `as_record` wrote them."""
        self.columns = [tuple(c) for c in columns]


def spoken(name: str) -> str:
    """`pleural_effusion` as words."""
    return name.replace("_", " ")


def _unknown(value: str | float) -> bool:
    return math.isnan(value) if isinstance(value, float) else str(value).strip().lower() in _NONE


def _number(value: str | float) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _share(number: float, low: float, high: float) -> float:
    return 0.5 if high <= low else min(max((number - low) / (high - low), 0.0), 1.0)


def _shown(value: str | float) -> str:
    return f"{value:g}" if isinstance(value, float | int) else str(value)
