"""Conversations as tokens: what an answer is, token by token, by two chat templates; images that are too many."""

from __future__ import annotations

import pytest

from medvfm.core.errors import DataError, WeightsError
from medvfm.models.language.chat import IMAGE_ID, ChatFormat, Turn
from medvfm.models.language.tiny import TEMPLATE, byte_tokenizer

MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ ' [INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + eos_token }}"
    "{% else %}{{ raise_exception('no such role') }}{% endif %}{% endfor %}"
)
TURNS = (Turn("Is there a lesion?", "yes"), Turn("Which side?", "left side"))
CHATML = (
    "<|im_start|>system\nYou see images.<|im_end|>\n<|im_start|>user\n", "@\nIs there a lesion?<|im_end|>\n"
    "<|im_start|>assistant\n", "#yes<|im_end|>", "\n<|im_start|>user\nWhich side?<|im_end|>\n<|im_start|>assistant\n",
    "#left side<|im_end|>", "\n",
)  # fmt: skip
INST = ("<s> [INST] ", "@\nIs there a lesion? [/INST]", "# yes</s>", " [INST] Which side? [/INST]", "# left side</s>")
PLAIN = ("@\nIs there a lesion?\n", "#yes<|im_end|>", "Which side?\n", "#left side<|im_end|>")


def formats():
    return {
        "chatml": (ChatFormat(byte_tokenizer(TEMPLATE), "x"), CHATML),
        "inst": (ChatFormat(byte_tokenizer(MISTRAL, ("<pad>", "<s>", "</s>")), "x"), INST),
        "plain": (ChatFormat(byte_tokenizer(None), "x", style="plain"), PLAIN),
    }


def spelled(chat, tokens):
    """Every token in words, one by one, with what it counts as; written by hand in the tables above."""
    names = chat.tokenizer.convert_ids_to_tokens([max(i, 0) for i in tokens.ids])
    words = [
        "@" if i == IMAGE_ID else n.replace("Ġ", " ").replace("Ċ", "\n") for i, n in zip(tokens.ids, names, strict=True)
    ]
    return list(zip(words, tokens.answered, strict=True))


def by_hand(chat, parts, images):
    special = chat.tokenizer.all_special_tokens
    found = []
    for part in parts:
        answer, text = part.startswith("#"), part.removeprefix("#")
        while text:
            token = next((s for s in special if text.startswith(s)), text[0])
            found += [(token, answer)] * (images if token == "@" else 1)
            text = text[len(token) :]
    return found


@pytest.mark.parametrize("name", ("chatml", "inst", "plain"))
def test_answers_and_their_ends_are_labelled_token_by_token(name):
    chat, parts = formats()[name]
    tokens = chat.tokens(TURNS, [3])
    assert spelled(chat, tokens) == by_hand(chat, parts, 3)
    assert sum(i == IMAGE_ID for i in tokens.ids) == 3
    assert chat.end == {"chatml": "<|im_end|>", "inst": "</s>", "plain": "<|im_end|>"}[name]
    assert chat.stops == frozenset({2})


@pytest.mark.parametrize("name", ("chatml", "inst", "plain"))
def test_a_prompt_is_how_the_conversation_begins(name):
    chat, _ = formats()[name]
    whole, asked = chat.tokens(TURNS, [2]), chat.tokens((*TURNS[:1], Turn("Which side?")), [2])
    assert whole.ids[: len(asked)] == asked.ids
    assert not any(whole.answered[len(chat.tokens((Turn("Is there a lesion?"),), [2])) - 1 :: 10_000])
    assert whole.answered[len(asked)] and not asked.answered[-1]


def test_images_stand_where_questions_say_so():
    chat, _ = formats()["chatml"]
    two = chat.tokens((Turn("<image> now, <image> before: any change?"),), [1, 2])
    assert sum(i == IMAGE_ID for i in two.ids) == 3
    gap = [n for n, i in enumerate(two.ids) if i == IMAGE_ID]
    assert gap[1] - gap[0] == 1 + len(" now, ")
    with pytest.raises(DataError, match="2 times <image> in the questions of a conversation with 1 image;"):
        chat.tokens((Turn("<image><image> what?"),), [4])
    with pytest.raises(DataError, match="an answer holds <image>"):
        chat.tokens((Turn("What?", "<image>"),), [4])


def test_the_default_system_prompt_is_told_and_can_be_replaced():
    tokenizer = byte_tokenizer(TEMPLATE)
    assert "You see images." in ChatFormat(tokenizer, "x").record()["begins"]
    own = ChatFormat(tokenizer, "x", system="Say one word.").record()
    assert "Say one word." in own["begins"] and "You see images." not in own["begins"]
    assert own["stops"] == ["<|im_end|>"]
    with pytest.raises(WeightsError, match="refuses this conversation: no such role"):
        ChatFormat(byte_tokenizer(MISTRAL), "x", system="Say one word.")
    with pytest.raises(WeightsError, match="no chat template"):
        ChatFormat(byte_tokenizer(None), "x")


def test_a_template_that_forgets_is_refused():
    forgetful = "{% for m in messages[-2:] %}{{ m['role'] }} {{ m['content'] }}{% endfor %}"
    chat = ChatFormat(byte_tokenizer(forgetful), "x")
    with pytest.raises(WeightsError, match="changes what was said before"):
        chat.tokens(TURNS, [1])
