"""LLaVA checkpoints: loss and answers are those of transformers; LLaVA-Med's layout is read to the last key."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from medvfm.core.errors import WeightsError
from medvfm.models.language.chat import IMAGE_ID, ChatFormat, Turn
from medvfm.models.language.from_llava import load_llava
from medvfm.models.language.greedy import greedy
from medvfm.models.language.tiny import TEMPLATE, byte_tokenizer
from tests.samples.talking_checkpoints import LLAVA_SPECIAL, LLAVA_TEXT, LLAVA_VISION, llava_15


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    """A small LlavaForConditionalGeneration as transformers writes it, and the model itself."""
    folder = tmp_path_factory.mktemp("llava")
    return folder, llava_15(folder)


@pytest.fixture
def pictures():
    return torch.rand(2, 3, 28, 28, generator=torch.Generator().manual_seed(1))


def given_to_both(model, pictures, turns):
    """(our tokens and patches, their input_ids, labels and pixels) of one conversation about one picture."""
    chat = ChatFormat(model.language.tokenizer, "llava")
    with torch.no_grad():
        patches = model.patches(pictures)
    tokens = chat.tokens(turns, [patches.shape[1]])
    ids = torch.tensor([[3 if i == IMAGE_ID else i for i in tokens.ids]])
    labels = torch.where(torch.tensor([tokens.answered]), ids, -100)
    return model.spliced([tokens], [[patches[0]]]), ids, labels, model.vision.contract.normalise(pictures)[:1]


def test_loss_and_answers_of_transformers_layout_are_those_of_transformers(llava, pictures):
    folder, theirs = llava
    model = load_llava(str(folder))
    turns = (Turn("Is there a lesion?", "yes"), Turn("Where?", "left"))
    ours, ids, labels, pixels = given_to_both(model, pictures, turns)
    with torch.no_grad():
        loss = theirs(input_ids=ids, pixel_values=pixels, labels=labels).loss
        torch.testing.assert_close(model.loss(ours), loss)
    ours, ids, _, pixels = given_to_both(model, pictures, (Turn("Is there a lesion?"),))
    told = greedy(model.language, *model.read(ours, 1, keep=True), {2}, 8)[0]
    whole = theirs.generate(input_ids=ids, pixel_values=pixels, max_new_tokens=8, do_sample=False, eos_token_id=2)
    new = whole[0, ids.shape[1] :].tolist()
    assert list(told.ids) == (new[: new.index(2)] if 2 in new else new)


def original(llava, folder):
    """LLaVA-Med's layout of the same weights, by its own names."""
    _place, theirs = llava
    tower = folder / "tower"
    tower.mkdir(parents=True)
    (tower / "config.json").write_text(json.dumps({"model_type": "clip_vision_model", **LLAVA_VISION}))
    (tower / "model.safetensors").write_bytes(b"")
    state = {}
    for key, value in theirs.state_dict().items():
        key = key.replace("model.vision_tower.", "model.vision_tower.vision_tower.")
        key = key.replace("multi_modal_projector.linear_1", "mm_projector.0")
        key = key.replace("multi_modal_projector.linear_2", "mm_projector.2").replace("model.language_model.", "model.")
        state[key] = value.contiguous().clone()
    save_file(state, folder / "model.safetensors")
    config = {
        "model_type": "llava_mistral", "vocab_size": len(byte_tokenizer(None, LLAVA_SPECIAL[:3])) + 1, **LLAVA_TEXT,
        "mm_projector_type": "mlp2x_gelu", "mm_vision_tower": str(tower), "mm_vision_select_layer": -2,
        "mm_hidden_size": 32,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    byte_tokenizer(TEMPLATE, LLAVA_SPECIAL).save_pretrained(folder)


def test_the_layout_of_llava_med_gives_the_same_model(llava, pictures, tmp_path):
    original(llava, tmp_path / "med")
    model, same = load_llava(str(tmp_path / "med")), load_llava(str(llava[0]))
    for turns in ((Turn("Why?", "because"),),):
        ours, *_ = given_to_both(model, pictures, turns)
        other, *_ = given_to_both(same, pictures, turns)
        torch.testing.assert_close(model.loss(ours), same.loss(other))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("model.mm_projector.0.weight"), "1 missing"),
        (lambda s: s.update({"model.vision_tower.extra": torch.zeros(1)}), "1 not used by the model"),
    ],
)
def test_a_key_that_is_missing_or_unused_stops(llava, tmp_path, change, said):
    original(llava, tmp_path / "med")
    file = tmp_path / "med" / "model.safetensors"
    state = load_file(file)
    change(state)
    save_file(state, file)
    with pytest.raises(WeightsError, match=said):
        load_llava(str(tmp_path / "med"))


def test_other_models_are_named(llava, tmp_path):
    original(llava, tmp_path / "med")
    path = tmp_path / "med" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "mm_projector_type": "linear"}))
    with pytest.raises(WeightsError, match="a projector of type 'linear' is not read here"):
        load_llava(str(tmp_path / "med"))
