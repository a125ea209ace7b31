"""The adapter sam: what it draws, what it trains, what it asks and answers.

An untrained `tiny` draws the ellipse in a box and a disc around a click, so that answers can be foreseen.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import transformers as T

from medvfm.adapters import sam
from medvfm.core.case import Case
from medvfm.core.errors import DataError, RecipeError
from medvfm.core.item import Item
from medvfm.core.recipe_sections import AdapterSettings, Prepare, Train
from medvfm.core.slice_grid import SliceGrid
from medvfm.engine.weight_audit import training_mode
from medvfm.models.sam import prompt_sources
from medvfm.nn import prompts
from medvfm.tasks.segmentation.task import SegmentationTask
from tests.samples.items import answer_to, prepared
from tests.samples.sam_models import DECODER, HIERA, PROMPT, SIDE, VISION, perturbed

NUCLEI = SegmentationTask(("nucleus",), "instances")
ORGANS = SegmentationTask(("liver", "spleen"), "semantic")
BOTH = SegmentationTask(("liver", "lesion"), "multi_label")
BOX = {"from": "truth", "kind": "box"}


def adapted(question=NUCLEI, method="full", weights="tiny", given=BOX, seed=0, **options) -> sam.SamAdapter:
    settings = AdapterSettings.model_validate(
        {"name": "sam", "weights": str(weights), "prompts": given, "options": options, "rank": 2}
    )
    sam.refuse(settings, [method], Prepare(), question)
    return sam.build(settings, question, method, Prepare(), windows={}, read={}, train=Train(), seed=seed)


def picture(seed: int = 0, size: int = 64, count: int = 3) -> Item:
    """Bright discs on a dark ground, numbered."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    labels = np.zeros((1, size, size), np.uint16)
    for number in range(1, count + 1):
        row, column, radius = *rng.integers(12, size - 12, 2), rng.integers(4, 9)
        labels[0][(y - row) ** 2 + (x - column) ** 2 <= radius**2] = number
    pixels = (0.2 + 0.6 * (labels > 0) + 0.05 * rng.standard_normal(labels.shape)).clip(0, 1)
    grid = SliceGrid.of((size, size, 1), np.eye(4), False)
    return prepared(f"case{seed}", pixels[None].astype(np.float16), grid, labels)


def volume(spacing=None) -> Item:
    """A ball (1) and a rod (2) in a volume (i, j, k) of (40, 36, 10) voxels of 1 x 1 x 2 mm."""
    i, j, k = np.mgrid[:40, :36, :10]
    truth = np.zeros((40, 36, 10), np.uint8)
    truth[(i - 12) ** 2 + (j - 14) ** 2 + (2 * (k - 5)) ** 2 <= 64] = 1
    truth[(i - 30) ** 2 + (j - 24) ** 2 <= 38] = 2
    grid = SliceGrid.of(truth.shape, np.diag([1.0, 1, 2, 1]), True, "axial", spacing)
    pixels = grid.to_model(truth.astype(np.float32) / 2, linear=True)[None].astype(np.float16)
    return prepared("volume", pixels, grid, grid.to_model(truth, linear=False))


