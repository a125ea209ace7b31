"""The memory of SAM 2 on a volume against transformers' own session, which holds every frame."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers as T

from medvfm.core.errors import WeightsError
from medvfm.models.sam.load import load_segmenter
from medvfm.models.sam.prompt_sources import ObjectPrompt
from medvfm.models.sam.video_memory import load_video_memory
from medvfm.nn.prompts import Prompts
from tests.samples.sam_models import DECODER, HIERA, perturbed

SIDE, WIDTH = 64, 128


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("sam2_video")
    vision = {
        "backbone_config": dict(HIERA), "backbone_channel_list": [128, 64, 32, 16], "fpn_hidden_size": WIDTH,
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
    }  # fmt: skip
    prompt = {"hidden_size": WIDTH, "image_size": SIDE, "patch_size": 16, "mask_input_channels": 16}
    config = T.Sam2VideoConfig(
        vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config={**DECODER, "hidden_size": WIDTH},
        image_size=SIDE, num_maskmem=3, max_object_pointers_in_encoder=2, memory_attention_hidden_size=WIDTH,
        memory_attention_num_layers=1, memory_attention_feed_forward_hidden_size=64,
        memory_attention_rope_feat_sizes=[4, 4], memory_encoder_hidden_size=WIDTH, memory_encoder_output_channels=64,
        mask_downsampler_embed_dim=WIDTH, memory_fuser_embed_dim=WIDTH, memory_fuser_num_layers=1,
        memory_fuser_intermediate_dim=64,
    )  # fmt: skip
    perturbed(T.Sam2VideoModel(config), 0.05).save_pretrained(place)
    return place


def slices(count: int) -> np.ndarray:
    """(1, S, H, W): a disc that moves and grows."""
    y, x = np.mgrid[:SIDE, :SIDE]
    discs = [(x - 20 - 2 * s) ** 2 + (y - 30) ** 2 < (8 + s) ** 2 for s in range(count)]
    return (0.2 + 0.6 * np.stack(discs))[None].astype(np.float16)


def test_masks_are_those_of_transformers_session(folder):
    pixels, seed, box = slices(9), 3, np.array([15, 20, 38, 42], np.float32)
    memory = load_video_memory(str(folder))
    found = dict(memory.propagate(lambda s: pixels[:, s], 9, seed, [ObjectPrompt(1, box_px=box)], (SIDE, SIDE)))
    assert sorted(found) == list(range(9))
    model = T.Sam2VideoModel.from_pretrained(folder).eval()
    video = torch.stack(
        [memory.frame.pixels(torch.from_numpy(pixels[:, s].astype(np.float32))[None])[0] for s in range(9)]
    )
    for backwards in (False, True):
        session = T.Sam2VideoInferenceSession(video=video, video_height=SIDE, video_width=SIDE, dtype=torch.float32)
        row = session.obj_id_to_idx(1)
        coords, labels = torch.from_numpy(box).view(1, 1, 2, 2), torch.tensor([[[2, 3]]], dtype=torch.int32)
        session.add_point_inputs(row, seed, {"point_coords": coords, "point_labels": labels})
        session.obj_with_new_inputs = [1]
        with torch.inference_mode():
            for output in model.propagate_in_video_iterator(session, start_frame_idx=seed, reverse=backwards):
                theirs = torch.nn.functional.interpolate(output.pred_masks, (SIDE, SIDE), mode="bilinear")[0, 0]
                assert torch.allclose(found[output.frame_idx][0], theirs, atol=1e-4 * float(theirs.abs().max()))


def test_memory_holds_a_few_slices_whatever_the_length(folder):
    pixels, memory = slices(9), load_video_memory(str(folder))
    held = []
    forget = memory._forget
    memory._forget = lambda session, s: (forget(session, s), held.append(
        len(session.output_dict_per_obj[0]["non_cond_frame_outputs"])))  # fmt: skip
    asked = [ObjectPrompt(1, box_px=np.array([10, 20, 30, 40], np.float32))]
    for _ in memory.propagate(lambda s: pixels[:, s % 9], 30, 0, asked, (SIDE, SIDE)):
        pass
    assert max(held) <= 6 and len(held) == 30


def test_a_checkpoint_for_video_segments_pictures_too(folder):
    segmenter = load_segmenter(str(folder))
    left = segmenter.weights_record["keys_left_unused"]
    assert "memory_attention" in left and "mask_decoder" not in left
    with torch.inference_mode():
        embeddings = segmenter.encode(torch.from_numpy(slices(1)[:, 0].astype(np.float32))[None])
        boxes = torch.tensor([[10.0, 20, 30, 40]])
        ours = segmenter.decode(embeddings, Prompts(torch.zeros(1, dtype=torch.long), boxes))
        model = T.Sam2Model.from_pretrained(folder).eval()
        pixels = segmenter.frame.pixels(torch.from_numpy(slices(1)[:, 0].astype(np.float32))[None])
        theirs = model(pixels, input_boxes=boxes[None], multimask_output=False)
    assert torch.allclose(ours.low_res_masks[0], theirs.pred_masks[0, 0, 0], atol=1e-4)


def test_weights_without_memory_are_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "sam2"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match="propagate: slices"):
        load_video_memory(str(tmp_path))
