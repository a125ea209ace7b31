"""De-identification of one DICOM data set: every element by the action of table E.1-1, inside sequences too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import UID

from medvfm.io.deidentify.free_text import Secrets
from medvfm.io.deidentify.profile import BIRTH, CHARACTERISTICS, DESCRIPTORS, IDENTIFYING, PROSE, Action, action
from medvfm.io.deidentify.pseudonyms import Pseudonymizer, shift

REMOVED = "REMOVED"
# Replaced by a keyed pseudonym, so that patients and devices stay distinct; anything else gets the same dummy.
_PSEUDONYM_VRS = ("LO", "SH", "AE", "PN")
_PROSE_VRS = ("ST", "LT", "UT", "UC")
_TEXT_VRS = (*_PROSE_VRS, "LO", "SH")
_CODE_VRS = ("CS", "AS", "DS", "IS")
_DATE_VRS = ("DA", "DT", "TM")
_DUMMIES: dict[str, object] = {
    **dict.fromkeys((*_PROSE_VRS, "CS"), REMOVED),
    **dict.fromkeys(("OB", "OW", "UN"), b"\0\0"),
    **dict.fromkeys(("DS", "IS"), "0"),
    **dict.fromkeys(("US", "SS", "UL", "SL", "FL", "FD", "SV", "UV"), 0),
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
    "AS": "000Y",
    "UR": "http://removed.invalid",  # RFC 2606 reserves .invalid
}
_OLDEST_AGE = 89  # ages over 89 are one class (45 CFR 164.514(b)(2)(i)(C))


@dataclass(frozen=True)
class DeidentifySettings:
    """What the user chose beyond the basic profile."""

    shift_dates: bool = True
    characteristics: bool = False
    keep_text: bool = False
    safe_private: frozenset[tuple[str, int, int]] = frozenset()  # creator, group, last byte of the element


@dataclass
class Cleaner:
    """The actions for the files of one patient; `done` counts them by attribute, without any value."""

    pseudonymizer: Pseudonymizer
    settings: DeidentifySettings
    patient: str  # what its files have in common, by which it is known to the key
    secrets: Secrets
    done: Counter[tuple[str, str]] = field(default_factory=Counter)
    dates: set[str] = field(default_factory=set)

    @property
    def pseudonym(self) -> str:
        return self.pseudonymizer.pseudonym("patient", self.patient)

    def clean(self, dataset: Dataset) -> None:
        """Every element of a data set, in place."""
        kept_blocks = self._private(dataset)
        for tag in sorted(dataset.keys()):
            if (tag.is_private and (tag.group, tag.element >> 8) in kept_blocks) or _is_pixels(tag):
                continue
            if tag.is_private:
                del dataset[tag]
                self.done["private", "removed"] += 1
                continue
            try:
                element = dataset[tag]
            except Exception:  # whatever the bytes are, they cannot be judged
                del dataset[tag]
                self.done["unreadable", "removed"] += 1
                continue
            self._treat(dataset, element, self._action(element))

    def _action(self, element: DataElement) -> Action:
        keyword, settings = element.keyword, self.settings
        if (settings.characteristics and keyword in CHARACTERISTICS) or (settings.keep_text and keyword in DESCRIPTORS):
            return Action.CLEAN
        if keyword == "TextValue" and not settings.keep_text:
            return Action.DUMMY
        found = action(int(element.tag), element.VR, keyword)
        if element.VR not in _DATE_VRS or keyword in BIRTH:
            return found
        if settings.shift_dates:
            return Action.CLEAN
        return Action.EMPTY if found == Action.CLEAN else found

    def _treat(self, dataset: Dataset, element: DataElement, todo: Action) -> None:
        if todo == Action.KEEP:
            return
        if todo == Action.REMOVE:
            del dataset[element.tag]
        elif todo == Action.EMPTY and element.keyword != "PatientName":
            element.value = Sequence() if element.VR == "SQ" else None
        elif element.VR == "SQ":
            self._items(element)
        elif todo == Action.CLEAN and not self._cleaned(element):
            return
        elif todo == Action.UID:
            element.value = _each(element.value, self._uid)
        elif todo in (Action.DUMMY, Action.EMPTY):
            self._dummy(element)
        names = {Action.REMOVE: "removed", Action.EMPTY: "emptied", Action.DUMMY: "replaced", Action.UID: "remapped"}
        self.done[element.keyword or "unknown", names.get(todo, "cleaned")] += 1

    def _items(self, element: DataElement) -> None:
        for item in element.value:
            self.clean(item)
            if element.keyword == "PersonIdentificationCodeSequence":  # its codes are people
                for inner in item:
                    if inner.VR in _TEXT_VRS:
                        self._dummy(inner)

    def _dummy(self, element: DataElement) -> None:
        if element.keyword in ("PatientID", "PatientName"):
            element.value = self.pseudonym
        elif element.VR == "UI":
            element.value = _each(element.value, self._uid)
        elif element.VR in _PSEUDONYM_VRS and not element.is_empty:
            element.value = self.pseudonymizer.pseudonym(element.keyword, str(element.value))
        else:
            element.value = _DUMMIES.get(element.VR, REMOVED)

    def _uid(self, old: str) -> UID:
        """Well-known UIDs are the standard's own, such as a frame of reference of an atlas."""
        return UID(old if not old or old.startswith("1.2.840.10008.") else self.pseudonymizer.uid(old))

    def _cleaned(self, element: DataElement) -> bool:
        """The element's value without what identifies; whether anything changed."""
        if element.is_empty:
            return False
        before = element.value
        after = self._cleaned_value(element)
        if after == before:
            return False  # not even written again, so that its bytes stay
        element.value = after
        return True

    def _cleaned_value(self, element: DataElement) -> object:
        vr, value = element.VR, element.value
        if vr in ("DA", "DT"):
            return _each(value, self._shifted)
        if vr == "UI":
            return _each(value, self._uid)
        if vr in _TEXT_VRS:
            prose = vr in _PROSE_VRS or element.keyword in DESCRIPTORS or element.keyword.endswith(PROSE)
            scrub = self.secrets.scrub_prose if prose else self.secrets.scrub
            return _each(value, lambda text: scrub(str(text)))
        if vr in ("PN", "UR", "AE"):
            return None
        if element.keyword == "PatientAge":
            return _each(value, _capped_age)
        if vr in _CODE_VRS and self.secrets.left_in(_text(value).encode()):
            return None
        if isinstance(value, bytes) and self.secrets.left_in(value, shortest=6):
            return None
        return value

    def _shifted(self, value: object) -> str:
        moved = shift(str(value), self.pseudonymizer.shift_days(self.patient)) or ""
        self.dates.add(moved)
        return moved

    def _private(self, dataset: Dataset) -> set[tuple[int, int]]:
        """Treat the private elements that are listed as safe; which blocks (group, block) are left with one.

        Elements of such a block that are not listed are removed here.
        """
        blocks: set[tuple[int, int]] = set()
        if not self.settings.safe_private:
            return blocks
        for tag in [t for t in list(dataset.keys()) if t.is_private and t.element > 0xFF]:
            block = BaseTag(tag.group << 16 | tag.element >> 8)
            creator = str(dataset[block].value).strip() if block in dataset else ""
            if (creator, tag.group, tag.element & 0xFF) not in self.settings.safe_private:
                del dataset[tag]
                self.done["private", "removed"] += 1
                continue
            element = dataset[tag]
            todo = Action.UID if element.VR == "UI" else Action.CLEAN
            if element.VR in _DATE_VRS and not self.settings.shift_dates:
                todo = Action.EMPTY
            self._treat(dataset, element, todo)
            blocks |= {(tag.group, tag.element >> 8), (tag.group, 0)} if tag in dataset else set()
        for tag in [t for t in list(dataset.keys()) if t.is_private and 0 < t.element <= 0xFF]:
            if (tag.group, tag.element) not in blocks:
                del dataset[tag]
        return blocks