@pytest.fixture(scope="module")
def sam_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sam")
    config = T.SamConfig(vision_config=VISION, prompt_encoder_config=PROMPT, mask_decoder_config=DECODER)
    perturbed(T.SamModel(config)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sam2_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sam2")
    vision = {
        "backbone_config": dict(HIERA), "backbone_channel_list": [128, 64, 32, 16], "fpn_hidden_size": 32,
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
    }  # fmt: skip
    prompt = {"hidden_size": 32, "image_size": SIDE, "patch_size": 16, "mask_input_channels": 16}
    config = T.Sam2Config(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=DECODER)
    perturbed(T.Sam2Model(config)).save_pretrained(folder)
    return folder


def same(pixels, labels):
    return pixels, labels


def ellipse(box, shape):
    x0, y0, x1, y1 = box
    y, x = np.mgrid[: shape[0], : shape[1]]
    u, v = (x - (x0 + x1) / 2) / ((x1 - x0 + 1) / 2), (y - (y0 + y1) / 2) / ((y1 - y0 + 1) / 2)
    return u**2 + v**2 < 1


def cases(*names):
    return [Case(name, None, {}) for name in names]


def test_untrained_tiny_draws_the_ellipse_in_each_true_box():
    adapter, item = adapted(), picture(count=1)
    found = item.grid.to_model(answer_to(adapter, item), linear=False)[0]
    expected = ellipse(prompts.box_of(item.truth[0] > 0), item.truth.shape[1:])
    assert (found > 0).sum() > 40
    assert ((found > 0) == expected).mean() > 0.9999
    assert adapter.oracle == "oracle prompt: a box an object"


def test_answers_lie_on_the_voxels_that_were_asked_about():
    """A flipped and permuted image: each structure's ellipse covers the structure where it lies in the file."""
    item = volume()
    grid = SliceGrid.of((40, 36, 10), np.diag([-1.0, 1, -2, 1]), True, "axial")
    truth = item.grid.to_source(item.truth)
    turned = prepared("turned", item.pixels, grid, grid.to_model(truth, linear=False))
    found = answer_to(adapted(ORGANS), turned)
    for value in (1, 2):
        both = ((found == value) & (truth == value)).sum()
        assert 2 * both / ((found == value).sum() + (truth == value).sum()) > 0.85


@pytest.mark.parametrize("spacing", [None, (2.0, 1.5, 1.5)])
def test_each_kind_of_question_gets_its_shape(spacing):
    item = volume(spacing)
    semantic = answer_to(adapted(ORGANS), item)
    assert semantic.shape == (40, 36, 10) and set(np.unique(semantic)) == {0, 1, 2}
    layers = np.stack([item.truth > 0, item.truth == 2])
    multi = answer_to(adapted(BOTH), prepared("volume", item.pixels, item.grid, layers))
    assert multi.shape == (40, 36, 10, 2) and multi.dtype == bool
    assert multi[..., 0].sum() > multi[..., 1].sum() > 0


def test_one_box_for_a_volume_is_as_large_as_the_structure_ever_is():
    item = volume()
    source = prompt_sources.FromTruth("box", "semantic", extent="volume")
    boxes = {s: {a.value: a.box_px.tolist() for a in source.objects(item, s)} for s in range(10)}
    assert boxes[2][1] == boxes[5][1] == prompts.box_of((item.truth == 1).any(0)).tolist()
    assert 1 not in boxes[0] and 2 in boxes[0]
    assert source.oracle == "oracle prompt: a box a volume and structure"


def test_what_the_prompts_take_from_the_truth_is_said():
    def oracle(question, given, **more):
        return adapted(question, given={"from": "truth", **given}, **more).oracle

    assert oracle(ORGANS, {"kind": "box"}) == "oracle prompt: a box a slice and structure"
    assert oracle(NUCLEI, {"kind": "point"}) == "oracle prompt: a click an object"
    assert "3 clicks" in oracle(NUCLEI, {"kind": "points", "options": {"clicks": 3}})
    assert "off by up to 5 px" in oracle(NUCLEI, {"kind": "box", "options": {"jitter_px": 5}})
    assert "one slice of each structure" in oracle(ORGANS, {"kind": "box", "options": {"propagate": "slices"}})
    assert adapted(ORGANS, "promptless", given=None).oracle is None
    assert adapted(NUCLEI, given={"from": "grid"}).oracle is None


def test_a_mask_is_carried_from_the_largest_slice_to_the_others():
    item = volume()
    found = answer_to(adapted(ORGANS, given={**BOX, "options": {"propagate": "slices"}}), item)
    stacked = item.grid.to_model(found, linear=False)
    largest = int((item.truth == 1).sum((1, 2)).argmax())
    expected = ellipse(prompts.box_of(item.truth[largest] == 1), item.truth.shape[1:])
    rod = stacked[largest] == 2  # nearer to its own middle, the rod keeps what both claim
    assert ((stacked[largest] == 1) == (expected & ~rod)).mean() > 0.999
    assert all((stacked[s] == 1).any() for s in range(10))  # the untrained ellipse never becomes empty


def test_the_memory_of_a_video_model_carries_masks_too(monkeypatch):
    """A memory that paints its prompts' boxes on every slice: each structure is asked for on its largest slice."""
    from medvfm.adapters import _sam_prompting

    class Painter:
        def __init__(self):
            self.seeds = []

        def propagate(self, pictures, count, seed, asked, original_size_px, device):
            self.seeds.append((seed, [a.value for a in asked]))
            assert pictures(count - 1).shape == (1, *original_size_px)
            for s in range(count):
                logits = torch.full((len(asked), *original_size_px), -5.0)
                for layer, one in zip(logits, asked, strict=True):
                    x0, y0, x1, y1 = one.box_px.astype(int)
                    layer[y0 : y1 + 1, x0 : x1 + 1] = 5.0
                yield s, logits

    adapter, item = adapted(ORGANS, given={**BOX, "options": {"propagate": "slices"}}), volume()
    painter = Painter()
    monkeypatch.setattr(adapter, "_prompting", _sam_prompting.replace(adapter._prompting, memory=painter))
    found = item.grid.to_model(answer_to(adapter, item), linear=False)
    largest = int((item.truth == 1).sum((1, 2)).argmax())
    assert sorted(painter.seeds) == [(0, [2]), (largest, [1])]
    x0, y0, x1, y1 = prompts.box_of(item.truth[largest] == 1).astype(int)
    assert (found[:, y0 : y1 + 1, x0 : x1 + 1] > 0).all()
    with pytest.raises(RecipeError, match="used as it is"):
        adapted(ORGANS, given={**BOX, "options": {"propagate": "memory"}})


def test_prompts_from_the_truth_need_it_and_others_do_not_see_it():
    item = picture()
    blind = prepared(item.case_id, item.pixels, item.grid, None)
    with pytest.raises(DataError, match="has none"):
        answer_to(adapted(), blind)
    found = answer_to(adapted(given={"from": "grid", "options": {"points": 4, "iou": 0, "stability": 0.2}}), blind)
    assert found.max() > 1


def test_clicks_follow_the_usual_rule_and_a_next_variant_adds_one():
    adapter, item = adapted(given={**BOX, "options": {"robustness": True}}), picture(count=1)
    assert adapter.variants() == [f"box_jitter_px={p}" for p in (0, 2, 5, 10, 20)] + [
        f"clicks={n}" for n in range(1, 11)
    ]
    one = item.grid.to_model(answer_to(adapter, item, "clicks=1"), linear=False)[0] > 0
    answer_to(adapter, item, "clicks=2")
    points = adapter._prompting._clicks[item.case_id, 0][0]
    truth = item.truth[0] > 0
    assert points[0].tolist() == [*prompts.centre_of(truth), 1]
    assert points[1].tolist() == list(prompts.next_click(truth, one))
    three = answer_to(adapter, item, "clicks=3")
    assert np.array_equal(three, answer_to(adapted(given={**BOX, "options": {"robustness": True}}), item, "clicks=3"))
    assert np.array_equal(answer_to(adapter, item, "box_jitter_px=0"), answer_to(adapter, item))
    assert not np.array_equal(answer_to(adapter, item, "box_jitter_px=10"), answer_to(adapter, item))
    with pytest.raises(ValueError, match="no variant"):
        answer_to(adapter, item, "sharpness=1")


def test_examples_hold_objects_with_prompts_that_fit_them():
    adapter, item = adapted(crop_px=48, points=0.5), picture(count=8, size=96)
    seen = set()
    for seed in range(20):
        example = adapter.example(item, np.random.default_rng(seed), same)
        assert example["picture"].shape == (1, 48, 48) and len(example["masks"]) <= 8
        for mask, box, points in zip(example["masks"], example["boxes"], example["points"], strict=True):
            boxed = bool(np.isfinite(box).all())
            used = points[points[:, 2] >= 0]
            assert boxed != bool(len(used))
            seen.add(boxed)
            for x, y, label in used:
                assert mask[int(y), int(x)] == (label == 1)
            if boxed:
                side = max(prompts.box_of(mask)[2:] - prompts.box_of(mask)[:2]) + 1
                assert np.abs(box - prompts.box_of(mask)).max() <= 0.1 * side + 1e-4
    assert seen == {True, False}
    again = [adapter.example(item, np.random.default_rng(3), same)["picture"] for _ in range(2)]
    assert np.array_equal(*again)


@pytest.mark.slow
def test_tiny_learns_what_an_ellipse_cannot_say():
    """Bright crescents: a third of the ellipse in the box is background."""
    y, x = np.mgrid[:64, :64]
    items = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        labels = np.zeros((1, 64, 64), np.uint16)
        for number in range(2):
            row, column = rng.integers(14, 50, 2)
            full = (y - row) ** 2 + (x - column) ** 2 <= 100
            labels[0][full & ((y - row) ** 2 + (x - column - 8) ** 2 > 64)] = number + 1
        pixels = (0.1 + 0.8 * (labels > 0))[None].astype(np.float16)
        items.append(prepared(str(seed), pixels, SliceGrid.of((64, 64, 1), np.eye(4), False), labels))

    def dice(adapter, item):
        found = item.grid.to_model(answer_to(adapter, item), linear=False) > 0
        return 2 * (found & (item.truth > 0)).sum() / (found.sum() + (item.truth > 0).sum())

    adapter = adapted(points=0.0, exact=1.0)
    before = np.mean([dice(adapter, item) for item in items[4:]])
    optimizer = torch.optim.AdamW((p for p in adapter.module.parameters() if p.requires_grad), lr=3e-3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for step in range(40):
            training_mode(adapter.module)
            examples = [
                adapter.example(items[(step + n) % 4], np.random.default_rng([step, n]), same) for n in range(4)
            ]
            loss = adapter.loss(adapter.collate(examples))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert np.mean([dice(adapter, item) for item in items[4:]]) > before + 0.05


@pytest.mark.parametrize("method", ["decoder", "lora", "full", "promptless"])
@pytest.mark.parametrize("family", ["sam", "medsam", "sam2", "tiny"])
def test_every_method_trains_what_it_says_and_all_of_that(method, family, sam_folder, sam2_folder, tmp_path):
    weights = {"tiny": "tiny", "sam2": sam2_folder}.get(family, sam_folder)
    contract = {"contract": family} if family in ("sam", "medsam") else {}
    promptless = method == "promptless"
    question = ORGANS if promptless else NUCLEI
    make = {
        "question": question,
        "method": method,
        "weights": weights,
        "given": None if promptless else BOX,
        **contract,
    }
    adapter = adapted(**make)
    before = {n: p.detach().clone() for n, p in adapter.module.named_parameters()}
    trained = {n for n, p in adapter.module.named_parameters() if p.requires_grad}
    parts = "segmenter.parts."
    in_encoder = {n for n in trained if n.startswith(f"{parts}vision_encoder")}
    if method == "full" or (promptless and family == "tiny"):
        assert len(in_encoder) == sum(n.startswith(f"{parts}vision_encoder") for n in before)
    elif method == "lora":
        assert in_encoder and all(".lora_" in n for n in in_encoder)
    else:
        assert not in_encoder
    if family != "tiny":
        assert not {n for n in trained if n.startswith((f"{parts}prompt_encoder", f"{parts}shared"))}
    optimizer = torch.optim.AdamW((p for p in adapter.module.parameters() if p.requires_grad), lr=1e-3)
    item = picture(count=2)
    for step in range(3):
        training_mode(adapter.module)
        examples = [adapter.example(item, np.random.default_rng([step, n]), same) for n in range(2)]
        loss = adapter.loss(adapter.collate(examples))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    still = {n for n, p in adapter.module.named_parameters() if n in trained and torch.equal(p, before[n])}
    moved = {n for n, p in adapter.module.named_parameters() if n not in trained and not torch.equal(p, before[n])}
    assert (still, moved) == (set(), set())
    adapter.save(tmp_path)
    again = adapted(**make)
    again.load(tmp_path)
    assert np.array_equal(answer_to(adapter, item), answer_to(again, item))
    assert adapter.record()["parameters"]["trainable"] > 0
    assert adapter.record()["contract"]["contract"] == family


def test_a_next_stage_goes_on_from_merged_updates(sam_folder, tmp_path):
    adapter = adapted(method="lora", weights=sam_folder, contract="sam")
    with torch.no_grad():
        for name, parameter in adapter.module.named_parameters():
            if ".lora_B" in name:
                parameter.fill_(0.05)
    expected = adapter.module.segmenter.encode(torch.full((1, 1, 64, 64), 0.5)).maps[0]
    adapter.start_stage("decoder", {})
    assert not any(".lora_" in n for n, _ in adapter.module.named_parameters())
    assert adapter.module.encoder_is_frozen
    found = adapter.module.segmenter.encode(torch.full((1, 1, 64, 64), 0.5)).maps[0]
    assert torch.allclose(found, expected, atol=1e-4)
    item = picture(seed=5)
    adapter.save(tmp_path)
    again = adapted(method="lora", weights=sam_folder, contract="sam")
    again.start_stage("decoder", {})
    again.load(tmp_path)
    assert np.array_equal(answer_to(again, item), answer_to(adapter, item))


def test_a_frozen_encoder_sees_each_slice_once(sam_folder, monkeypatch):
    item = picture(seed=77)
    first = adapted(method="decoder", weights=sam_folder, contract="sam")
    calls = []
    encode = type(first.module.segmenter).encode
    monkeypatch.setattr(type(first.module.segmenter), "encode", lambda *a, **k: calls.append(1) or encode(*a, **k))
    labels = answer_to(first, item)
    assert len(calls) == 1
    again = adapted(method="decoder", weights=sam_folder, contract="sam")
    assert np.array_equal(answer_to(again, item), labels)
    example = again.example(item, np.random.default_rng(0), same)
    again.loss(again.collate([example])).backward()
    assert len(calls) == 1
    other = adapted(method="decoder", weights=sam_folder, contract="medsam")  # same weights, other input
    answer_to(other, item)
    assert len(calls) == 2
    trained = adapted(method="full", weights=sam_folder, contract="sam")
    answer_to(trained, item)
    assert len(calls) == 3


def test_pictures_without_objects_train_nothing():
    adapter, item = adapted(), picture()
    empty = prepared("empty", item.pixels, item.grid, np.zeros_like(item.truth))
    loss = adapter.loss(adapter.collate([adapter.example(empty, np.random.default_rng(0), same)]))
    loss.backward()
    assert loss.item() == 0
    assert answer_to(adapter, empty).max() == 0


def test_promptless_asks_for_every_class_in_every_slice():
    adapter, item = adapted(ORGANS, "promptless", given=None), volume()
    drawn = [adapter.example(item, np.random.default_rng(seed), same)["masks"] for seed in range(12)]
    assert {len(masks) for masks in drawn} == {2}
    assert any(not masks[0].any() for masks in drawn)  # slices without the ball stay in
    blind = prepared("volume", item.pixels, item.grid, None)
    assert answer_to(adapter, blind).shape == (40, 36, 10)


def test_prompts_from_a_table(tmp_path):
    item = picture(count=1)
    box = prompts.box_of(item.truth[0] > 0)
    row = ",".join(f"{v:g}" for v in box)
    file = tmp_path / "boxes.csv"
    file.write_text(f"case_id,slice,label,x0,y0,x1,y1\n{item.case_id},0,7,{row}\n")
    found = answer_to(
        adapted(given={"from": "file", "file": str(file)}), prepared(item.case_id, item.pixels, item.grid, None)
    )
    assert np.array_equal(found > 0, answer_to(adapted(), item) > 0)
    assert found.max() == 7
    table = prompt_sources.FromTable.read(file, ("nucleus",), "instances")
    assert table.oracle is None and table.objects(picture(seed=1), 0) == []
    file = tmp_path / "points.json"
    file.write_text(
        '[{"case_id": "a", "slice": 2, "label": "spleen", "x": 3, "y": 4},'
        ' {"case_id": "a", "slice": 2, "label": "spleen", "x": 9, "y": 9, "positive": 0}]'
    )
    asked = prompt_sources.FromTable.read(file, ORGANS.classes, "semantic").rows["a", 2]
    assert len(asked) == 1 and asked[0].value == 2
    assert asked[0].points.tolist() == [[3, 4, 1], [9, 9, 0]]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("case0,0,kidney,1,2,3,4", "none of the classes liver, spleen"),
        ("case0,0,liver,1,x,3,4", "y0 is 'x', not a number"),
        ("case0,0,liver,9,2,3,4", "x1 < x0"),
        (",0,liver,1,2,3,4", "no case_id"),
        ("case0,nan,liver,1,2,3,4", "slice is 'nan'"),
    ],
)
def test_a_bad_table_of_prompts_is_refused_with_its_row(tmp_path, line, said):
    file = tmp_path / "boxes.csv"
    file.write_text(f"case_id,slice,label,x0,y0,x1,y1\n{line}\n")
    with pytest.raises(DataError, match=said) as refused:
        prompt_sources.FromTable.read(file, ORGANS.classes, "semantic")
    assert "line 2" in str(refused.value)


