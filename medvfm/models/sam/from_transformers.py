"""SAM, MedSAM, SAM 2, MedSAM2 and SAM 3's tracker in transformers, as the three parts of a SamModel."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
import transformers
from torch import nn

from medvfm.core.errors import WeightsError
from medvfm.models.encoders.from_transformers import quiet
from medvfm.models.sam import original_layout, original_sam2
from medvfm.models.sam.frame import Contract, SamFrame
from medvfm.models.sam.model import SamModel
from medvfm.models.weights import Weights, account, load_strictly, read_shards, read_state_dict
from medvfm.nn.prompts import Prompts

# Of a checkpoint for video, the parts that pictures do not need.
_VIDEO = (
    r"memory_",
    r"mask_downsample",
    r"object_pointer_proj",
    r"temporal_positional_encoding_projection_layer",
    r"no_memory_positional_encoding",
    r"no_object_pointer",
    r"occlusion_spatial_embedding_parameter",
)
_SAM3_PARTS = ("vision_config", "prompt_encoder_config", "mask_decoder_config")
_SAM3_NAMES = (  # the tracker shares the detector's vision backbone
    ("detector_model.vision_encoder.backbone.", "vision_encoder.backbone."),
    ("tracker_neck.", "vision_encoder.neck."),
    ("tracker_model.", ""),
)
_SHARED = r"prompt_encoder\.shared_embedding\.positional_embedding$"  # tied to shared_image_embedding's


class SamParts(nn.Module):
    """transformers' SamModel."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.vision_encoder, self.prompt_encoder = model.vision_encoder, model.prompt_encoder
        self.mask_decoder, self.shared_image_embedding = model.mask_decoder, model.shared_image_embedding
        self.width = int(model.config.prompt_encoder_config.hidden_size)
        self.side = int(model.config.prompt_encoder_config.image_embedding_size)
        self.mask_side = 4 * self.side

    def beside_encoder(self) -> list[nn.Module]:
        return []

    def noise(self, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        return (torch.randn(1, self.width, self.side, self.side, generator=generator),)

    def image(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self.vision_encoder(pixels)[0],)

    def masks(
        self,
        maps: tuple[torch.Tensor, ...],
        prompts_model_px: Prompts,
        tokens: torch.Tensor | None,
        multimask_output: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        sparse, dense = _encoded(self.prompt_encoder, prompts_model_px, tokens)
        low_res_masks, iou = self.mask_decoder(
            image_embeddings=maps[-1][prompts_model_px.picture],
            image_positional_embeddings=_places(self, (self.side, self.side)).expand(len(sparse), -1, -1, -1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask_output,
        )[:2]
        return low_res_masks[:, 0], iou[:, 0]


class Sam2Parts(nn.Module):
    """transformers' Sam2Model: the decoder takes finer maps of the encoder too."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.vision_encoder, self.prompt_encoder = model.vision_encoder, model.prompt_encoder
        self.mask_decoder, self.shared_image_embedding = model.mask_decoder, model.shared_image_embedding
        self.no_memory_embedding = model.no_memory_embedding
        self.width = int(model.config.prompt_encoder_config.hidden_size)
        self.side = tuple(int(s) for s in self.prompt_encoder.image_embedding_size)
        self.mask_side = int(self.prompt_encoder.mask_input_size[0])

    def beside_encoder(self) -> list[nn.Module]:
        return [self.mask_decoder.conv_s0, self.mask_decoder.conv_s1]

    def noise(self, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        height, width = self.side
        return tuple(
            torch.randn(1, self.width // share, height * finer, width * finer, generator=generator)
            for share, finer in ((8, 4), (4, 2), (1, 1))
        )

    def image(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        maps = list(self.vision_encoder(pixels, return_dict=True).fpn_hidden_states)
        maps[0], maps[1] = self.mask_decoder.conv_s0(maps[0]), self.mask_decoder.conv_s1(maps[1])
        maps[-1] = maps[-1] + self.no_memory_embedding.view(1, -1, 1, 1)
        return tuple(maps)

    def masks(
        self,
        maps: tuple[torch.Tensor, ...],
        prompts_model_px: Prompts,
        tokens: torch.Tensor | None,
        multimask_output: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        sparse, dense = _encoded(self.prompt_encoder, prompts_model_px, tokens)
        rows = prompts_model_px.picture
        low_res_masks, iou = self.mask_decoder(
            image_embeddings=maps[-1][rows],
            image_positional_embeddings=_places(self, self.side).expand(len(sparse), -1, -1, -1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask_output,
            high_resolution_features=[m[rows] for m in maps[:-1]],
        )[:2]
        return low_res_masks[:, 0], iou[:, 0]


class Sam3TrackerParts(Sam2Parts):
    """transformers' Sam3TrackerModel, which decodes as SAM 2 does.

    Its neck gives a fourth map, coarser than the prompts' grid, which the tracker does not use: it is dropped before
    the embedding that stands for "no memory" is added to the last map, as transformers' Sam3TrackerVideoModel does.
    (Sam3TrackerModel of transformers 5.24 adds that embedding to the fourth map and then drops it.)
    """

    def image(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        maps = self.vision_encoder(pixels, return_dict=True).fpn_hidden_states
        fine = self.mask_decoder.conv_s0(maps[0]), self.mask_decoder.conv_s1(maps[1])
        return (*fine, maps[2] + self.no_memory_embedding.view(1, -1, 1, 1))


def _encoded(encoder: Any, prompts: Prompts, tokens: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Sparse (M, 1, T, D) and dense (M, D, h, w) embeddings: each object is a picture of its own with one prompt."""
    points, labels, boxes = prompts.points_px, prompts.point_labels, prompts.boxes_px
    if points is None and boxes is None:  # a mask alone; as the published code does, an empty point goes with it
        points = torch.zeros(len(prompts), 1, 2, device=prompts.picture.device)
        labels = torch.full((len(prompts), 1), -1, device=prompts.picture.device)
    sparse, dense = encoder(
        input_points=None if points is None else points[:, None].float(),
        input_labels=None if labels is None else labels[:, None].int(),
        input_boxes=None if boxes is None else boxes[:, None].float(),
        input_masks=None if prompts.masks is None else prompts.masks[:, None].float(),
    )
    return (sparse if tokens is None else tokens[:, None]), dense.expand(len(prompts), -1, -1, -1)


def _places(parts: Any, grid: Any) -> torch.Tensor:
    """(1, D, h, w) position encodings at the centres of the coarse map's cells."""
    table = parts.shared_image_embedding.positional_embedding
    down = (torch.arange(grid[0], device=table.device, dtype=table.dtype) + 0.5) / grid[0]
    across = (torch.arange(grid[1], device=table.device, dtype=table.dtype) + 0.5) / grid[1]
    y, x = torch.meshgrid(down, across, indexing="ij")
    return parts.shared_image_embedding(torch.stack([x, y], -1)).permute(2, 0, 1)[None]


def load_sam(weights: Weights, contract: Contract) -> SamModel:
    """SAM or MedSAM from a folder in transformers' format."""
    model, record = loaded(transformers.SamModel, weights, may_miss=(_SHARED,), may_leave=())
    frame = SamFrame(contract, side_px=int(model.config.vision_config.image_size))
    return SamModel(SamParts(model), frame, name=weights.source, weights_record=record)


def load_sam2(weights: Weights, contract: Contract = "sam2") -> SamModel:
    """SAM 2, 2.1 or MedSAM2 for pictures; the memory of a checkpoint for video is ignored."""
    model, record = loaded(transformers.Sam2Model, weights, may_miss=(), may_leave=_VIDEO)
    frame = SamFrame(contract, side_px=int(model.config.prompt_encoder_config.image_size))
    return SamModel(Sam2Parts(model), frame, name=weights.source, weights_record=record)


def load_sam3_tracker(weights: Weights) -> SamModel:
    """SAM 3's tracker for pictures: the part that answers "segment what this box holds". Detector and memory, which lie
    in the same files, are ignored.

    Keys are renamed and accounted for here, not by transformers, which begins at random where a name does not fit.
    """
    kind = getattr(transformers, "Sam3TrackerModel", None)
    if kind is None:
        raise WeightsError(
            f"transformers {transformers.__version__} has no Sam3TrackerModel", where=weights.source,
            remedy="install a newer one",
        )  # fmt: skip
    config = weights.config()
    own = config.get("tracker_config", config)
    missing = [part for part in _SAM3_PARTS if part not in own]
    if missing:
        raise WeightsError(f"its config.json says nothing of the tracker's {missing[0]}", where=weights.source)
    with quiet():
        model = kind(kind.config_class(**{part: own[part] for part in _SAM3_PARTS}))
    state = {_tracker_name(key): value for key, value in read_shards(weights.files).items()}
    left = load_strictly(model, state, weights.source, may_leave=(r"detector_model\.", *_VIDEO))
    keys = sorted({key.partition(".")[0] for key in left})
    record = {**weights.as_record(), "model_type": str(config.get("model_type")), "keys_left_unused": keys}
    frame = SamFrame("sam3", side_px=int(model.config.prompt_encoder_config.image_size))
    return SamModel(Sam3TrackerParts(model), frame, name=weights.source, weights_record=record)


def _tracker_name(key: str) -> str:
    """A key of SAM 3's checkpoint as Sam3TrackerModel names it; what is not the tracker's keeps its name."""
    for prefix, new in _SAM3_NAMES:
        if key.startswith(prefix):
            return new + key.removeprefix(prefix)
    return key


def from_original_sam2(
    state: dict[str, torch.Tensor],
    source: str,
    contract: Contract,
    record: dict[str, Any],
    side_px: int,
    trunks: Mapping[tuple[int, tuple[int, ...]], original_sam2.Trunk] = original_sam2.TRUNKS,
) -> SamModel:
    """SAM 2 or MedSAM2 from the original layout for pictures of `side_px`, every key accounted for."""
    config = transformers.Sam2Config(**original_sam2.config_of(state, source, side_px, trunks))
    converted, left = original_sam2.converted(state, source)
    model = transformers.Sam2Model(config)
    load_strictly(model, converted, source)
    _default_norms(model)
    keys = sorted({key.partition(".")[0] for key in left})
    return SamModel(
        Sam2Parts(model), SamFrame(contract, side_px=side_px), name=source,
        weights_record={**record, "layout": "sam2", "keys_left_unused": keys},
    )  # fmt: skip


def _default_norms(model: Any) -> None:
    """The originals take torch's default in the decoder; transformers' configuration has one for all norms."""
    for layer in model.mask_decoder.transformer.modules():
        if isinstance(layer, nn.LayerNorm):
            layer.eps = 1e-5


def from_original(
    state: dict[str, torch.Tensor],
    source: str,
    contract: Contract,
    record: dict[str, Any],
    decoder_heads: int = original_layout.DECODER_HEADS,
) -> SamModel:
    """SAM or MedSAM from the original layout, its sizes found from the shapes, every key accounted for."""
    config = transformers.SamConfig(**original_layout.config_of(state, source, decoder_heads))
    converted, left = original_layout.converted(state, source)
    model = transformers.SamModel(config)
    load_strictly(model, converted, source)
    _default_norms(model)
    vision: Any = config.vision_config
    sizes = {"layout": "segment-anything", "vision_width": vision.hidden_size, "vision_depth": vision.num_hidden_layers}
    frame = SamFrame(contract, side_px=int(vision.image_size))
    return SamModel(
        SamParts(model), frame, name=source, weights_record={**record, **sizes, "keys_left_unused": sorted(left)}
    )


def loaded(
    kind: Any, weights: Weights, *, may_miss: tuple[str, ...], may_leave: tuple[str, ...]
) -> tuple[Any, dict[str, Any]]:
    """The plain model in float32, every key accounted for, and its record for run.json."""
    try:
        with quiet():
            model, info = kind.from_pretrained(
                weights.folder, output_loading_info=True, local_files_only=True, trust_remote_code=False,
                weights_only=True, dtype=torch.float32,
            )  # fmt: skip
    except Exception as error:  # transformers raises many kinds for damaged files; all mean the same to the user
        reason = str(error).strip().splitlines()
        raise WeightsError(
            f"transformers cannot load it: {reason[0] if reason else type(error).__name__}",
            where=weights.source,
            remedy="only safetensors and pickles that load with weights_only=True are read",
        ) from error
    left = account(
        weights.source,
        missing=info["missing_keys"],
        unexpected={*info["unexpected_keys"], *_silently_left(model, weights, may_leave)},
        mismatched=(key if isinstance(key, str) else key[0] for key in info["mismatched_keys"]),
        may_miss=may_miss,
        may_leave=may_leave,
    )
    record = {
        **weights.as_record(),
        "model_type": model.config.model_type,
        "keys_left_unused": sorted({key.partition(".")[0] for key in left}),
    }
    return model, record


def _silently_left(model: Any, weights: Weights, may_leave: tuple[str, ...]) -> set[str]:
    """Keys of the files that transformers leaves without a word, as it does with the memory of a video model."""
    if not may_leave:
        return set()
    names = {key for file in weights.files for key in read_state_dict(file)}
    return {key for key in names - model.state_dict().keys() if any(re.match(p, key) for p in may_leave)}