def secrets_of(dataset: Dataset) -> Secrets:
    """Values that identify the patient, staff or institution, from everywhere in this data set."""
    names: list[str] = []
    values: list[str] = []
    for element in _every(dataset):
        if element.is_empty:
            continue
        if element.VR == "PN":
            names += [str(v) for v in _several(element.value)]
        elif element.keyword in IDENTIFYING:
            values += [str(v) for v in _several(element.value)]
    return Secrets(names, values)


def _every(dataset: Dataset) -> Iterable[DataElement]:
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
        except Exception:  # it will be removed
            continue
        if element.VR == "SQ":
            for item in element.value:
                yield from _every(item)
        else:
            yield element


def _several(value: object) -> Iterable[object]:
    return value if isinstance(value, MultiValue | list | tuple) else [value]


def _each(value, change):
    if isinstance(value, MultiValue | list | tuple):
        return [change(v) for v in value]
    return change(value)


def _text(value: object) -> str:
    return "\\".join(str(v) for v in _several(value))


def _capped_age(age: object) -> str:
    text = str(age).strip()
    in_a_year = {"Y": 1, "M": 12, "W": 52, "D": 365}.get(text[-1:])
    if in_a_year is None or not text[:-1].isdigit():
        return text
    return "090Y" if int(text[:-1]) >= (_OLDEST_AGE + 1) * in_a_year else text


def _is_pixels(tag: BaseTag) -> bool:
    return tag in (0x7FE00008, 0x7FE00009, 0x7FE00010)