def test_prompts_from_masks_of_another_model(tmp_path):
    from PIL import Image

    item = picture(count=2)
    Image.fromarray(item.truth[0].astype(np.uint8)).save(tmp_path / f"{item.case_id}.png")
    adapter = adapted(given={"from": "file", "file": str(tmp_path), "kind": "box"})
    assert adapter.oracle is None
    found = answer_to(adapter, prepared(item.case_id, item.pixels, item.grid, None))
    assert np.array_equal(found, answer_to(adapted(), item))


def test_a_detector_and_a_segmenter_in_one_recipe(tmp_path):
    """A small YOLOS: the boxes are those of transformers' own post-processing, named by their last pixel."""
    config = T.YolosConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=[64, 64],
        num_detection_tokens=5, id2label={0: "cell", 1: "debris"}, label2id={"cell": 0, "debris": 1},
    )  # fmt: skip
    perturbed(T.YolosForObjectDetection(config), 0.3).save_pretrained(tmp_path)
    T.YolosImageProcessor(size={"height": 64, "width": 64}).save_pretrained(tmp_path)
    given = {
        "from": "adapter", "adapter": {"name": "detector", "weights": str(tmp_path)}, "kind": "box",
        "options": {"threshold": 0.05},
    }  # fmt: skip
    adapter, item = adapted(given=given), picture()
    source = adapter._prompting.source
    image = (np.repeat(item.pixels[:, 0], 3, axis=0).astype(np.float32) * 255).round().astype(np.uint8)
    processor, model = source.detector.processor, source.detector.model
    with torch.inference_mode():
        outputs = model(processor(images=image.transpose(1, 2, 0), return_tensors="pt")["pixel_values"])
    theirs = processor.post_process_object_detection(outputs, threshold=0.05, target_sizes=[(64, 64)])[0]
    asked = source.objects(item, 0)
    assert len(asked) == len(theirs["scores"]) > 0
    best = theirs["boxes"][theirs["scores"].argmax()].numpy()
    expected = np.array([best[0], best[1], max(best[0], best[2] - 1), max(best[1], best[3] - 1)]).clip(0, 63)
    assert np.allclose(asked[0].box_px, expected, atol=1e-3)
    found = answer_to(adapter, prepared(item.case_id, item.pixels, item.grid, None))
    assert found.shape == (64, 64, 1)
    with pytest.raises(DataError, match="finds no 'liver'"):
        adapted(ORGANS, given=given)


