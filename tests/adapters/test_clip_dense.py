"""Segmentation by words: patches against prompts, maps back on the grid of the image, and boxes for SAM."""

from __future__ import annotations

import math

import nibabel as nib
import numpy as np
import pytest
import torch
import transformers as T

from medvfm.adapters import clip, sam
from medvfm.core import recipe as recipes
from medvfm.core.case import Case
from medvfm.core.errors import RecipeError
from medvfm.core.item import Item
from medvfm.core.recipe_sections import AdapterSettings, Prepare, Train
from medvfm.core.slice_grid import SliceGrid
from medvfm.models.inputs.contract import InputContract
from medvfm.models.inputs.padded_maps import unpadded
from medvfm.pipeline import planning
from medvfm.tasks.segmentation.task import SegmentationTask
from tests.samples.image_text_checkpoints import write_transformers
from tests.samples.items import answer_to, prepared
from tests.samples.sam_models import DECODER, PROMPT, VISION, perturbed

ORGANS = SegmentationTask(("lung", "heart"), "semantic")
BOTH = SegmentationTask(("lung", "heart"), "multi_label")
LESION = SegmentationTask(("lesion",), "semantic")
OBJECTS = SegmentationTask(("lesion",), "instances")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_transformers("clip", tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def sam_folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("sam")
    config = T.SamConfig(vision_config=VISION, prompt_encoder_config=PROMPT, mask_decoder_config=DECODER)
    perturbed(T.SamModel(config)).save_pretrained(place)
    return place


def built(weights, question=ORGANS, size=None, axis=None, spacing=None, **options):
    settings = AdapterSettings.model_validate(
        {"name": "clip", "weights": str(weights), "method": "dense", "options": options}
    )
    prepare = Prepare.model_validate({"size": size, "spacing": spacing, "slices": {"axis": axis}})
    clip.refuse(settings, ["dense"], prepare, question)
    return clip.build(settings, question, "dense", prepare, windows={}, read={}, train=Train(), seed=0)


def picture(height=40, width=24, channels=3, slices=1, spacing=None) -> Item:
    rng = np.random.default_rng(0)
    grid = SliceGrid.of((width, height, slices), np.diag([1.0, 1, 2, 1]), slices > 1, "native", spacing)
    return prepared("c", rng.random((channels, *grid.shape)).astype(np.float16), grid)


def told_apart(adapter, colours, scale=50.0):
    """The adapter as one whose patches are their mean colours, and whose words are `colours`, background first."""

    def dense(pixels):
        mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (adapter.contract.mean, adapter.contract.std))
        means = torch.nn.functional.avg_pool2d(pixels * std + mean, 8)
        return torch.cat([means, means.new_zeros(len(means), 21, *means.shape[-2:])], 1)

    adapter.pair.dense = dense
    words = torch.zeros(len(colours), 24)
    words[:, :3] = torch.tensor(colours)
    adapter._vectors[None] = torch.nn.functional.normalize(words, dim=1)
    with torch.no_grad():
        adapter.module.logit_scale.fill_(math.log(scale))
    return adapter


# maps


def cosines_by_loops(adapter, pixels, asked):
    """(rows, h, w) of one picture with the pair's own outputs, one patch and one prompt at a time."""
    with torch.no_grad():
        maps = adapter.pair.dense(pixels)[0].numpy().astype(np.float64)
        vectors = []
        for prompts in asked:
            units = []
            for prompt in prompts:
                one = adapter.pair.text(adapter.pair.text.tokens([prompt]))[0].numpy().astype(np.float64)
                units.append(one / math.sqrt(sum(v * v for v in one)))
            mean = sum(units) / len(units)
            vectors.append(mean / math.sqrt(sum(v * v for v in mean)))
    found = np.zeros((len(vectors), *maps.shape[1:]))
    for row in range(maps.shape[1]):
        for column in range(maps.shape[2]):
            patch = maps[:, row, column]
            for n, vector in enumerate(vectors):
                found[n, row, column] = (patch @ vector) / math.sqrt(patch @ patch)
    return found


