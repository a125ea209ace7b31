"""Several questions on one image in one row: the loss and its gradients are those of single conversations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medvfm.models.encoders.load import load_encoder
from medvfm.models.language.chat import IMAGE_ID, ChatFormat, Turn
from medvfm.models.language.connectors import Connector
from medvfm.models.language.image_language import ImageLanguageModel
from medvfm.models.language.load import load_language_model
from medvfm.models.language.packing import packed, sees
from medvfm.nn import samplers

TOLD = (
    (Turn("Is there a lesion?", "yes"),),
    (Turn("Which side?", "left, 5 mm"), Turn("Why?", "seen")),
    (Turn("Why?", "because"),),
)


@pytest.fixture(scope="module")
def model():
    language, vision = load_language_model("tiny", seed=1), load_encoder("tiny", size_px=32, seed=1)
    projector = Connector("linear", vision.width, language.width, 3, 0.1, seed=0)
    return ImageLanguageModel(vision, projector, language, 2).eval()


@pytest.mark.parametrize("style", ("chat", "plain"))
def test_packed_questions_give_the_loss_and_gradients_of_single_ones(model, style):
    chat = ChatFormat(model.language.tokenizer, "tiny", style)
    patches = model.patches(torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))).detach()
    tokens = [chat.tokens(turns, [patches.shape[1]]) for turns in TOLD]
    row = packed(tokens)
    assert sum(i == IMAGE_ID for i in row.ids) == patches.shape[1] and len(row) < sum(map(len, tokens))

    def measured(given):
        model.zero_grad()
        loss = model.loss(given)
        loss.backward()
        return loss, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    other = tokens[0]  # of another image, shorter: rows are padded
    single, alone = measured(model.spliced([*tokens, other], [[patches[0]]] * 3 + [[patches[1]]]))
    together, gradients = measured(model.spliced([row, other], [[patches[0]], [patches[1]]]))
    torch.testing.assert_close(together, single)
    assert gradients.keys() == alone.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, alone[name], rtol=1e-3, atol=1e-6)


def test_questions_see_the_image_and_themselves_alone():
    segments, there = torch.tensor([[0, 0, 0, 1, 1, 2]]), torch.tensor([[False, True, True, True, True, True]])
    seen = sees(segments, there)[0].int().tolist()
    assert seen == [
        [1, 0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 1, 1, 1, 1, 0],
        [0, 1, 1, 0, 0, 1],
    ]


def test_what_does_not_begin_alike_is_not_packed(model):
    chat = ChatFormat(model.language.tokenizer, "tiny")
    one, other = chat.tokens(TOLD[0], [4]), chat.tokens(TOLD[0], [5])
    assert packed([one, other]) is None
    assert packed([chat.tokens(TOLD[0]), chat.tokens(TOLD[2])]) is None


def test_a_row_is_as_long_as_its_longest_conversation(model):
    chat = ChatFormat(model.language.tokenizer, "tiny")
    patches = model.patches(torch.rand(1, 1, 32, 32)).detach()
    asked = [(Turn(f"{n} {'word ' * 30}", "yes"),) for n in range(5)]
    row = packed([chat.tokens(turns, [patches.shape[1]]) for turns in asked])
    assert len(row) > model.language.limit and torch.isfinite(model.loss(model.spliced([row], [[patches[0]]])))


def test_like_lengths_share_a_batch_and_padding_falls():
    rng = np.random.default_rng(0)
    lengths = rng.lognormal(4, 0.8, 2000).astype(int) + 5
    rows = samplers.order(2000, None, count=2000, seeds=(0, 0))
    grouped = samplers.neighbours(rows, [""] * 2000, lengths.tolist(), 8, (0, 0))
    assert sorted(grouped) == sorted(rows)

    def padded(order):
        return sum(int(lengths[b].max()) * len(b) - int(lengths[b].sum()) for b in np.split(order, range(8, 2000, 8)))

    assert padded(grouped) < 0.15 * padded(rows)
    firsts = [lengths[grouped[start]] for start in range(0, 400, 8)]
    assert firsts != sorted(firsts, reverse=True)


def test_cases_of_one_group_stand_together_whatever_the_epoch():
    groups = [f"image{n // 3}" for n in range(30)]
    seen = []
    for epoch in range(2):
        rows = samplers.order(30, None, count=30, seeds=(0, epoch))
        found = samplers.neighbours(rows, groups, [0] * 30, 6, (0, epoch))
        assert sorted(found) == list(range(30))
        assert all(len({groups[r] for r in found[start : start + 3]}) == 1 for start in range(0, 30, 3))
        seen.append(found.tolist())
    assert seen[0] != seen[1]