@pytest.mark.parametrize(
    ("question", "method", "given", "options", "said"),
    [
        (NUCLEI, "full", None, {}, "needs prompts"),
        (NUCLEI, "promptless", None, {}, "does not tell objects apart"),
        (ORGANS, "promptless", BOX, {}, "takes no prompts"),
        (NUCLEI, "zero_shot", BOX, {}, "tiny knows nothing"),
        (ORGANS, "full", {"from": "grid"}, {}, "without saying what they are"),
        (NUCLEI, "full", {"from": "file"}, {}, "which file"),
        (NUCLEI, "full", {"from": "file", "file": "/absent.csv"}, {}, "no such file"),
        (NUCLEI, "full", {"from": "adapter", "adapter": {"name": "dinov2"}}, {}, "detector"),
        (NUCLEI, "full", {"from": "grid", "options": {"robustness": True}}, {}, "robustness"),
        (NUCLEI, "full", {**BOX, "options": {"propagate": "slices"}}, {}, "not objects"),
        (NUCLEI, "full", {**BOX, "options": {"jiter_px": 3}}, {}, "did you mean 'jitter_px'"),
        (NUCLEI, "full", {"from": "truth", "kind": "mask"}, {}, "takes no masks"),
        (NUCLEI, "full", BOX, {"contrct": "sam"}, "did you mean 'contract'"),
        (NUCLEI, "full", BOX, {"points": 2}, "less than or equal to 1"),
    ],
)
def test_what_cannot_be_done_is_refused_before_data_are_read(question, method, given, options, said):
    with pytest.raises(RecipeError, match=said):
        adapted(question, method, given=given, **options)


