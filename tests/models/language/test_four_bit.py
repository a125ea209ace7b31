"""Language models whose blocks are read in four bits: which layers, which values, and what is trained beside them."""

from __future__ import annotations

import pytest
import torch

import medvfm
from medvfm import pipeline
from medvfm.core.errors import MedvfmError, WeightsError
from medvfm.io.console import SILENT
from medvfm.models.language import four_bit
from medvfm.models.language.from_image_text import load_image_text
from medvfm.models.language.from_llava import load_llava
from medvfm.nn import state
from tests.samples.question_studies import QuestionStudy
from tests.samples.talking_checkpoints import llava_15, qwen2_vl

pytest.importorskip("bitsandbytes", reason="weights in four bits need bitsandbytes")
# Table of values of NF4, Dettmers et al. 2023, appendix E
NF4 = torch.tensor(
    [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
     -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
     0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0]
)  # fmt: skip
BLOCK = 64
TRAIN = {"epochs": 1, "batch_size": 8, "learning_rate": 3e-3, "accumulate": 1, "warmup": 0.0}


def rounded(weight):
    """The nearest values of NF4, with the largest size of each 64 weights as their scale."""
    flat = weight.flatten()
    blocks = torch.nn.functional.pad(flat, (0, -len(flat) % BLOCK)).view(-1, BLOCK)
    scale = blocks.abs().amax(1, keepdim=True).clamp(min=1e-12)
    nearest = ((blocks / scale)[..., None] - NF4).abs().argmin(-1)
    return (NF4[nearest] * scale).flatten()[: len(flat)].view_as(weight)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("qwen")
    qwen2_vl(folder, width=64, inner=128)
    return str(folder)


def test_blocks_of_the_language_model_alone_are_rounded_to_nf4(qwen):
    exact, model = load_image_text(qwen), load_image_text(qwen, four_bit=True)
    small = [n for n, m in model.inner.named_modules() if type(m).__name__ == "Linear4bit"]
    place, _ = exact._decoder()
    linear = [n for n, m in exact.inner.named_modules() if isinstance(m, torch.nn.Linear)]
    assert small == [n for n in linear if n.startswith(f"{place}.")] and len(small) == 2 * 7
    for name in small:
        weight = exact.inner.get_submodule(name).weight
        weight.data = rounded(weight.data)
    ids = {"input_ids": torch.arange(7, 47)[None], "attention_mask": torch.ones(1, 40, dtype=torch.long)}
    with torch.no_grad():
        expected, found = (m.inner(**ids).logits for m in (exact, model))
    # scales of blocks are rounded too, to eight bits
    torch.testing.assert_close(found, expected, atol=0.03 * float(expected.std()), rtol=0.0)


def test_a_run_trains_beside_weights_in_four_bits_and_is_loaded_again(qwen, tmp_path):
    stages = [{"method": "instruct", "train": TRAIN}]
    study = QuestionStudy(tmp_path / "study", 16)
    own = {"weights": qwen, "options": {"template": "chat", "answer_tokens": 3, "bits": 4}, "rank": 2}
    recipe = study.recipe(stages, adapter=own, prepare={})
    found = pipeline.run(recipe, tmp_path / "run", device="cpu", console=SILENT)
    audit = found.record["training"]["audit"]
    assert audit["trained_tensors"] == audit["moved_tensors"] == 2 * 4 * 2 and audit["frozen_moved"] == 0
    assert found.record["model"]["language"]["bits"] == 4
    assert len(state.read(found.directory / "weights" / "lora" / "adapter_model.safetensors")) == 16
    image = study.root / study.rows[0]["image"]
    told = medvfm.predict(found.directory, [image], question="Is it?", device="cpu", console=SILENT)
    assert len(told) == 1


def test_full_training_and_models_of_other_formats_are_refused(qwen, tmp_path):
    study = QuestionStudy(tmp_path / "study", 12)
    stages = [{"method": "instruct", "train": TRAIN}]
    for adapter, said in (
        ({"weights": qwen, "options": {"bits": 4, "tune": "full"}}, "weights in four bits are not trained"),
        ({"weights": "tiny", "options": {"bits": 4}}, "tiny is no folder of transformers"),
    ):
        with pytest.raises(MedvfmError, match=said):
            pipeline.run(study.recipe(stages, adapter=adapter, prepare={}), tmp_path / "run", device="cpu")


def test_an_absent_bitsandbytes_is_named(qwen, monkeypatch):
    monkeypatch.setattr(four_bit.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="need the package bitsandbytes, which is not installed"):
        load_image_text(qwen, four_bit=True)


def test_llava_of_transformers_is_read_in_four_bits_in_its_language_model(tmp_path):
    llava_15(tmp_path)
    model = load_llava(str(tmp_path), four_bit=True)
    small = [n for n, m in model.named_modules() if type(m).__name__ == "Linear4bit"]
    assert small and all(n.startswith("language.") for n in small)
    model.requires_grad_(False)
    model.language.add_lora(2, None, 0)
    assert any(type(m).__module__.endswith("lora.bnb") for m in model.language.modules())
