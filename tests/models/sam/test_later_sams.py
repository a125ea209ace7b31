"""SAM 3's tracker, and SAM 2 and MedSAM2 in their original layout, against transformers and the package sam2."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
import torch
import transformers as T
from PIL import Image
from safetensors.torch import save_file

from medvfm.core.errors import WeightsError
from medvfm.models.sam import load as loading
from medvfm.models.sam import original_sam2
from medvfm.models.sam.frame import SamFrame
from medvfm.models.sam.from_transformers import from_original_sam2
from medvfm.models.sam.load import load_segmenter
from medvfm.nn.prompts import Prompts
from tests.samples.sam_models import HIERA, SIDE, perturbed

BOXES = torch.tensor([[5.0, 8.0, 40.0, 30.0], [20.0, 3.0, 50.0, 33.0]])
TRUNK = original_sam2.Trunk(1, (8, 4, 4, 2), (3,))
TRUNKS = {(16, (1, 1, 2, 1)): TRUNK}
WIDTH = 256  # of SAM 2's decoder, which its own code does not let vary


def ones(count: int) -> torch.Tensor:
    return torch.zeros(count, dtype=torch.long)


def picture(side: int) -> torch.Tensor:
    y, x = np.mgrid[:side, :side].astype(float)
    wave = np.sin(x / 9)[None] * np.cos(y[None] / np.array([5.0, 8.0, 13.0])[:, None, None])
    return torch.from_numpy((127 + 80 * wave).clip(0, 255).round() / 255)[None].float()


# SAM 3


@pytest.fixture(scope="module")
def sam3_folder(tmp_path_factory):
    """What facebook/sam3 holds, small: detector, tracker and the tracker's neck in one checkpoint; and that model."""
    if not hasattr(T, "Sam3TrackerModel"):
        pytest.skip("this transformers has no SAM 3")
    vision = {
        "backbone_config": {
            "model_type": "sam3_vit_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 2, "image_size": 56, "patch_size": 14, "window_size": 2, "global_attn_indexes": [1],
            "pretrain_image_size": 28,
        },
        "fpn_hidden_size": 32, "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
    }  # fmt: skip
    small = {"hidden_size": 32, "num_attention_heads": 2}
    layers = {**small, "intermediate_size": 64, "num_layers": 1}
    text = {**small, "intermediate_size": 64, "num_hidden_layers": 1, "vocab_size": 99, "projection_dim": 32,
            "max_position_embeddings": 8}  # fmt: skip
    detector = {
        "vision_config": vision, "text_config": text, "geometry_encoder_config": layers, "detr_encoder_config": layers,
        "detr_decoder_config": {**layers, "num_queries": 4}, "mask_decoder_config": small,
    }  # fmt: skip
    memory = {
        "memory_attention_hidden_size": 32, "memory_attention_num_layers": 1,
        "memory_attention_feed_forward_hidden_size": 64, "memory_encoder_hidden_size": 32,
        "memory_encoder_output_channels": 32, "memory_attention_rope_feat_sizes": [4, 4],
        "mask_downsampler_embed_dim": 32, "memory_fuser_embed_dim": 32, "memory_fuser_intermediate_dim": 64,
    }  # fmt: skip
    tracker = {
        "vision_config": vision,
        "prompt_encoder_config": {"hidden_size": 32, "image_size": 56, "patch_size": 14, "mask_input_channels": 16},
        "mask_decoder_config": {**small, "mlp_dim": 64, "num_hidden_layers": 2, "iou_head_hidden_dim": 32},
        "image_size": 56,
        **memory,
    }
    folder = tmp_path_factory.mktemp("sam3")
    config = T.Sam3VideoConfig(detector_config=detector, tracker_config=tracker)
    model = perturbed(T.Sam3VideoModel(config))
    config.save_pretrained(folder)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors")
    return folder, model