def test_true_masks_as_prompts_reach_the_model(sam_folder):
    item = picture(count=2)
    masked = adapted(method="zero_shot", weights=sam_folder, given={"from": "truth", "kind": "mask"}, contract="sam")
    boxed = adapted(method="zero_shot", weights=sam_folder, contract="sam")
    assert masked.oracle == "oracle prompt: the mask itself an object"
    source = masked._prompting.source.objects(item, 0)
    assert all(a.mask is not None for a in source)
    embeddings = masked._embeddings(item, 0)
    logits = [
        a.module.segmenter.decode(embeddings, prompt_sources.as_prompts(asked, (64, 64))).logits
        for a, asked in ((masked, source), (boxed, boxed._prompting.source.objects(item, 0)))
    ]
    assert not torch.allclose(*logits)


def test_zero_shot_trains_nothing_and_answers_as_the_model_does(sam_folder):
    adapter, item = adapted(method="zero_shot", weights=sam_folder, contract="sam"), picture(count=2)
    assert not any(p.requires_grad for p in adapter.module.parameters())
    found = answer_to(adapter, item)
    model = T.SamModel.from_pretrained(sam_folder).eval()
    pixels = adapter.module.segmenter.frame.pixels(torch.from_numpy(item.pixels[:, 0].astype(np.float32))[None])
    boxes = torch.from_numpy(prompts.boxes_of(item.truth[0])[1])[None]
    with torch.inference_mode():
        low = model(pixels, input_boxes=boxes, multimask_output=False).pred_masks[0, :, 0]
    logits = torch.nn.functional.interpolate(low[None], (64, 64), mode="bilinear", align_corners=False)[0]
    best, which = logits.max(0)
    expected = torch.where(best > 0, which + 1, 0).numpy()
    assert (item.grid.to_model(found, linear=False)[0] == expected).mean() > 0.995  # embeddings pass half precision


