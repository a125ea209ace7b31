"""Promptable segmenters against the libraries and the packages whose weights they load."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
import transformers as T

from medvfm.core.errors import WeightsError
from medvfm.models.sam import original_layout
from medvfm.models.sam.frame import SamFrame
from medvfm.models.sam.from_transformers import from_original
from medvfm.models.sam.load import load_segmenter
from medvfm.nn.prompts import Prompts
from tests.samples.sam_models import DECODER, HIERA, PROMPT, SIDE, VISION, perturbed


@pytest.fixture(scope="module")
def sam_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sam")
    model = perturbed(
        T.SamModel(T.SamConfig(vision_config=VISION, prompt_encoder_config=PROMPT, mask_decoder_config=DECODER))
    )
    model.save_pretrained(folder)
    processor = T.SamImageProcessor(
        size={"longest_edge": SIDE}, pad_size={"height": SIDE, "width": SIDE}, mask_size={"longest_edge": SIDE // 4},
        mask_pad_size={"height": SIDE // 4, "width": SIDE // 4},
    )  # fmt: skip
    T.SamProcessor(processor).save_pretrained(folder)
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
    T.Sam2ImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder


def picture(height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8: smooth blobs with an edge."""
    y, x = np.mgrid[:height, :width].astype(float)
    wave = np.sin(x / 9)[..., None] * np.cos(y[..., None] / np.array([5.0, 8.0, 13.0]))
    wave[(x - width / 2) ** 2 + (y - height / 2) ** 2 < 200] += 0.5
    return (127 + 80 * wave).clip(0, 255).astype(np.uint8)


