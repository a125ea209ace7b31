"""Conversations of several turns in LLaVA's JSON and in ShareGPT's, through cards; what is none is left out by name."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image as pillow

from medvfm.adapters._llava.conversations import Conversations
from medvfm.core.data_card import DataCard
from medvfm.core.errors import DataError
from medvfm.io.dataset.cases import read_cases
from medvfm.io.dataset.conversation_turns import turns_of
from medvfm.models.language.chat import IMAGE, Turn

LLAVA = [
    {"from": "human", "value": "<image>\nIs there a lesion?"},
    {"from": "gpt", "value": "Yes."},
    {"from": "human", "value": "Which side?"},
    {"from": "gpt", "value": "Left."},
]
CHAT = [{"role": {"human": "user", "gpt": "assistant"}[m["from"]], "content": m["value"]} for m in LLAVA]


def cases_of(tmp_path, name, rows, lines=False):
    pillow.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    text = "\n".join(map(json.dumps, rows)) if lines else json.dumps(rows)
    (tmp_path / name).write_text(text)
    field = next(key for key in rows[0] if key in ("conversations", "messages"))
    layout = {"table": name, "case_id": "{id}", "turns": f"{{{field}}}"}
    card = DataCard.model_validate({"name": "talks", "title": "t", "patients": "none", "layouts": [layout]})
    return read_cases(card, tmp_path)


@pytest.mark.parametrize(
    ("name", "row", "lines"),
    [
        ("llava.json", {"id": "1", "image": "a.png", "conversations": LLAVA}, False),
        ("sharegpt.jsonl", {"id": "1", "image": "a.png", "messages": CHAT}, True),
        ("text.json", {"id": "1", "image": "a.png", "conversations": json.dumps(LLAVA)}, False),
    ],
)
def test_both_formats_give_the_turns_in_their_order(tmp_path, name, row, lines):
    (case,) = cases_of(tmp_path, name, [row], lines).cases
    assert case.turns == (("<image>\nIs there a lesion?", "Yes."),)
    assert (case.question, case.answer) == ("Which side?", "Left.")
    told = Conversations().answered(case)
    assert told == [Turn("<image>\nIs there a lesion?", "Yes."), Turn("Which side?", "Left.")]
    assert Conversations().asked(case)[-1] == Turn("Which side?")
    assert not any(IMAGE in turn.question for turn in Conversations().answered(case, []))


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        (LLAVA[:3], "a question without an answer"),
        (LLAVA[1:], "do not take turns"),
        ([], "a conversation without turns"),
        ([{"from": "robot", "value": "x"}], "nobody known speaks: 'robot'"),
        ([{"from": "system", "value": "x"}], "adapter.options.system"),
        ([{"from": "human", "value": " "}], "a turn without words"),
        ("no list", "it is no list of messages"),
    ],
)
def test_what_is_no_conversation_is_left_out_by_name(tmp_path, messages, said):
    with pytest.raises(ValueError, match=said):
        turns_of(messages)
    good = {"id": "1", "image": "a.png", "conversations": LLAVA}
    found = cases_of(tmp_path, "llava.json", [good, {**good, "id": "2", "conversations": messages}])
    assert [case.case_id for case in found.cases] == ["1"]
    assert said in found.left_out[0][1] and found.left_out[0][0] == "2"


def test_an_image_without_its_file_is_left_out_by_name(tmp_path):
    good = {"id": "1", "image": "a.png", "conversations": LLAVA}
    found = cases_of(tmp_path, "llava.json", [good, {**good, "id": "2", "image": "b.png"}])
    assert found.left_out == [("2", "no such file: b.png")]


def test_an_image_token_too_many_is_named_with_its_case(tmp_path):
    twice = [{"from": "human", "value": "<image><image>\nAny change?"}, {"from": "gpt", "value": "No."}]
    (case,) = cases_of(tmp_path, "llava.json", [{"id": "7", "image": "a.png", "conversations": twice}]).cases
    with pytest.raises(DataError, match="7: 2 times <image> in its questions, and 1 image"):
        Conversations().answered(case)
    shown = Conversations().answered(case, [2, 1])
    assert shown[0].question.count(IMAGE) == 3