def test_no_nan_box_reaches_a_mask():
    assert math.isnan(prompt_sources.as_prompts([prompt_sources.ObjectPrompt(1), prompt_sources.ObjectPrompt(
        2, box_px=np.array([1, 2, 3, 4], np.float32))], (8, 8)).boxes_px[0, 0].item())  # fmt: skip


def test_gray_and_colour_pictures_of_one_size_are_encoded_together(monkeypatch):
    """Normalisation layers see the statistics of the batch: those of all its pictures, not of one kind at a time."""
    adapter, gray = adapted(), picture()
    colour = prepared("colour", np.repeat(gray.pixels, 3, axis=0), gray.grid, gray.truth)
    seen = []
    encode = type(adapter.module.segmenter).encode
    monkeypatch.setattr(
        type(adapter.module.segmenter), "encode", lambda *a, **k: seen.append(a[1].shape[:2]) or encode(*a, **k)
    )
    examples = [adapter.example(item, np.random.default_rng(0), same) for item in (gray, colour, gray)]
    adapter.loss(adapter.collate(examples))
    assert seen == [(3, 3)]


def boxes(tmp_path, *lines: str, question=NUCLEI) -> sam.SamAdapter:
    file = tmp_path / "boxes.csv"
    file.write_text("case_id,slice,label,x0,y0,x1,y1\n" + "".join(f"{line}\n" for line in lines))
    return adapted(question, given={"from": "file", "file": str(file)})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("case0,0,1,70,2,90,9", "a box outside of its image of 64 x 64 pixels"),
        ("case0,0,1,-30,2,-5,9", "a box outside"),
        ("case0,3,1,2,2,9,9", "on slice 3, and its slices are 0 to 0"),
    ],
)
def test_prompts_outside_the_image_are_refused(tmp_path, line, said):
    with pytest.raises(DataError, match=f"a prompt of case0 in boxes.csv .*{said}.*; x counts columns"):
        answer_to(boxes(tmp_path, line), picture(count=1))


