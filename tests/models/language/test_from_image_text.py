"""Published image-text families by the common interface: loss and answers are those of transformers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image as pillow
from safetensors.torch import load_file, save_file

from medvfm.core.errors import DataError, WeightsError
from medvfm.models.language.chat import Turn
from medvfm.models.language.from_image_text import load_image_text
from medvfm.models.language.processor_chat import ProcessorChat
from tests.samples.talking_checkpoints import FAMILIES, KIN

TOLD = [(Turn("Is there a lesion?", "yes"), Turn("Where?", "left side")), (Turn("Why?", "because"),)]


def picture(width, height, seed=0):
    return pillow.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


PICTURES = [[picture(32, 32)], [picture(48, 32, 1)]]


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def family(request, tmp_path_factory):
    """A family's name, the model that its library made, ours from its folder, and the conversation format."""
    folder = tmp_path_factory.mktemp(request.param)
    theirs = FAMILIES[request.param](folder)
    model = load_image_text(str(folder))
    style = "chat" if model.processor.chat_template else "plain"
    return request.param, theirs, model, ProcessorChat(model.processor, request.param, style)


def given(chat, conversations, pictures):
    tokens = [chat.conversation(turns, own) for turns, own in zip(conversations, pictures, strict=True)]
    return chat.inputs(conversations, pictures, tokens), tokens


def test_loss_counts_answers_alone_and_is_that_of_transformers(family):
    _, theirs, model, chat = family
    inputs, tokens = given(chat, TOLD, PICTURES)
    answers = [
        chat.tokenizer.decode([i for i, a in zip(t.ids, t.answered, strict=True) if a]).replace(" ", "") for t in tokens
    ]
    assert answers == [f"yes{chat.end}leftside{chat.end}", f"because{chat.end}"]
    labels = torch.full_like(inputs["input_ids"], -100)
    for row, own in enumerate(tokens):
        for place, (token, answer) in enumerate(zip(own.ids, own.answered, strict=True)):
            if answer:
                labels[row, labels.shape[1] - len(own) + place] = token
    with torch.no_grad():
        torch.testing.assert_close(model.loss(inputs, tokens), theirs(**inputs, labels=labels).loss)


def test_answers_are_those_of_transformers_alone_and_in_a_batch(family):
    _, theirs, model, chat = family
    asked = [(Turn("Is there a lesion?"),), (Turn("Why?"),)]
    inputs, _ = given(chat, asked, PICTURES)
    stops = sorted(chat.stops | model.ends)
    told = model.greedy(inputs, stops, 6)
    for row in range(2):
        own, _ = given(chat, asked[row : row + 1], PICTURES[row : row + 1])
        whole = theirs.generate(**own, max_new_tokens=6, do_sample=False, eos_token_id=stops)[0].tolist()
        new = whole[len(whole) - 6 :] if len(whole) >= 6 else whole
        expected = new[: next((n for n, t in enumerate(new) if t in stops), len(new))]
        assert list(told[row].ids) == expected
        assert 0 < told[row].probability <= 1


def test_low_rank_updates_are_in_the_language_model_alone_and_travel(family, tmp_path):
    _, _, _, chat = family
    model = load_image_text(family[2].name)
    inputs, tokens = given(chat, TOLD, PICTURES)
    before = model.loss(inputs, tokens)
    model.requires_grad_(False)
    model.add_lora(4, None, seed=0)
    for parameter in model.lora_parameters():
        parameter.requires_grad_(True)
    named = [n for n, p in model.named_parameters() if p.requires_grad]
    assert len(named) == 2 * 4 * 2 and not any("vision" in n or "visual" in n for n in named)
    torch.testing.assert_close(model.loss(inputs, tokens), before)
    model.loss(inputs, tokens).backward()
    with torch.no_grad():
        for parameter in model.lora_parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    model.save_lora(tmp_path)
    again = load_image_text(family[2].name)
    again.add_lora(4, None, seed=1)
    again.load_lora(tmp_path)
    torch.testing.assert_close(again.loss(inputs, tokens), model.loss(inputs, tokens))
    assert not torch.isclose(model.loss(inputs, tokens), before)


def test_tokens_of_images_are_counted_and_checked(family):
    name, _, model, chat = family
    tokens = [chat.conversation(turns, own) for turns, own in zip(TOLD, PICTURES, strict=True)]
    counted = {"qwen2_vl": [16, 24], "gemma3": [4, 4], "blip2": [4, 4], "instructblip": [4, 4]}.get(name)
    if counted:
        assert [model.image_tokens(t) for t in tokens] == counted
    inputs = chat.inputs(TOLD, PICTURES, tokens)
    broken = inputs["input_ids"].clone()
    place = (broken == model._image).nonzero()[0]
    broken[tuple(place)] = 20
    with pytest.raises(DataError, match="places for images in a conversation and their features differ"):
        model.loss({**inputs, "input_ids": broken}, tokens)
    wrong = [tokens[0], chat.conversation(TOLD[1], PICTURES[0] if "blip" not in name else [])]
    if [len(t) for t in wrong] != [len(t) for t in tokens]:
        with pytest.raises(WeightsError, match="its processor makes"):
            chat.inputs(TOLD, PICTURES, wrong)


def test_queries_that_read_a_question_do_not_read_its_answer(family):
    name, _, _, chat = family
    inputs, _ = given(chat, TOLD, PICTURES)
    read = [key for key in inputs if key.startswith("qformer_")]
    assert bool(read) == (name == "instructblip")
    if read:
        texts = [chat.processor.qformer_tokenizer.decode(row, skip_special_tokens=True) for row in inputs[read[0]]]
        assert [text.strip() for text in texts] == ["Is there a lesion?", "Why?"]


def test_a_template_s_own_system_prompt_is_told(family):
    _, _, _, chat = family
    if chat.style == "chat":
        assert "You are a helpful assistant." in chat.record()["begins"]


@pytest.mark.parametrize("name", sorted(KIN))
def test_later_models_of_the_family_give_their_own_loss_and_answers(tmp_path, name):
    theirs, model = KIN[name](tmp_path), load_image_text(str(tmp_path))
    chat = ProcessorChat(model.processor, name)
    inputs, tokens = given(chat, TOLD, PICTURES)
    assert [model.image_tokens(t) for t in tokens] == [16, 24]
    labels = torch.full_like(inputs["input_ids"], -100)
    for row, own in enumerate(tokens):
        answered = torch.tensor(own.answered)
        labels[row, -len(own) :][answered] = torch.tensor(own.ids)[answered]
    with torch.no_grad():
        torch.testing.assert_close(model.loss(inputs, tokens), theirs(**inputs, labels=labels).loss)
    inputs, _ = given(chat, [(Turn("Why?"),)], PICTURES[:1])
    new = theirs.generate(**inputs, max_new_tokens=4, do_sample=False, eos_token_id=2)[0, -4:].tolist()
    assert list(model.greedy(inputs, [2], 4)[0].ids) == new


def test_a_key_that_is_missing_or_unused_stops(tmp_path):
    FAMILIES["qwen2_vl"](tmp_path)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    for change, said in (
        (lambda s: s.pop(next(iter(s))), "1 missing"),
        (lambda s: s.update(x=torch.zeros(1)), "1 not used"),
    ):
        changed = dict(weights)
        change(changed)
        save_file(changed, file, {"format": "pt"})
        with pytest.raises(WeightsError, match=said):
            load_image_text(str(tmp_path))
