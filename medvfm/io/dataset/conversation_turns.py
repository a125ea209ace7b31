"""Conversations in the fields of a table: LLaVA's `conversations` and ShareGPT's, as questions with their answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

ASKS, ANSWERS = ("human", "user"), ("gpt", "assistant", "model")


def turns_of(value: Any) -> tuple[tuple[str, str], ...]:
    """Question and answer of each turn, in their order. A message is {from, value} or {role, content}; a list of them
    may stand as JSON text. Raises ValueError, which says what is amiss."""
    found: list[tuple[str, str]] = []
    asked: str | None = None
    for message in _messages(value):
        role = str(message.get("from", message.get("role", ""))).lower()
        text = _text(message.get("value", message.get("content")))
        if role == "system":
            raise ValueError("it begins with a system message; adapter.options.system gives one to all")
        if role not in (*ASKS, *ANSWERS):
            raise ValueError(f"nobody known speaks: {role!r}; one of {', '.join((*ASKS, *ANSWERS))}")
        if (role in ASKS) != (asked is None):
            raise ValueError("questions and answers do not take turns")
        if not text.strip():
            raise ValueError("a turn without words")
        if asked is None:
            asked = text.strip()
        else:
            found.append((asked, text.strip()))
            asked = None
    if asked is not None:
        raise ValueError("a question without an answer")
    if not found:
        raise ValueError("a conversation without turns")
    return tuple(found)


def _messages(value: Any) -> list[Mapping[str, Any]]:
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else []
        except ValueError as error:
            raise ValueError("it is no list of messages") from error
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        raise ValueError("it is no list of messages")
    found = list(value)
    if not all(isinstance(message, Mapping) for message in found):
        raise ValueError("it is no list of messages")
    return found


def _text(content: Any) -> str:
    """Words; contents in parts as one text, with <image> where an image stands."""
    if isinstance(content, list):
        return "\n".join("<image>" if part.get("type") == "image" else str(part.get("text", "")) for part in content)
    return "" if content is None else str(content)