def enlarged_by_loops(maps, height, width):
    """Bilinear, cells are areas, edges go on."""
    found = np.zeros((len(maps), height, width))
    for y in range(height):
        for x in range(width):
            v = min(max((y + 0.5) * maps.shape[1] / height - 0.5, 0), maps.shape[1] - 1)
            u = min(max((x + 0.5) * maps.shape[2] / width - 0.5, 0), maps.shape[2] - 1)
            top, left = int(v), int(u)
            below, right = min(top + 1, maps.shape[1] - 1), min(left + 1, maps.shape[2] - 1)
            upper = (1 - u + left) * maps[:, top, left] + (u - left) * maps[:, top, right]
            lower = (1 - u + left) * maps[:, below, left] + (u - left) * maps[:, below, right]
            found[:, y, x] = (1 - v + top) * upper + (v - top) * lower
    return found


@pytest.mark.parametrize("question", [ORGANS, BOTH], ids=["semantic", "multi_label"])
def test_maps_equal_those_of_loops(folder, question):
    """A square picture, so that the borders of the contract play no part."""
    adapter = built(folder, question, templates=["a photo of {}", "the {}"])
    slices = torch.rand(1, 3, 40, 40)
    if question.kind == "semantic":
        asked = [
            [f"{t} {name}" for name in names for t in ("a photo of", "the")]
            for names in (["background", "normal tissue"], ["lung"], ["heart"])
        ]
    else:
        asked = [[f"{t} {no}{name}" for t in ("a photo of", "the")] for name in ("lung", "heart") for no in ("no ", "")]
    cosines = cosines_by_loops(adapter, adapter.contract.apply(slices), asked)
    powers = np.exp(adapter.pair.scale * cosines)
    shares = powers / powers.sum(0) if question.kind == "semantic" else powers[1::2] / (powers[::2] + powers[1::2])
    np.testing.assert_allclose(adapter.scores(slices)[0].numpy(), enlarged_by_loops(shares, 40, 40), atol=2e-5)


@pytest.mark.parametrize("shape", [(40, 24), (24, 40), (7, 50), (32, 32), (90, 33)])
def test_a_gradient_that_was_padded_comes_back_straight(shape):
    """Maps that hold the place of each cell in the square give the place of each pixel of the picture."""
    contract = InputContract((64, 64), "pad")
    top, left, height, width = contract.padded_place(shape)
    assert contract.fit(torch.ones(1, 1, *shape))[0, 0].bool().sum() == height * width
    centres = (torch.arange(32) + 0.5) * 2
    maps = torch.stack([centres[:, None].expand(32, 32), centres[None].expand(32, 32)])[None]
    rows, columns = unpadded(maps, contract, shape)[0]
    assert rows.shape == shape
    wanted = top + (torch.arange(shape[0]) + 0.5) * height / shape[0]
    inner = (wanted > top + 1.01) & (wanted < top + height - 1.01)
    torch.testing.assert_close(rows[inner, 0], wanted[inner])
    wanted = left + (torch.arange(shape[1]) + 0.5) * width / shape[1]
    inner = (wanted > left + 1.01) & (wanted < left + width - 1.01)
    torch.testing.assert_close(columns[0, inner], wanted[inner])


def test_borders_are_not_mixed_in():
    contract = InputContract((64, 64), "pad")  # a picture of 64 x 32 between borders of 16 px on the left and right
    maps = torch.zeros(1, 1, 8, 8)
    maps[..., 2:6] = 1
    assert (unpadded(maps, contract, (64, 32)) == 1).all()


# answers