def test_masks_of_sam_3_are_those_of_its_tracker(sam3_folder):
    """Maps and masks are those of the parts of transformers' video model, as that model calls them."""
    folder, video = sam3_folder
    tracker = video.tracker_model
    segmenter = load_segmenter(str(folder))
    assert segmenter.frame.contract == "sam3" and segmenter.frame.side_px == 56
    image = picture(56)
    pixels = (image - 0.5) / 0.5
    torch.testing.assert_close(segmenter.frame.pixels(image), pixels, rtol=0, atol=1e-6)
    with torch.no_grad():
        vision = video.detector_model.vision_encoder(pixels, return_dict=True)
        flat, _ = video.get_vision_features_for_tracker(vision)
        flat[-1] = flat[-1] + tracker.no_memory_embedding
        maps = [part.permute(1, 2, 0).view(1, -1, side, side) for part, side in zip(flat, (16, 8, 4), strict=True)]
        embeddings = segmenter.encode(image)
        for ours, theirs in zip(embeddings.maps, maps, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        sparse, dense = tracker.prompt_encoder(
            input_points=None, input_labels=None, input_boxes=BOXES[None], input_masks=None
        )
        masks, iou = tracker.mask_decoder(
            image_embeddings=maps[2], image_positional_embeddings=tracker.get_image_wide_positional_embeddings(),
            sparse_prompt_embeddings=sparse, dense_prompt_embeddings=dense, multimask_output=False,
            high_resolution_features=maps[:2],
        )[:2]  # fmt: skip
        ours = segmenter.decode(embeddings, Prompts(ones(2), boxes_px=BOXES))
    torch.testing.assert_close(ours.low_res_masks, masks[0, :, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.iou, iou[0, :, 0], rtol=1e-4, atol=1e-5)
    left = segmenter.weights_record["keys_left_unused"]
    assert {"detector_model", "memory_attention"} <= set(left) and "vision_encoder" not in left


def test_sam_3_has_one_size(sam3_folder):
    folder = str(sam3_folder[0])
    with pytest.raises(WeightsError, match="pictures of 56 px and no others"):
        load_segmenter(folder, size_px=112)
    with pytest.raises(WeightsError, match="the input contract sam3, not sam2"):
        load_segmenter(folder, contract="sam2")


# SAM 2's own layout

BACK = (  # transformers' names to SAM 2's, the other way round than the loader's table
    (r"no_memory_embedding", "no_mem_embed"),
    (
        r"shared_image_embedding\.positional_embedding",
        "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
    ),
    (r"vision_encoder\.backbone\.patch_embed\.projection", "image_encoder.trunk.patch_embed.proj"),
    (r"vision_encoder\.backbone", "image_encoder.trunk"),
    (r"vision_encoder\.neck\.convs\.(\d)", r"image_encoder.neck.convs.\1.conv"),
    (r"prompt_encoder\.mask_embed\.conv1", "sam_prompt_encoder.mask_downscaling.0"),
    (r"prompt_encoder\.mask_embed\.layer_norm1", "sam_prompt_encoder.mask_downscaling.1"),
    (r"prompt_encoder\.mask_embed\.conv2", "sam_prompt_encoder.mask_downscaling.3"),
    (r"prompt_encoder\.mask_embed\.layer_norm2", "sam_prompt_encoder.mask_downscaling.4"),
    (r"prompt_encoder\.mask_embed\.conv3", "sam_prompt_encoder.mask_downscaling.6"),
    (r"^prompt_encoder", "sam_prompt_encoder"),
    (r"mask_decoder\.upscale_conv1", "sam_mask_decoder.output_upscaling.0"),
    (r"mask_decoder\.upscale_layer_norm", "sam_mask_decoder.output_upscaling.1"),
    (r"mask_decoder\.upscale_conv2", "sam_mask_decoder.output_upscaling.3"),
    (r"^mask_decoder", "sam_mask_decoder"),
    (r"(head|mlps\.\d)\.proj_in", r"\1.layers.0"),
    (r"(head|mlps\.\d)\.layers\.0\.(weight|bias)@", r"\1.layers.1.\2@"),
    (r"(head|mlps\.\d)\.proj_out", r"\1.layers.2"),
    (r"mlp\.proj_in", "mlp.layers.0"),
    (r"mlp\.proj_out", "mlp.layers.1"),
    (r"layer_norm_final_attn", "norm_final_attn"),
    (r"layer_norm(\d)", r"norm\1"),
    (r"o_proj", "out_proj"),
)


def sam2_config(decoder=WIDTH):
    return T.Sam2Config(
        vision_config={
            "backbone_config": dict(HIERA), "backbone_channel_list": [128, 64, 32, 16], "fpn_hidden_size": decoder,
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        },
        prompt_encoder_config={"hidden_size": decoder, "image_size": SIDE, "patch_size": 16},
        mask_decoder_config={"hidden_size": decoder, "mlp_dim": 64, "iou_head_hidden_dim": decoder},
    )  # fmt: skip


def in_own_layout(model) -> dict:
    found = {"memory_encoder.fuser.layers.0.gamma": torch.zeros(3), "maskmem_tpos_enc": torch.zeros(7, 1, 1, 64)}
    for name, value in model.state_dict().items():
        if name == "prompt_encoder.shared_embedding.positional_embedding":
            continue
        if name == "prompt_encoder.point_embed.weight":
            found |= {f"sam_prompt_encoder.point_embeddings.{n}.weight": row[None] for n, row in enumerate(value)}
            continue
        inner = "@" if re.search(r"(head|mlps\.\d)\.layers", name) else ""
        name += inner
        for old, new in BACK:
            name = re.sub(old, new, name)
        found[name.rstrip("@")] = value
    return found


@pytest.fixture(scope="module")
def sam2_model():
    model = perturbed(T.Sam2Model(sam2_config(64)))
    table = model.shared_image_embedding.positional_embedding  # which prompts and pictures share
    model.prompt_encoder.shared_embedding.positional_embedding.copy_(table)
    return model


def test_the_original_layout_of_sam_2_loads_key_by_key(sam2_model):
    state = in_own_layout(sam2_model)
    segmenter = from_original_sam2(state, "x.pt", "medsam2", {}, SIDE, TRUNKS).eval()
    assert segmenter.weights_record["keys_left_unused"] == ["maskmem_tpos_enc", "memory_encoder"]
    assert segmenter.frame == SamFrame("medsam2", side_px=SIDE)
    image = picture(SIDE)
    with torch.no_grad():
        theirs = sam2_model(segmenter.frame.pixels(image), input_boxes=BOXES[None], multimask_output=False)
        ours = segmenter.decode(segmenter.encode(image), Prompts(ones(2), boxes_px=BOXES))
    # norms of the decoder have an epsilon of 1e-5 there, and of 1e-6 in transformers
    assert (ours.low_res_masks - theirs.pred_masks[0, :, 0]).abs().max() < 1e-3 * theirs.pred_masks.abs().max()
    with pytest.raises(WeightsError, match=r"1 keys are not of SAM 2's layout: surprise"):
        from_original_sam2({**state, "surprise": torch.zeros(1)}, "x.pt", "sam2", {}, SIDE, TRUNKS)
    with pytest.raises(WeightsError, match="none of SAM 2's four trunks"):
        from_original_sam2(state, "x.pt", "sam2", {}, SIDE)


def test_a_checkpoint_on_the_hub_and_on_disk_says_which_contract_it_takes(sam2_model, tmp_path, monkeypatch):
    file = tmp_path / "MedSAM2_latest.pt"
    torch.save({"model": in_own_layout(sam2_model)}, file)
    monkeypatch.setattr(original_sam2, "TRUNKS", TRUNKS)
    monkeypatch.setattr(original_sam2.config_of, "__defaults__", (TRUNKS, 8))
    monkeypatch.setattr(from_original_sam2, "__defaults__", (TRUNKS,))
    monkeypatch.setattr(loading, "ORIGINAL_SIDES_PX", {"sam2": 128, "medsam2": SIDE})
    with pytest.raises(WeightsError, match=r"SAM 2's input \(1024 px\) or MedSAM2's \(512 px"):
        load_segmenter(str(file))
    assert load_segmenter(str(file), contract="medsam2").frame.side_px == SIDE
    assert load_segmenter(str(file), contract="sam2").parts.side == (8, 8)
    asked = []
    monkeypatch.setattr(loading, "hub_file", lambda *names: asked.append(names) or file)
    segmenter = load_segmenter("wanglab/MedSAM2@main")
    assert asked == [("wanglab/MedSAM2", "MedSAM2_latest.pt", "main")]
    assert segmenter.name == "wanglab/MedSAM2@main" and segmenter.frame.contract == "medsam2"


def test_published_sides_are_those_of_the_papers():
    assert loading.ORIGINAL_SIDES_PX == {"sam2": 1024, "medsam2": 512}
    trunks = original_sam2.TRUNKS
    assert {sum(blocks): trunk.whole for (_, blocks), trunk in trunks.items()} == {
        12: (5, 7, 9), 16: (7, 10, 13), 24: (12, 16, 20), 48: (23, 33, 43),
    }  # fmt: skip


@pytest.mark.parametrize("size", [(100, 140), (40, 50)])
def test_the_medsam2_contract_is_its_published_preparation(size):
    """PIL's resize of an 8-bit colour picture, divided by 255, less ImageNet's mean, by its deviation."""
    image = (picture(160)[0, :, : size[0], : size[1]] * 255).round().byte().permute(1, 2, 0).numpy()
    resized = np.asarray(Image.fromarray(image).resize((SIDE, SIDE))).astype(np.float32) / 255
    expected = (resized - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    pictures = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    found = SamFrame("medsam2", side_px=SIDE).pixels(pictures)[0].permute(1, 2, 0).numpy()
    assert np.abs(found - expected).max() < 2.01 / 255 / 0.224  # PIL rounds to 8 bits after each of two passes
    assert np.abs(found - expected).mean() < 0.002 / 0.224


def test_masks_of_the_original_layout_are_those_of_the_package(tmp_path):
    """The package sam2, which its authors wrote: `uv run --with sam2 pytest ...`."""
    base = pytest.importorskip("sam2.modeling.sam2_base", reason="the package sam2 is the witness")
    from sam2.modeling.backbones.hieradet import Hiera
    from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
    from sam2.modeling.position_encoding import PositionEmbeddingSine

    trunk = Hiera(
        embed_dim=16, num_heads=1, stages=(1, 1, 2, 1), global_att_blocks=TRUNK.whole, window_spec=TRUNK.windows,
        window_pos_embed_bkg_spatial_size=(2, 2),
    )  # fmt: skip
    neck = FpnNeck(
        PositionEmbeddingSine(num_pos_feats=WIDTH, normalize=True), d_model=WIDTH, fpn_interp_model="nearest",
        backbone_channel_list=[128, 64, 32, 16], fpn_top_down_levels=[2, 3],
    )  # fmt: skip
    memory = torch.nn.Identity()
    memory.d_model, memory.out_dim = WIDTH, 64  # which pictures do not use
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        original = perturbed(
            base.SAM2Base(
                ImageEncoder(trunk=trunk, neck=neck, scalp=1), memory, memory, image_size=SIDE,
                directly_add_no_mem_embed=True, use_high_res_features_in_sam=True, iou_prediction_use_sigmoid=True,
                pred_obj_scores=True, pred_obj_scores_mlp=True, multimask_output_in_sam=True,
                sam_mask_decoder_extra_args={
                    "dynamic_multimask_via_stability": True, "dynamic_multimask_stability_delta": 0.05,
                    "dynamic_multimask_stability_thresh": 0.98,
                },
            ),
            0.05,
        )  # fmt: skip
    segmenter = from_original_sam2(original.state_dict(), "x.pt", "sam2", {}, SIDE, TRUNKS).eval()
    image = picture(SIDE)
    with torch.no_grad():
        out = original.forward_image(segmenter.frame.pixels(image))
        maps = [*out["backbone_fpn"][:2], out["backbone_fpn"][2] + original.no_mem_embed.view(1, -1, 1, 1)]
        embeddings = segmenter.encode(image)
        for ours, theirs in zip(embeddings.maps, maps, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
        corners = BOXES.view(-1, 2, 2)  # a box is two points of labels 2 and 3, as its predictor for pictures says
        labels = torch.tensor([[2, 3]] * len(BOXES))
        sparse, dense = original.sam_prompt_encoder(points=(corners, labels), boxes=None, masks=None)
        masks, iou, _, _ = original.sam_mask_decoder(
            image_embeddings=maps[2], image_pe=original.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse, dense_prompt_embeddings=dense, multimask_output=False, repeat_image=True,
            high_res_features=maps[:2],
        )  # fmt: skip
        ours = segmenter.decode(embeddings, Prompts(ones(2), boxes_px=BOXES))
    assert (ours.low_res_masks - masks[:, 0]).abs().max() < 1e-3 * masks.abs().max()
    torch.testing.assert_close(ours.iou, iou[:, 0], rtol=1e-3, atol=1e-4)
