"""Texts as a pair reads them: whole or by their sentences, and how many of them were cut."""

from __future__ import annotations

from collections.abc import Sequence

from medvfm.core.case import Case
from medvfm.core.protocols import Record
from medvfm.models.text.encoder import TextEncoder
from medvfm.models.text.sentences import sentences


class ReadTexts:
    """Every text that was read, each once.

    by_sentence  texts are trained and asked sentence by sentence
    """

    def __init__(self, encoder: TextEncoder, *, by_sentence: bool) -> None:
        self._encoder, self.by_sentence = encoder, by_sentence
        self._cut: dict[str, bool] = {}

    def parts(self, case: Case) -> list[str]:
        """What is encoded of the text of a case."""
        return self.parts_of(case.text or "")

    def parts_of(self, text: str) -> list[str]:
        return parts_of(text, by_sentence=self.by_sentence)

    def note(self, texts: Sequence[str]) -> None:
        """Count those that are longer than the encoder reads."""
        for text in texts:
            if text not in self._cut:
                self._cut[text] = bool(self._encoder.cut([text]))

    def record(self) -> Record:
        return {
            "limit": self._encoder.limit,
            "read": len(self._cut),
            "cut": sum(self._cut.values()),
            "by": "sentence" if self.by_sentence else "whole text",
        }


def has_text(case: Case) -> bool:
    return bool((case.text or "").strip())


def parts_of(text: str, *, by_sentence: bool) -> list[str]:
    """Its sentences, or all of it."""
    found = sentences(text) if by_sentence else []
    return found or [text]