@pytest.mark.parametrize("shape", [(48, 32), (32, 48)])
def test_colours_are_found_where_they_lie(folder, shape):
    """Green at the top, red in one corner at the bottom, the rest blue: neither axes nor borders are confused."""
    adapter = told_apart(built(folder, size=96), [[0.0, 0, 1], [1.0, 0, 0], [0.0, 1, 0]])
    pixels = np.zeros((3, 1, *shape), np.float16)
    pixels[2] = 1
    pixels[:, :, : shape[0] // 4] = np.array([0, 1, 0])[:, None, None, None]
    pixels[:, :, shape[0] // 2 :, : shape[1] // 4] = np.array([1, 0, 0])[:, None, None, None]
    wanted = np.zeros(shape, int)
    wanted[: shape[0] // 4], wanted[shape[0] // 2 :, : shape[1] // 4] = 2, 1
    item = prepared("c", pixels, SliceGrid.of((shape[1], shape[0], 1), np.eye(4), False))
    found = answer_to(adapter, item)
    assert found.shape == (shape[1], shape[0], 1) and found.dtype == np.uint8
    picture = found[:, :, 0].T
    assert (wanted == picture).mean() > 0.95
    for value in (1, 2):
        both = ((picture == value) & (wanted == value)).sum()
        assert 2 * both / ((found == value).sum() + (wanted == value).sum()) > 0.85


@pytest.mark.parametrize("spacing", [None, (2.0, 1.5, 1.5)])
def test_answers_of_either_kind_lie_on_the_grid_of_the_image(folder, spacing):
    item = picture(24, 30, channels=1, slices=5, spacing=spacing)
    semantic = answer_to(built(folder), item)
    assert semantic.shape == (30, 24, 5) and semantic.dtype == np.uint8 and semantic.max() <= 2
    multi = answer_to(built(folder, BOTH), item)
    assert multi.shape == (30, 24, 5, 2) and multi.dtype == bool
    low, high = (answer_to(built(folder, BOTH, threshold=t), item).sum() for t in (0.01, 0.99))
    assert low >= multi.sum() >= high and low > high


def test_a_nifti_is_answered_where_its_voxels_lie(folder, tmp_path):
    """Bright voxels of a file that is stored flipped and permuted."""
    voxels = np.zeros((6, 40, 32), np.int16)
    voxels[1:4, 20:40, 0:16] = 1000
    affine = np.array([[0, 0, -2.0, 30], [0, 2.0, 0, -40], [5.0, 0, 0, 7], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(voxels, affine), tmp_path / "v.nii.gz")
    adapter = told_apart(built(folder, LESION, axis="axial"), [[0.05, 0, 0], [1.0, 1, 1]])
    dense = adapter.pair.dense
    adapter.pair.dense = lambda pixels: dense(pixels) + torch.eye(24)[0].view(1, 24, 1, 1) * 0.2  # dark: like red
    case = Case("v", None, {"image": (tmp_path / "v.nii.gz",)})
    arrays = adapter.preparer.arrays(adapter.preparer.images(case), case)
    found = answer_to(adapter, Item(case, arrays, adapter.preparer.grid(arrays), None))
    assert found.shape == voxels.shape
    wanted = voxels > 0
    assert 2 * (found & wanted).sum() / (found.sum() + wanted.sum()) > 0.8
    assert not found[[0, 4, 5]].any()


def test_a_larger_size_gives_finer_maps(folder):
    adapter = built(folder, size=64)
    seen = []
    dense = adapter.pair.dense
    adapter.pair.dense = lambda pixels: seen.append(dense(pixels)) or seen[-1]
    answer_to(adapter, picture())
    assert seen[0].shape == (1, 24, 8, 8)


def test_words_decide(folder):
    item = picture()
    assert (answer_to(built(folder), item) != answer_to(built(folder, background="the photo"), item)).any()
    adapter = built(folder, paraphrases={"lung": "no lesion", "heart": "photo"})
    assert adapter.variants() == ["paraphrased"] and len(adapter.wordings()) == 4
    assert (answer_to(adapter, item) != answer_to(adapter, item, "paraphrased")).any()


def test_the_record_says_what_was_asked_of_what(folder, tmp_path):
    adapter = built(folder, BOTH, prompts={"lung": {"positive": ["a lung."], "negative": ["no lung."]}}, threshold=0.7)
    record = adapter.record()
    assert record["prompts"]["lung"] == {"positive": ["a lung."], "negative": ["no lung."]}
    assert record["contract"]["resize"] == "pad" and record["threshold"] == 0.7
    assert [t["role"] for t in record["towers"]] == ["image", "text"] and record["parameters"]["trainable"] == 0
    said = record["said"]
    assert said["prompts"][0] == 'Words for lung: "a lung". Words against it: "no lung".'
    assert "exceeded 0.7" in said["input"][0] and "32 × 32 px with borders" in said["input"][0]
    assert str(folder) in said["subject"] and "native" not in said["volumes"][0]
    adapter.save(tmp_path)
    adapter.load(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()


# what is refused


@pytest.mark.parametrize(
    ("question", "options", "said"),
    [
        (OBJECTS, {}, "not one object of a structure"),
        (ORGANS, {"threshold": 0.4}, "without a threshold"),
        (BOTH, {"background": ["a"]}, "against their own absence"),
        (ORGANS, {"prompts": {"background": "a"}}, "adapter.options.background"),
        (ORGANS, {"background": ["heart"]}, "in the same words"),
        (ORGANS, {"background": []}, "an empty prompt"),
        (ORGANS, {"prompts": {"lung": {"positive": ["a"], "negative": ["b"]}}}, "no negative sentences"),
        (ORGANS, {"prompts": {"liver": "liver"}}, "no class 'liver'"),
        (ORGANS, {"image": "embedded"}, "take a pair that was trained together"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_weights_are_loaded(question, options, said):
    with pytest.raises(RecipeError, match=said):
        built("no/such", question, **options)


def test_other_methods_and_models(folder):
    with pytest.raises(RecipeError, match="trained together"):
        built("tiny")
    settings = AdapterSettings(name="clip", weights=str(folder), options={"threshold": 0.5})
    with pytest.raises(RecipeError, match="zero_shot has no use for 'threshold'"):
        clip.refuse(settings, ["zero_shot"], Prepare(), ORGANS)
    with pytest.raises(RecipeError, match="2 channels"):
        answer_to(built(folder), picture(channels=2))


def test_a_model_without_embeddings_of_patches_says_so(folder, monkeypatch):
    load = clip.load_pair

    def without(*given, **more):
        pair = load(*given, **more)
        pair._dense = None
        return pair

    monkeypatch.setattr(clip, "load_pair", without)
    with pytest.raises(RecipeError, match="no embedding of single patches"):
        built(folder)


# words prompt SAM


def prompted(weights, words, question=LESION, kind="box", method="zero_shot", **options):
    contract = None if weights == "tiny" else "medsam"
    given = {"from": "adapter", "kind": kind, "adapter": words, "options": options}
    settings = AdapterSettings.model_validate(
        {"name": "sam", "weights": str(weights), "prompts": given, "options": {"contract": contract}}
    )
    sam.refuse(settings, [method], Prepare(), question)
    return sam.build(settings, question, method, Prepare(), windows={}, read={}, train=Train(), seed=0)


def by_words(folder, **more):
    return {"name": "clip", "method": "dense", "weights": str(folder), **more}


def blocks() -> Item:
    """Two white blocks on black, (rows, columns) of 64 x 64."""
    pixels = np.zeros((3, 1, 64, 64), np.float16)
    pixels[:, :, 0:16, 0:32] = 1
    pixels[:, :, 48:64, 48:64] = 1
    return prepared("c", pixels, SliceGrid.of((64, 64, 1), np.eye(4), False))


def seeing_white(adapter):
    segmenter = adapter._prompting.source.segmenter
    told_apart(segmenter, [[0.05, 0, 0], [1.0, 1, 1]])
    dense = segmenter.pair.dense
    segmenter.pair.dense = lambda pixels: dense(pixels) + torch.eye(24)[0].view(1, 24, 1, 1) * 0.2
    return adapter


@pytest.mark.parametrize("per", ["class", "component"])
def test_boxes_of_what_words_found_prompt_sam(folder, per):
    """An untrained `tiny` draws the ellipse in each box."""
    adapter = seeing_white(prompted("tiny", by_words(folder), method="full", per=per))
    item = blocks()
    boxes = [o.box_px.tolist() for o in adapter._prompting.source.objects(item, 0)]
    wanted = [[0, 0, 63, 63]] if per == "class" else [[0, 0, 31, 15], [48, 48, 63, 63]]
    np.testing.assert_allclose(boxes, wanted, atol=6)
    found = answer_to(adapter, item)[:, :, 0].T
    assert found[8, 16] == 1 and (found[32, 32] == 1) == (per == "class")
    assert adapter.oracle is None and adapter.prompt_remarks() == [] and adapter.check_prompts([], []) == []


@pytest.mark.parametrize("kind", ["box", "point", "mask"])
def test_sam_answers_prompts_of_each_kind(folder, sam_folder, kind):
    adapter = seeing_white(prompted(sam_folder, by_words(folder), kind=kind, per="component"))
    assert answer_to(adapter, blocks()).shape == (64, 64, 1)
    dark = prepared("dark", np.zeros((1, 1, 64, 64), np.float16), blocks().grid)
    assert not answer_to(adapter, dark).any()
    assert "1 case has no prompt in what the prompting model found" in adapter.prompt_remarks()[0]
    record = adapter.record()
    assert [t["role"] for t in record["towers"]] == ["model", "prompting image", "prompting text"]
    said = record["said"]["prompts"]
    assert str(folder) in said[0] and 'Words for lesion: "lesion"' in " ".join(said)
    assert all(s[0].isupper() and s.endswith(".") for s in said)


def test_the_prompting_model_sees_pictures_of_its_own_size(folder, sam_folder):
    adapter = prompted(sam_folder, by_words(folder, options={"background": "a photo"}), size=64)
    assert adapter._prompting.source.segmenter.contract.size_px == (64, 64)


def test_weights_of_the_prompting_model_lie_beside_the_recipe(folder, sam_folder, tmp_path):
    """The plan that `medvfm run` follows, with paths relative to the recipe."""
    (tmp_path / "words").symlink_to(folder)
    (tmp_path / "sam").symlink_to(sam_folder)
    (tmp_path / "r.yaml").write_text(
        "title: t\ndata: {card: virtual_brain}\n"
        "task: {name: segmentation, classes: [lesion], kind: semantic}\n"
        "adapter:\n  {name: sam, weights: sam, method: zero_shot, options: {contract: medsam}, prompts: "
        "{from: adapter, adapter: {name: clip, weights: words, method: dense}}}\n"
    )
    adapter = planning.plan(recipes.load(tmp_path / "r.yaml")).model.make()
    assert adapter.record()["prompted_by"]["weights"] == str(tmp_path / "words")
    assert not answer_to(adapter, blocks()).shape[3:]


@pytest.mark.parametrize(
    ("words", "options", "question", "said"),
    [
        ({"method": "zero_shot"}, {}, LESION, "adapter.prompts.adapter.method: zero_shot gives no masks"),
        ({"rank": 4}, {}, LESION, "no use for 'rank'"),
        ({}, {"threshold": 0.3}, LESION, "no use for 'threshold'"),
        ({}, {}, OBJECTS, "not one object of a structure"),
        ({"options": {"background": ["lesion"]}}, {}, LESION, "adapter.prompts.adapter.options"),
        ({"options": {"no_such": 1}}, {}, LESION, "no_such"),
        ({"weights": "tiny"}, {}, LESION, "adapter.prompts.adapter.method"),
    ],
)
def test_what_cannot_prompt_is_refused_before_weights_are_loaded(words, options, question, said):
    with pytest.raises(RecipeError, match=said):
        prompted("no/such", by_words("no/such", **words) if "weights" not in words else {**by_words(""), **words},
                 question, **options)  # fmt: skip
