"""What the adapter llava makes of its cases: several images by role, several turns, several questions in one row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image as pillow

from medvfm.adapters import llava
from medvfm.core.case import Case
from medvfm.core.errors import DataError, RecipeError, UnreadableImage
from medvfm.core.item import Item
from medvfm.core.recipe_sections import AdapterSettings, Prepare, Train
from medvfm.models.language.chat import IMAGE_ID

GRID = 2  # so that an image is 4 vectors


def adapter(method="instruct", **options):
    settings = AdapterSettings(
        name="llava", weights="tiny", options={"grid": GRID, "connector": "linear", "answer_tokens": 3} | options
    )
    prepare = Prepare(size=32)
    llava.refuse(settings, [method], prepare, None)
    return llava.build(settings, None, method, prepare, windows={}, read={}, train=Train(), seed=0)


@pytest.fixture
def pictures(tmp_path):
    for name, value in (("now", 200), ("before", 40)):
        picture = np.full((32, 32), 100, np.uint8)
        picture[8:20, 8:20] = value
        pillow.fromarray(picture).save(tmp_path / f"{name}.png")
    return {name: (tmp_path / f"{name}.png",) for name in ("now", "before")}


def case(pictures, roles, number=1, **words):
    images = {role: pictures[name] for role, name in roles.items()}
    return Case(f"c{number}", "p", images, **({"question": "Any change?", "answer": "no"} | words))


def item(made, one):
    return Item(one, made.preparer.arrays(made.preparer.images(one), one))


def batch(made, cases):
    rng = np.random.default_rng(0)
    return made.collate([made.example(item(made, one), rng, None) for one in cases])


def places(tokens):
    return [sum(i == IMAGE_ID for i in own.ids) for own in tokens]


def test_images_of_several_roles_are_shown_in_their_order(pictures):
    made = adapter(roles=["prior", "image"])
    both = case(pictures, {"image": "now", "prior": "before"})
    alone = case(pictures, {"image": "now"}, 2)
    told = batch(made, [both, alone])
    assert places(told["tokens"]) == [8, 4] and [len(own) for own in told["images"]] == [2, 1]
    prior, now = told["images"][0]
    torch.testing.assert_close(now, told["images"][1][0])
    assert not torch.allclose(prior, now)
    assert torch.isfinite(made.loss(told)) and len(made.answer([item(made, both), item(made, alone)])) == 2
    towers = {n: v.numpy() for n, v in made.embed_tower("vision", [item(made, both), item(made, alone)]).items()}
    stored = [
        Item(one, towers={"vision": {n: v[row] for n, v in towers.items()}}) for row, one in enumerate([both, alone])
    ]
    for fresh, known in zip(told["images"], made._patches(stored), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(fresh, known, strict=True))
    with pytest.raises(UnreadableImage, match="c3 has no image in the roles prior, image"):
        made.preparer.files(case(pictures, {"lateral": "now"}, 3))


def test_marks_say_where_images_of_roles_stand(pictures):
    made = adapter(roles=["prior", "image"])
    marked = case(pictures, {"image": "now", "prior": "before"}, question="<image> then, <image> now: any change?")
    (tokens,) = batch(made, [marked])["tokens"]
    at = [n for n, i in enumerate(tokens.ids) if i == IMAGE_ID]
    assert at[4] - at[3] == 1 + len(" then, ")
    with pytest.raises(DataError, match="c1: 2 times <image> in its questions, and 1 image"):
        batch(made, [case(pictures, {"image": "now"}, question="<image><image>?")])


def test_every_answer_of_a_conversation_is_trained_on(pictures):
    made = adapter()
    (tokens,) = batch(made, [case(pictures, {"image": "now"}, turns=(("Is it large?", "yes"), ("Where?", "left")))])[
        "tokens"
    ]
    said = made._chat.tokenizer.decode([i for i, a in zip(tokens.ids, tokens.answered, strict=True) if a])
    assert said.replace(" ", "") == "yes<|im_end|>left<|im_end|>no<|im_end|>"
    assert places([tokens]) == [4]


def test_questions_on_one_image_are_packed_and_the_loss_stays(pictures):
    cases = [
        case(pictures, {"image": "now"}),
        case(pictures, {"image": "before"}, 2, question="Is it dark?", answer="yes"),
        case(pictures, {"image": "now"}, 3, question="How many are there?", answer="one"),
    ]
    packed, single = adapter(pack=True), adapter()
    told, apart = batch(packed, cases), batch(single, cases)
    assert len(told["tokens"]) == 2 and len(apart["tokens"]) == 3 and places(told["tokens"]) == [4, 4]
    packed.module.eval(), single.module.eval()
    torch.testing.assert_close(packed.loss(told), single.loss(apart))
    assert packed.neighbours(cases[0])[0] == packed.neighbours(cases[2])[0] != packed.neighbours(cases[1])[0]
    assert single.neighbours(cases[0]) is None
    with pytest.raises(RecipeError, match="pack shows an image once before its questions"):
        adapter(pack=True, images="last")


def test_lengths_are_those_of_what_is_said(pictures):
    made = adapter(group_lengths=True)
    short, long = case(pictures, {"image": "now"}), case(pictures, {"image": "now"}, 2, answer="no " * 20)
    assert made.neighbours(long)[1] - made.neighbours(short)[1] == len("no " * 20) - len("no")


def test_an_answer_that_is_longer_than_the_context_is_named_with_its_case(pictures):
    with pytest.raises(DataError, match=r"the conversation of c1 has \d+ tokens, and tiny reads 512"):
        batch(adapter(), [case(pictures, {"image": "now"}, answer="word " * 200)])


def test_activations_that_are_computed_twice_give_the_same_gradients(pictures):
    found = []
    for twice in (False, True):
        made = adapter(checkpointing=twice)
        made.module.train()
        for part in made.module.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
        made.loss(batch(made, [case(pictures, {"image": "now"})])).backward()
        found.append({n: p.grad for n, p in made.module.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys() and found[0]
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient)