def test_points_outside_the_image_are_refused(tmp_path):
    file = tmp_path / "points.csv"
    file.write_text("case_id,label,x,y\ncase0,1,64,10\n")
    with pytest.raises(DataError, match="a point outside of its image"):
        answer_to(adapted(given={"from": "file", "file": str(file), "kind": "point"}), picture(count=1))


def test_a_box_that_reaches_beyond_the_image_is_cut_and_said(tmp_path):
    adapter = boxes(tmp_path, "case0,0,1,50,40,80,60")
    found = answer_to(adapter, picture(count=1))
    same = answer_to(boxes(tmp_path, "case0,0,1,50,40,63,60"), picture(count=1))
    assert np.array_equal(found, same)
    assert adapter.prompt_remarks() == ["Boxes in boxes.csv that reach beyond the image, cut at its border: case0."]
    assert boxes(tmp_path, "case0,0,1,50,40,64,60").prompt_remarks() == []


def test_prompts_that_fit_no_case_are_told_before_training(tmp_path):
    adapter = boxes(tmp_path, "a,0,1,5,4,8,6", "z,0,1,5,4,8,6", "t,0,1,5,4,8,6")
    assert adapter.check_prompts(cases("a", "b"), cases("a", "b", "t")) == [
        "Prompts in boxes.csv for no case: z.",
        "1 case has no prompt in boxes.csv, so that nothing is found: b.",
    ]
    with pytest.raises(DataError, match=r"no prompt in boxes\.csv: it names a, t, z, and asked for are c00, c01"):
        adapter.check_prompts(cases("c00", "c01"), cases("c00", "c01"))