def as_pictures(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


BOXES = torch.tensor([[5.0, 8.0, 40.0, 30.0], [20.0, 3.0, 60.0, 33.0], [0.0, 0.0, 79.0, 39.0]])
POINTS = torch.tensor([[[10.0, 10.0], [30.0, 20.0]], [[40.0, 5.0], [7.0, 30.0]]])
LABELS = torch.tensor([[1, 0], [1, 1]])


def one_picture(count: int) -> torch.Tensor:
    return torch.zeros(count, dtype=torch.long)


@pytest.mark.parametrize("kind", ["boxes", "points", "one point"])
@pytest.mark.parametrize("size", [(40, 80), (SIDE, 48), (SIDE, SIDE)])
def test_masks_of_sam_are_those_of_transformers(sam_folder, kind, size):
    image = picture(*size)
    processor, model = T.SamProcessor.from_pretrained(sam_folder), T.SamModel.from_pretrained(sam_folder).eval()
    if kind == "boxes":
        asked = {"input_boxes": [BOXES.tolist()]}
        prompts = Prompts(one_picture(3), boxes_px=BOXES)
    else:
        points, labels = (POINTS, LABELS) if kind == "points" else (POINTS[:, :1], LABELS[:, :1])
        asked = {"input_points": [points.tolist()], "input_labels": [labels.tolist()]}
        prompts = Prompts(one_picture(2), points_px=points, point_labels=labels)
    inputs = processor(image, return_tensors="pt", **asked)
    inputs = {k: v.float() if v.dtype == torch.float64 else v for k, v in inputs.items()}
    multimask_output = kind == "one point"
    own = {k: inputs[k] for k in inputs if k not in ("original_sizes", "reshaped_input_sizes")}
    with torch.inference_mode():
        theirs = model(**own, multimask_output=multimask_output)
        segmenter = load_segmenter(str(sam_folder), contract="sam")
        embeddings = segmenter.encode(as_pictures(image))
        ours = segmenter.decode(embeddings, prompts)
    sizes = inputs["original_sizes"], inputs["reshaped_input_sizes"]
    logits = processor.image_processor.post_process_masks(theirs.pred_masks, *sizes, binarize=False)[0]
    best = theirs.iou_scores[0].argmax(1)
    rows = torch.arange(len(prompts))
    expected = logits[rows, best]
    # transformers resizes 8-bit tensors with whole-number weights: now and then a grey level apart from ours, which
    # random weights make much of. Pictures of the model's size are equal.
    tolerance = 1e-4 if max(size) == SIDE else 0.05
    assert (ours.iou - theirs.iou_scores[0][rows, best]).abs().max() < tolerance * theirs.iou_scores.abs().max()
    assert (ours.logits - expected).abs().max() < tolerance * expected.abs().max()
    assert ((ours.logits > 0) == (expected > 0)).float().mean() > (0.9999 if max(size) == SIDE else 0.99)


@pytest.mark.parametrize("size", [(40, 80), (SIDE, SIDE)])
def test_masks_of_sam_2_are_those_of_transformers(sam2_folder, size):
    image = picture(*size)
    processor = T.Sam2ImageProcessor.from_pretrained(sam2_folder)
    model = T.Sam2Model.from_pretrained(sam2_folder).eval()
    scale = torch.tensor([SIDE / size[1], SIDE / size[0]])
    tolerance = 1e-4 if size == (SIDE, SIDE) else 0.05  # as above
    pixels = processor(image, return_tensors="pt")["pixel_values"]
    segmenter = load_segmenter(str(sam2_folder))
    with torch.inference_mode():
        embeddings = segmenter.encode(as_pictures(image))
        for multimask_output in (False, True):
            theirs = model(pixels, input_boxes=(BOXES * scale.repeat(2))[None], multimask_output=multimask_output)
            logits = processor.post_process_masks(theirs.pred_masks, [size], binarize=False)[0]
            best = theirs.iou_scores[0].argmax(1)
            ours = segmenter.decode(
                embeddings, Prompts(one_picture(3), boxes_px=BOXES), multimask_output=multimask_output
            )
            expected = logits[torch.arange(3), best]
            assert (ours.logits - expected).abs().max() < tolerance * expected.abs().max()
        theirs = model(pixels, input_points=(POINTS * scale)[None], input_labels=LABELS[None], multimask_output=False)
        ours = segmenter.decode(embeddings, Prompts(one_picture(2), points_px=POINTS, point_labels=LABELS))
    assert (ours.low_res_masks - theirs.pred_masks[0, :, 0]).abs().max() < tolerance * theirs.pred_masks.abs().max()
    assert segmenter.frame.contract == "sam2"


def test_boxes_and_points_in_one_call_are_as_if_each_came_alone(sam_folder):
    segmenter = load_segmenter(str(sam_folder), contract="sam")
    boxes = BOXES.clone()
    boxes[1] = math.nan
    points = torch.zeros(3, 2, 2)
    labels = torch.full((3, 2), -1)
    points[1], labels[1] = POINTS[0], LABELS[0]
    with torch.inference_mode():
        embeddings = segmenter.encode(as_pictures(picture(40, 80)))
        mixed = segmenter.decode(embeddings, Prompts(one_picture(3), boxes, points, labels))
        boxed = segmenter.decode(embeddings, Prompts(one_picture(2), boxes_px=BOXES[[0, 2]]))
        clicked = segmenter.decode(embeddings, Prompts(one_picture(1), points_px=POINTS[:1], point_labels=LABELS[:1]))
    assert torch.allclose(mixed.logits[[0, 2]], boxed.logits, atol=1e-4)
    assert torch.allclose(mixed.logits[[1]], clicked.logits, atol=1e-4)


def test_each_object_is_decoded_on_its_own_picture(sam_folder):
    segmenter = load_segmenter(str(sam_folder), contract="sam")
    pictures = torch.cat([as_pictures(picture(40, 80)), as_pictures(picture(40, 80)[::-1].copy())])
    with torch.inference_mode():
        together = segmenter.decode(segmenter.encode(pictures), Prompts(torch.tensor([1, 0]), boxes_px=BOXES[:2]))
        for row, which in ((0, 1), (1, 0)):
            alone = segmenter.decode(
                segmenter.encode(pictures[[which]]), Prompts(one_picture(1), boxes_px=BOXES[[row]])
            )
            assert torch.allclose(together.logits[row], alone.logits[0], atol=1e-4)


@pytest.mark.parametrize("size", [(50, 40), (64, 64), (100, 150)])
def test_the_medsam_contract_is_its_published_preparation(size):
    """skimage.transform.resize with cubic splines of an 8-bit image, to 8 bits, then least to greatest as 0 to 1."""
    transform = pytest.importorskip("skimage.transform", reason="scikit-image is the witness")
    image = picture(*size)
    resized = transform.resize(image, (SIDE, SIDE), order=3, preserve_range=True, anti_aliasing=True).astype(np.uint8)
    expected = (resized - resized.min()) / np.clip(resized.max() - resized.min(), 1e-8, None)
    found = SamFrame("medsam", side_px=SIDE).pixels(as_pictures(image).half())[0].permute(1, 2, 0).numpy()
    # One level of 8 bits, where a value lies on the edge between two.
    assert np.abs(found - expected).max() <= 1.01 / float(resized.max() - resized.min())
    assert (np.abs(found - expected) > 1e-5).mean() < 0.001


def test_the_two_contracts_give_other_pixels_boxes_and_masks(sam_folder):
    image = as_pictures(picture(40, 80))
    sam, medsam = (load_segmenter(str(sam_folder), contract=c) for c in ("sam", "medsam"))
    assert sam.frame.pixels(image).min() < -0.5
    assert medsam.frame.pixels(image).min() == 0 and medsam.frame.pixels(image).max() == 1
    prompts = Prompts(one_picture(3), boxes_px=BOXES)
    assert torch.equal(sam.frame.prompts(prompts, (40, 80)).boxes_px, BOXES * 0.8)
    assert torch.equal(medsam.frame.prompts(prompts, (40, 80)).boxes_px, BOXES * torch.tensor([0.8, 1.6, 0.8, 1.6]))
    # A mask over the lower half of the picture comes back over the lower half.
    low = torch.full((1, 16, 16), -5.0)
    low[:, 4:8] = 5.0
    assert (sam.frame.masks(low, (40, 80))[0, 24:] > 0).all()
    low = torch.full((1, 16, 16), -5.0)
    low[:, 8:] = 5.0
    assert (medsam.frame.masks(low, (40, 80))[0, 22:] > 0).all()


def test_masks_of_medsam_are_resized_as_probabilities():
    low = torch.tensor([[[9.0, -1.0], [9.0, -1.0]]])
    found = SamFrame("medsam").masks(low, (2, 8))[0].sigmoid()
    shares = torch.nn.functional.interpolate(low.sigmoid()[None], (2, 8), mode="bilinear", align_corners=False)[0, 0]
    assert torch.allclose(found, shares, atol=1e-5)


@pytest.fixture(scope="module")
def original():
    """A small model of the package segment-anything, of the same sizes as the folder's."""
    modeling = pytest.importorskip("segment_anything.modeling", reason="the package segment-anything is the witness")
    encoder = modeling.ImageEncoderViT(
        img_size=SIDE, patch_size=16, embed_dim=32, depth=4, num_heads=2, out_chans=32, use_rel_pos=True, window_size=2,
        global_attn_indexes=(1, 3), norm_layer=lambda width: torch.nn.LayerNorm(width, eps=1e-6),
    )  # fmt: skip
    prompt = modeling.PromptEncoder(
        embed_dim=32, image_embedding_size=(4, 4), input_image_size=(SIDE, SIDE), mask_in_chans=16
    )
    transformer = modeling.TwoWayTransformer(depth=2, embedding_dim=32, num_heads=8, mlp_dim=64)
    decoder = modeling.MaskDecoder(
        transformer_dim=32, transformer=transformer, iou_head_depth=3, iou_head_hidden_dim=32
    )
    return perturbed(modeling.Sam(encoder, prompt, decoder))


# Where the picture is resized, PIL's 8 bits there and torch's floats here differ by a grey level now and then.
@pytest.mark.parametrize(("size", "tolerance"), [((40, 80), 0.05), ((SIDE, 48), 1e-5)])
def test_the_original_layout_gives_the_original_masks(original, tmp_path, size, tolerance):
    torch.save(original.state_dict(), tmp_path / "small.pth")
    segmenter = load_segmenter(str(tmp_path / "small.pth"), contract="sam")
    image = picture(*size)
    predictor = pytest.importorskip("segment_anything").SamPredictor(original)
    predictor.transform.target_length = SIDE
    predictor.set_image(image)
    boxes = predictor.transform.apply_boxes_torch(BOXES, size)
    points = predictor.transform.apply_coords_torch(POINTS, size)
    with torch.inference_mode():
        embeddings = segmenter.encode(as_pictures(image))

        def differs(prompts, *asked, multimask_output=False, mask_input=None):
            masks, iou, low = predictor.predict_torch(
                *asked, mask_input=mask_input, multimask_output=multimask_output, return_logits=True
            )
            best, rows = iou.argmax(1), torch.arange(len(prompts))
            ours = segmenter.decode(embeddings, prompts, multimask_output=multimask_output)
            assert (ours.iou - iou[rows, best]).abs().max() < tolerance * iou.abs().max()
            masks = masks[rows, best]
            return (ours.logits - masks).abs().max() / masks.abs().max(), low

        boxed, clicked = Prompts(one_picture(3), BOXES), Prompts(one_picture(2), None, POINTS, LABELS)
        if max(size) == SIDE:  # else the best of several masks may be another one
            assert differs(boxed, None, None, boxes, multimask_output=True)[0] < tolerance
        far, low = differs(boxed, None, None, boxes)
        assert far < tolerance
        assert differs(clicked, points, LABELS)[0] < tolerance
        prompts = Prompts(one_picture(3), BOXES, masks=low[:, 0])
        assert differs(prompts, None, None, boxes, mask_input=low)[0] < tolerance
    record = segmenter.weights_record
    assert (record["vision_width"], record["vision_depth"], record["layout"]) == (32, 4, "segment-anything")
    assert record["keys_left_unused"] == []
    assert len(record["sha256"]) == 64


def test_sizes_of_the_original_layout_are_found_from_shapes():
    """ViT-B, L and H, without their memory: tensors that have only a shape."""
    modeling = pytest.importorskip("segment_anything.modeling", reason="the package segment-anything is the witness")
    for width, depth, heads, spread in (
        (768, 12, 12, [2, 5, 8, 11]),
        (1024, 24, 16, [5, 11, 17, 23]),
        (1280, 32, 16, [7, 15, 23, 31]),
    ):
        with torch.device("meta"):
            encoder = modeling.ImageEncoderViT(
                img_size=1024, embed_dim=width, depth=depth, num_heads=heads, use_rel_pos=True, window_size=14,
                global_attn_indexes=spread,
            )  # fmt: skip
            prompt = modeling.PromptEncoder(256, (64, 64), (1024, 1024), 16)
            transformer = modeling.TwoWayTransformer(depth=2, embedding_dim=256, num_heads=8, mlp_dim=2048)
            state = modeling.Sam(
                encoder, prompt, modeling.MaskDecoder(transformer_dim=256, transformer=transformer)
            ).state_dict()
            state.pop("pixel_mean", None)
            found = T.SamConfig(**original_layout.config_of(state, "meta"))
            model = T.SamModel(found)
        converted, _ = original_layout.converted(state, "meta")
        assert {k: v.shape for k, v in model.state_dict().items()} == {k: v.shape for k, v in converted.items()}
        vision = found.vision_config
        assert (vision.num_attention_heads, list(vision.global_attn_indexes), vision.window_size) == (heads, spread, 14)


@pytest.mark.parametrize("change", ["missing", "strange", "shape"])
def test_every_key_of_the_original_layout_is_accounted_for(original, tmp_path, change):
    state = dict(original.state_dict())
    if change == "missing":
        del state["mask_decoder.iou_prediction_head.layers.1.weight"]
    elif change == "strange":
        state["image_encoder.lora_A"] = torch.zeros(2, 2)
    else:
        state["image_encoder.neck.2.weight"] = torch.zeros(3, 3)
    torch.save(state, tmp_path / "bad.pth")
    with pytest.raises(WeightsError, match="keys"):
        load_segmenter(str(tmp_path / "bad.pth"), contract="sam")


def test_what_does_not_say_its_contract_is_refused_and_the_option_named(sam_folder, original, tmp_path):
    with pytest.raises(WeightsError, match=r"adapter\.options\.contract"):
        load_segmenter(str(sam_folder))
    torch.save(original.state_dict(), tmp_path / "sam_vit_b_01ec64.pth")  # the name says nothing: its sha256 differs
    with pytest.raises(WeightsError, match=r"adapter\.options\.contract"):
        load_segmenter(str(tmp_path / "sam_vit_b_01ec64.pth"))
    with pytest.raises(WeightsError, match="did you mean 'medsam'"):
        load_segmenter(str(sam_folder), contract="medsan")


def test_a_folder_may_state_its_contract(sam_folder, tmp_path):
    for file in sam_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "medvfm_input_contract": "medsam"}))
    assert load_segmenter(str(tmp_path)).frame.contract == "medsam"
    assert load_segmenter(str(tmp_path), contract="sam").frame.contract == "sam"


