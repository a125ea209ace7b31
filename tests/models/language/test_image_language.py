"""Words and images in one language model: loss and answers equal those of the library, however they are batched."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from medvfm.core.errors import DataError
from medvfm.models.encoders.load import load_encoder
from medvfm.models.language import image_language
from medvfm.models.language.chat import ChatFormat, Turn
from medvfm.models.language.connectors import CONNECTORS, Connector
from medvfm.models.language.greedy import greedy
from medvfm.models.language.image_language import ImageLanguageModel
from medvfm.models.language.load import load_language_model

ASKED = ("Is there a lesion?", "Which side, and how large is it?", "Why?")
ANSWERS = ("yes", "left, 5 mm", "because")


def made(connector="linear", grid=2, tokens=3):
    language = load_language_model("tiny", seed=1)
    vision = load_encoder("tiny", size_px=32, seed=1)
    projector = Connector(connector, vision.width, language.width, tokens, 0.1, seed=0)
    return ImageLanguageModel(vision, projector, language, grid).eval()


@pytest.fixture
def model():
    return made()


@pytest.fixture
def pictures():
    return torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))


def spliced(model, pictures, answered=True, only=None):
    chat = ChatFormat(model.language.tokenizer, "tiny")
    rows = range(len(ASKED)) if only is None else [only]
    patches = model.patches(pictures)
    count = model.projector.count(patches.shape[1])
    tokens = [chat.tokens((Turn(ASKED[n], ANSWERS[n] if answered else None),), [count]) for n in rows]
    return model.spliced(tokens, [[patches[n]] for n in rows])


def test_the_loss_of_words_is_that_of_transformers(model):
    chat = ChatFormat(model.language.tokenizer, "tiny")
    tokens = chat.tokens((Turn(ASKED[0], ANSWERS[0]), Turn(ASKED[1], ANSWERS[1])))
    ids = torch.tensor([tokens.ids])
    labels = torch.where(torch.tensor([tokens.answered]), ids, -100)
    theirs = model.language.backbone(input_ids=ids, labels=labels).loss
    torch.testing.assert_close(model.loss(model.spliced([tokens], [[]])), theirs)


def test_the_loss_with_an_image_is_that_of_transformers_on_the_same_vectors(model, pictures):
    given = spliced(model, pictures, only=1)
    theirs = model.language.backbone(inputs_embeds=given.vectors, labels=given.labels).loss
    torch.testing.assert_close(model.loss(given), theirs)


def test_a_batch_counts_every_token_once_however_long_its_neighbours_are(model, pictures):
    whole = spliced(model, pictures)
    counts = (whole.labels != -100).sum(1).double()
    single = torch.stack([model.loss(spliced(model, pictures, only=n)).double() for n in range(3)])
    torch.testing.assert_close(model.loss(whole).double(), (single * counts).sum() / counts.sum())
    weights = torch.tensor([1.0, 0.0, 4.0])
    weighted = (single * counts * weights).sum() / (counts * weights).sum()
    torch.testing.assert_close(model.loss(whole, weights).double(), weighted)


def test_short_conversations_are_read_apart_from_long_ones_and_words_at_answers_alone(model, pictures, monkeypatch):
    chat, patches = ChatFormat(model.language.tokenizer, "tiny"), model.patches(pictures).detach()
    said = ["no"] * 9 + ["a lesion of the left frontal lobe, of 12 mm, with a wide rim"]
    tokens = [chat.tokens((Turn("Seen?\n<image>", a),), [patches.shape[1]]) for a in said]
    weights = torch.arange(1.0, 11.0)

    def found():
        model.zero_grad()
        loss = model.loss(model.spliced(tokens, [[patches[n % 3]] for n in range(10)]), weights)
        loss.backward()
        return loss.detach(), [p.grad.clone() for p in model.projector.parameters()]

    words = []
    handle = model.language.backbone.lm_head.register_forward_hook(lambda _, given, out: words.append(out.shape[1]))
    apart, slopes = found()
    handle.remove()
    answered = sum(sum(t.answered) for t in tokens)
    assert len(words) == 3 and sum(words) == answered + 1  # that of what the short ones begin with
    monkeypatch.setattr(image_language, "_read_together", lambda lengths: [list(range(len(lengths)))])
    together, same = found()
    torch.testing.assert_close(apart, together)
    for one, other in zip(slopes, same, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def test_greedy_answers_are_those_of_transformers_alone_and_in_a_batch(model, pictures):
    given = spliced(model, pictures, answered=False)
    told = greedy(model.language, *model.read(given, 1, keep=True), {2}, 12)
    for row in range(3):
        own = spliced(model, pictures, answered=False, only=row)
        theirs = model.language.backbone.generate(
            inputs_embeds=own.vectors, attention_mask=own.mask.long(), max_new_tokens=12, do_sample=False,
            return_dict_in_generate=True, output_logits=True, eos_token_id=2, pad_token_id=0,
        )  # fmt: skip
        ids = theirs.sequences[0].tolist()
        ids = ids[: ids.index(2)] if 2 in ids else ids
        assert list(told[row].ids) == ids
        chance = 1.0
        for logits in theirs.logits:
            chance *= float(logits[0].softmax(0).max())
        assert told[row].probability == pytest.approx(chance, rel=1e-4)


def test_beginnings_that_are_shared_are_read_once_and_change_nothing(model, pictures):
    chat, patches = ChatFormat(model.language.tokenizer, "tiny"), model.patches(pictures)
    asked = ("Is there a lesion?\n<image>", "Which side, and how large is it?\n<image>")
    rows = [(asked[n % 2], ANSWERS[n % 3], n % 3) for n in range(12)]
    tokens = [chat.tokens((Turn(q, a),), [patches.shape[1]]) for q, a, _ in rows]
    patches = patches.detach()

    def whole():
        return model.spliced(tokens, [[patches[n]] for _, _, n in rows])

    lengths = []
    handle = model.language.backbone.model.register_forward_hook(
        lambda module, args, given, out: lengths.append(given["inputs_embeds"].shape[:2]), with_kwargs=True
    )
    model.loss(whole()).backward()
    shared = {n: p.grad.clone() for n, p in model.projector.named_parameters()}
    assert [n for n, _ in lengths] == [2, 12] and sum(n * length for n, length in lengths) < 0.75 * whole().mask.numel()
    model.zero_grad()
    apart = model.loss(replace(whole(), begins=((),) * 12))
    apart.backward()
    handle.remove()
    assert len(lengths) == 3
    torch.testing.assert_close(model.loss(whole()), apart)
    for name, parameter in model.projector.named_parameters():
        torch.testing.assert_close(parameter.grad, shared[name], rtol=1e-3, atol=1e-6)
    prompts = [chat.tokens((Turn(q),), [patches.shape[1]]) for q, _, _ in rows]
    asking = model.spliced(prompts, [[patches[n]] for _, _, n in rows])
    told = greedy(model.language, *model.read(asking, 1, keep=True), {2}, 6)
    again = greedy(model.language, *model.read(replace(asking, begins=((),) * 12), 1, keep=True), {2}, 6)
    assert [d.ids for d in told] == [d.ids for d in again]


def test_an_end_stops_and_a_limit_cuts(model, pictures):
    given = spliced(model, pictures, answered=False)
    free = greedy(model.language, *model.read(given, 1, keep=True), set(), 4)
    assert all(len(d.ids) == 4 and not d.finished for d in free)
    stop = free[0].ids[2]
    first = free[0].ids.index(stop)
    cut = greedy(model.language, *model.read(given, 1, keep=True), {stop}, 4)[0]
    assert cut.finished and cut.ids == free[0].ids[:first]


@pytest.mark.parametrize("name", sorted(CONNECTORS))
def test_connectors_make_as_many_vectors_as_they_say(name, pictures):
    model = made(name)
    patches = model.patches(pictures) + torch.rand(3, 4, model.vision.width)
    vectors = model.projector(patches)
    assert vectors.shape == (3, model.projector.count(patches.shape[1]), model.language.width)
    torch.testing.assert_close(vectors.square().mean(-1).sqrt(), torch.full(vectors.shape[:2], 0.1), rtol=1e-2, atol=0)
    model.train()
    (model.projector(patches) * torch.randn(vectors.shape)).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.projector.parameters())


def test_pictures_in_another_order_give_vectors_in_that_order(pictures):
    for name in CONNECTORS:
        model = made(name)
        turned = model.projector(model.patches(pictures.flip(0)))
        torch.testing.assert_close(turned.flip(0), model.projector(model.patches(pictures)))


def test_places_and_vectors_that_do_not_match_are_counted(model, pictures):
    chat = ChatFormat(model.language.tokenizer, "tiny")
    tokens = chat.tokens((Turn("What?"),), [5])
    with pytest.raises(DataError, match="5 places for vectors of images in a conversation, and 4 vectors"):
        model.spliced([tokens], [[model.patches(pictures)[0]]])
    long = chat.tokens((Turn("What?", "word " * 200),), [4])
    with pytest.raises(DataError, match=r"a conversation of \d+ tokens, and tiny reads 512"):
        model.spliced([long], [[model.patches(pictures)[0]]])
