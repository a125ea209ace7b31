"""BERT-like folders against transformers' own model and a mean taken by hand."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from medvfm.core.errors import WeightsError
from medvfm.models.text.load import load_text_encoder
from tests.samples.image_text_checkpoints import write_bert

TEXTS = ["a photo of lesion", "no lesion", "", "the heart and the lung", "脑部病变"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return write_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def copy(bert, tmp_path):
    return shutil.copytree(bert, tmp_path / "copy")


def by_hand(folder):
    """(mean, cls) of each text, one at a time and without padding."""
    from transformers import AutoTokenizer, BertModel

    model, tokenizer = BertModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        states = [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0] for text in TEXTS]
    return torch.stack([s.mean(0) for s in states]), torch.stack([s[0] for s in states])


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_vectors_equal_those_of_transformers(bert, pooling):
    encoder = load_text_encoder(str(bert), pooling=pooling)
    wanted = by_hand(bert)[pooling == "cls"]
    with torch.no_grad():
        found = encoder(encoder.tokens(TEXTS))
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=0)
    assert encoder.width == 32 and encoder.limit == 24 and encoder.weights_record["pooling"] == pooling


def test_the_folder_of_a_sentence_encoder_is_obeyed(copy):
    (copy / "1_Pooling").mkdir()
    (copy / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
    )
    (copy / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 10, "do_lower_case": True}))
    encoder = load_text_encoder(str(copy))
    assert encoder.limit == 10 and encoder.weights_record["pooling"] == "cls"
    assert encoder.cut(["a " * 8, "a " * 9]) == 1
    assert torch.equal(encoder.tokens(["A PHOTO"])["input_ids"], encoder.tokens(["a photo"])["input_ids"])
    assert load_text_encoder(str(copy), pooling="mean").weights_record["pooling"] == "mean"


def test_a_pooling_that_is_not_read_is_refused(copy):
    (copy / "1_Pooling").mkdir()
    (copy / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(WeightsError, match="max_tokens"):
        load_text_encoder(str(copy))
    (copy / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Dense"}]))
    with pytest.raises(WeightsError, match="dense layer"):
        load_text_encoder(str(copy))


def test_context_of_real_tokens_is_the_text_itself(bert):
    encoder = load_text_encoder(str(bert))
    given = encoder.with_context(encoder.token_vectors("a photo of"), ["lesion", "the heart"])
    torch.testing.assert_close(given, encoder(encoder.tokens(["a photo of lesion", "a photo of the heart"])))
    assert len(encoder.blocks()) == 2


@pytest.mark.parametrize("change", ["missing", "unexpected"])
def test_every_key_is_accounted_for(copy, change):
    state = load_file(copy / "model.safetensors")
    if change == "missing":
        del state["encoder.layer.1.output.dense.weight"]
    else:
        state["encoder.layer.7.output.dense.weight"] = torch.zeros(2)
    save_file(state, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="missing" if change == "missing" else "not used"):
        load_text_encoder(str(copy))


def test_what_is_no_text_encoder_is_refused(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "model_type": "swin"}))
    with pytest.raises(WeightsError, match="no text encoder of model_type 'swin'"):
        load_text_encoder(str(copy))


def test_a_folder_without_tokenizer_is_refused(copy):
    for file in copy.glob("*token*"):
        file.unlink()
    for file in copy.glob("vocab*"):
        file.unlink()
    with pytest.raises(WeightsError, match="tokenizer"):
        load_text_encoder(str(copy))