def test_sam_2_refuses_another_contract(sam2_folder):
    with pytest.raises(WeightsError, match="sam2, not medsam"):
        load_segmenter(str(sam2_folder), contract="medsam")


def test_a_hub_id_of_medsam_means_its_contract(sam_folder, monkeypatch):
    """The published ids, with the files of the small folder in their place."""
    from dataclasses import replace

    from medvfm.models import weights
    from medvfm.models.sam import load as segmenters

    small = weights.locate(str(sam_folder))
    for source, contract in (("wanglab/medsam-vit-base", "medsam"), ("facebook/sam-vit-huge@main", "sam")):
        monkeypatch.setattr(segmenters, "locate", lambda _, s=source: replace(small, source=s))
        assert load_segmenter(source).frame.contract == contract


def test_other_models_are_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "dinov2"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match="no promptable segmenter of model_type 'dinov2'"):
        load_segmenter(str(tmp_path))
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")
    (tmp_path / "config.json").unlink()
    with pytest.raises(WeightsError, match="neither segment-anything's layout"):
        load_segmenter(str(tmp_path / "other.pth"))
    with pytest.raises(WeightsError, match="no such file"):
        load_segmenter(str(tmp_path / "absent.pth"))


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    import pickle

    class Evil:
        def __reduce__(self):
            return print, ("ran",)

    with (tmp_path / "evil.pth").open("wb") as file:
        pickle.dump(Evil(), file)
    with pytest.raises(WeightsError, match="weights_only"):
        load_segmenter(str(tmp_path / "evil.pth"), contract="sam")


def test_from_original_leaves_what_the_contract_holds(original):
    state = dict(original.state_dict()) | {"pixel_mean": torch.zeros(3, 1, 1), "pixel_std": torch.ones(3, 1, 1)}
    segmenter = from_original(state, "small", "medsam", {})
    assert segmenter.weights_record["keys_left_unused"] == ["pixel_mean", "pixel_std"]
