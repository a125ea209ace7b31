"""Instruction data for vision-language models from captions, questions and labels, by templates: LLaVA's JSON.

Three kinds, as Liu et al. 2023 have them: a conversation, a detailed description, and reasoning, here over labels that
the card holds. Nothing is invented: every answer is a field of a case, or follows from its labels.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medvfm.core.case import Case
from medvfm.core.data_card import DataCard
from medvfm.core.errors import DataError
from medvfm.io.atomic_write import atomic_write
from medvfm.io.dataset import case_names

IMAGE = "<image>"
CONVERSATION, DESCRIPTION, REASONING = "conversation", "detailed_description", "reasoning"
DESCRIBE = (
    "Describe the image in detail.",
    "Write the findings of this image.",
    "What is seen in this image? Give a detailed account.",
    "Provide a detailed description of the image.",
    "Report this image.",
)
PRESENT = ("Is there {} in this image?", "Does this image show {}?", "Can {} be seen here?")
EXPLAIN = (
    "Which of these are present: {}? Give the reason.",
    "Say for each of these whether it is present, and why: {}.",
    "Decide which of {} this image shows, and explain the decision.",
)
Sample = dict[str, Any]


def samples(card: DataCard, cases: Sequence[Case], root: Path, seed: int = 0) -> list[Sample]:
    """Samples of each image, in the order of the cases; the wording is drawn from the seed and the image's name alone.

    `id`, `image` (relative to the data's folder), `kind`, `conversations`, and `source`: the card, its version, the
    case and the fields that the answers came from. Raises DataError where no case has a caption, a question or a label.
    """
    by_image: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        by_image[image_name(case, root)].append(case)
    named = case_names.names((case.case_id for case in cases), safe=card.ids == "safe")
    found = []
    for image, own in by_image.items():
        rng = np.random.default_rng([seed, *named[own[0].case_id].encode()])
        for kind, turns, fields in _of_image(card, own, rng):
            source = {
                "card": card.name, "version": card.version, "case_id": named[own[0].case_id], "fields": fields,
            }  # fmt: skip
            found.append(
                {
                    "id": f"{named[own[0].case_id]}-{kind}",
                    "image": image,
                    "kind": kind,
                    "conversations": conversation_of(turns),
                    "source": source,
                }
            )
    if not found:
        raise DataError(
            f"no case of {card.name} has a caption, a question with its answer, or a label",
            remedy="name the card's text, question or classes, or take another of its layouts",
        )
    return found


def write(path: Path, made: Sequence[Sample]) -> None:
    with atomic_write(path) as part:
        part.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _of_image(
    card: DataCard, cases: Sequence[Case], rng: np.random.Generator
) -> list[tuple[str, list[tuple[str, str]], list[str]]]:
    """Kind, turns and the fields that they came from."""
    case = cases[0]
    labels = {name: value for name, value in case.targets.items() if value in (0.0, 1.0)}
    text = (case.text or "").strip()
    found = []
    asked = [(c.question, c.answer) for c in cases if c.question and c.answer]
    if asked:
        turns = [(str(question).strip(), str(answer).strip()) for question, answer in asked]
        found.append((CONVERSATION, turns, ["question", "answer"]))
    elif labels:
        turns = [(_drawn(PRESENT, rng).format(_spoken(n)), "Yes." if v else "No.") for n, v in labels.items()]
        found.append((CONVERSATION, turns, [f"classes.{name}" for name in labels]))
    if text:
        found.append((DESCRIPTION, [(_drawn(DESCRIBE, rng), text)], ["text"]))
    if labels:
        question = _drawn(EXPLAIN, rng).format(", ".join(map(_spoken, labels)))
        fields = [*(["text"] if text else []), *(f"classes.{name}" for name in labels)]
        found.append((REASONING, [(question, _reasons(labels, text))], fields))
    return found


def _reasons(labels: Mapping[str, float], text: str) -> str:
    """What is present and what is not; the report first, where there is one, as the reason."""
    present = [_spoken(name) for name, value in labels.items() if value]
    absent = [_spoken(name) for name, value in labels.items() if not value]
    said = [f"Present: {', '.join(present)}."] if present else ["None of them is present."]
    if present and absent:
        said.append(f"Not present: {', '.join(absent)}.")
    return " ".join([*([f"The image shows this: {text} Therefore:"] if text else []), *said])


def conversation_of(turns: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    """The image stands before the first question; a marker in a text would be a second one."""
    found = []
    for number, (question, answer) in enumerate(turns):
        asked = question.replace(IMAGE, "").strip()
        found += [
            {"from": "human", "value": asked if number else f"{IMAGE}\n{asked}"},
            {"from": "gpt", "value": answer.replace(IMAGE, "").strip()},
        ]
    return found


def image_name(case: Case, root: Path) -> str:
    """The first file of a case, relative to the data's folder."""
    if not case.files:
        raise DataError(f"{case.case_id} has no image", remedy="take a layout with images")
    return Path(os.path.relpath(case.files[0], root)).as_posix()


def _spoken(name: str) -> str:
    return name.replace("_", " ")


def _drawn(wordings: Sequence[str], rng: np.random.Generator) -> str:
    return wordings[int(rng.integers(len(wordings)))]