def test_masks_as_prompts_that_are_missing_or_empty(tmp_path):
    from PIL import Image

    item = picture(count=1)
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(tmp_path / f"{item.case_id}.png")
    adapter = adapted(given={"from": "file", "file": str(tmp_path), "kind": "box"})
    assert not answer_to(adapter, item).any()
    assert adapter.prompt_remarks() == [
        f"1 case has no prompt in the masks of {tmp_path.name}, so that nothing is found: case0."
    ]
    with pytest.raises(DataError, match=r"1 case of 2 without a mask in .*: b; each mask is named after its case"):
        adapter.check_prompts(cases(item.case_id, "b"), cases(item.case_id, "b"))
    assert adapter.check_prompts(cases(item.case_id), cases(item.case_id)) == []
    assert "for no case: case0" in adapter.check_prompts([], cases("b"))[0]


@pytest.mark.parametrize(
    ("size", "options", "said"),
    [(20, {}, "at least 32"), ((64, 96), {}, "one size"), (64, {"crop_px": 32}, "leave out adapter.options.crop_px")],
)
def test_sizes_that_cannot_be(size, options, said):
    settings = AdapterSettings.model_validate({"name": "sam", "weights": "tiny", "prompts": BOX, "options": options})
    with pytest.raises(RecipeError, match=said):
        sam.refuse(settings, ["full"], Prepare(size=size), NUCLEI)


def test_a_size_goes_with_what_was_trained(tmp_path, sam_folder):
    """Trained weights at another size are put back into a model of that size."""
    settings = AdapterSettings.model_validate(
        {"name": "sam", "weights": str(sam_folder), "prompts": BOX, "options": {"contract": "sam"}}
    )
    made = [
        sam.build(settings, ORGANS, "full", Prepare(size=48), windows={}, read={}, train=Train(), seed=0) for _ in "ab"
    ]
    with torch.no_grad():
        made[0].module.segmenter.parts.vision_encoder.pos_embed += 0.5
    made[0].save(tmp_path)
    made[1].load(tmp_path)
    item = volume()
    assert np.array_equal(answer_to(made[0], item), answer_to(made[1], item))
    record = made[0].record()
    assert record["contract"] == {"contract": "sam", "side_px": 48, "multiple": 1, "longest_px": 48, "native_px": SIDE}
    assert any("learned at 64 px, were interpolated to 48 px" in sentence for sentence in record["said"]["input"])
