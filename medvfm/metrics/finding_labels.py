"""Findings that a chest X-ray report names, by rules for English: which are said to be there, and which to be absent.

This is a small labeller of our own, after the idea of NegEx (Chapman 2001) and CheXpert (Irvin 2019): phrases of 14
findings, and words of negation with the stretch that they reach. It is neither CheXpert's nor CheXbert's labeller, and
its F1 is not theirs. A finding that is said to be possible counts as present; one that is named with and without a
negation is present.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

FINDINGS = {
    "atelectasis": r"atelecta\w+|collapse[sd]?",
    "cardiomegaly": r"cardiomegaly|cardiac enlargement|enlarge\w* (?:of the )?(?:heart|cardiac|cardio(?!mediastin)\w*)"
    r"|(?:heart|cardiac(?: silhouette)?|cardiac contour)(?: \w+){0,4}? enlarged",
    "consolidation": r"consolidat\w+",
    "edema": r"o?edema\w*|(?:vascular|pulmonary|venous) congestion|congestive heart failure|fluid overload",
    "effusion": r"effusions?|pleural fluid|hydropneumothora\w+|hydrothorax",
    "emphysema": r"emphysema\w*|hyperinflat\w+",
    "enlarged_mediastinum": r"widen\w* (?:of the )?(?:cardio)?mediastin\w+|mediastinal widening"
    r"|enlarge\w* (?:of the )?(?:cardio)?mediastin\w+|(?:cardio)?mediastin\w+(?: \w+){0,4}? (?:widened|enlarged)",
    "fracture": r"fractures?|fractured",
    "hernia": r"hernias?|herniation",
    "lesion": r"nodul\w+|mass(?:es)?|lesions?|tumou?rs?|metasta\w+",
    "opacity": r"opacit\w+|opacifi\w+|infiltrat\w+|airspace disease",
    "pleural_thickening": r"pleural (?:thickening|plaques?|scarring|calcification\w*)|fibrothorax",
    "pneumonia": r"pneumonia\w*|bronchopneumonia",
    "pneumothorax": r"(?:hydro)?pneumothora\w+",
}
FINDING_PARTS = ("agreed", "only_answer", "only_truth")
_NAMED = {name: re.compile(rf"\b(?:{phrase})\b") for name, phrase in FINDINGS.items()}
# What looks like a negation of a finding and is none.
_SEEMING = re.compile(
    r"\b(?:no|without|not)(?: \w+){0,2} (?:change|increase|decrease|improvement)d?(?: in| of| to| from)?\b"
    r"|\b(?:can ?not|could not|not)(?: be)?(?: entirely| completely)? (?:excluded?|ruled out)\b"
    r"|\b(?:can ?not|could not) (?:exclude|rule out)\b|\bnot only\b|\bunchanged\b"
)
_BEFORE = re.compile(
    r"\b(?:no|not|without|nor|neither|absence of|absent|free of|negative for|clear of|denies|resolution of"
    r"|rather than|ruled out)\b"
)
_BEHIND = re.compile(
    r"^:? (?:none|no)$|^(?: (?!and\b|or\b|with\b)\w+){0,3}? (?:(?:is|are|was|were|has|have)(?: been)? )?"
    r"(?:not\b|no longer\b|absent\b|excluded\b|ruled out\b|resolved\b|negative\b)"
)
_ENDS = re.compile(r"\b(?:but|however|although|though|except|yet|which|because|due to|there (?:is|are)|aside from)\b")
_SAYS = re.compile(r"\b(?:is|are|was|were|has|have|there|remains?|stable|unchanged|new|increased|persistent)\b")


def findings(report: str) -> dict[str, bool]:
    """Findings that a report names, to whether they are there. What it does not name is not in it."""
    found: dict[str, bool] = {}
    for clause in _clauses(report):
        for name, pattern in _NAMED.items():
            for match in pattern.finditer(clause.text):
                found[name] = found.get(name, False) or not clause.denies(match)
    return found


def finding_counts(truth: str, text: str) -> np.ndarray:
    """(3,) findings that are there by truth and text, by the text alone, and by the truth alone."""
    true, given = ({name for name, there in findings(t).items() if there} for t in (truth, text))
    return np.array([len(true & given), len(given - true), len(true - given)], dtype=np.float64)


def f1_of(counts: np.ndarray) -> np.ndarray:
    """F1 of summed counts (..., 3): 2 agreed / (2 agreed + others); NaN where no report has a finding."""
    agreed, others = counts[..., 0], counts[..., 1] + counts[..., 2]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(2 * agreed / (2 * agreed + others))


@dataclass(frozen=True)
class _Clause:
    """A stretch of a sentence, in small letters with single spaces, and where negations begin and end to reach."""

    text: str
    denied: tuple[tuple[int, int], ...]

    def denies(self, match: re.Match[str]) -> bool:
        if re.search(r"\b(?:not|no)\b", match[0]):
            return True
        if any(low <= match.start() < high for low, high in self.denied):
            return True
        return _BEHIND.match(self.text[match.end() :]) is not None


def _clauses(report: str) -> list[_Clause]:
    found = []
    for sentence in re.split(r"[.;!?]\s|[.;!?]$|\n", f"{report.lower()}\n"):
        text = _SEEMING.sub(lambda seen: "~" * len(seen[0]), " ".join(sentence.replace("'", "").split()))
        start = 0
        for end in [*(m.start() for m in _ENDS.finditer(text)), len(text)]:
            part = text[start:end]
            if part.strip():
                found.append(_Clause(part, tuple(_reach(part, m.end()) for m in _BEFORE.finditer(part))))
            start = end
    return found


def _reach(clause: str, start: int) -> tuple[int, int]:
    """From a negation to where it ends: at a comma behind which something new is said. A list goes on to its `or`."""
    place = start
    for piece in re.split(r"(,)", clause[start:]):
        later = clause[place:]
        listed = re.search(r"\b(?:or|nor)\b", later) is not None and not _SAYS.search(later.split(" or ")[0])
        short = len(piece.split()) <= 3 and not _SAYS.search(piece) and not re.match(r"\s*(?:an?|the)\b", piece)
        if place > start and piece != "," and not (listed or short):
            return start, place
        place += len(piece)
    return start, len(clause)
