"""SAM 2's memory of video on a volume: slices are frames, and masks propagate from a prompted slice to the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import transformers
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from medvfm.core.errors import WeightsError
from medvfm.models.sam.embedding_cache import three_or_one
from medvfm.models.sam.frame import SamFrame
from medvfm.models.sam.from_transformers import loaded
from medvfm.models.sam.prompt_sources import ObjectPrompt, as_prompts
from medvfm.models.weights import locate

_BOX_CORNERS = (2, 3)  # labels of points that are the corners of a box

SliceReader = Callable[[int], np.ndarray]  # the picture (C, H, W) in [0, 1] of a slice


class _Frames(dict):
    """Frames of a session, prepared on access: a long volume costs the memory of one frame."""

    def __init__(self, pictures: SliceReader, count: int, frame: SamFrame) -> None:
        super().__init__()
        self._pictures, self._count, self._frame = pictures, count, frame

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, s: int) -> torch.Tensor:
        picture = np.array(three_or_one(self._pictures(s)), dtype=np.float32)
        return self._frame.pixels(torch.from_numpy(picture)[None])[0]


class VideoMemory:
    """A checkpoint of SAM 2 or 2.1 for video."""

    def __init__(self, model: Any, frame: SamFrame) -> None:
        self.model, self.frame = model.eval(), frame
        config = model.config
        # The frames that a frame attends to: memories of so many, and object pointers of so many.
        self._reach = max(int(config.num_maskmem), int(config.max_object_pointers_in_encoder)) + 1

    @torch.inference_mode()
    def propagate(
        self,
        pictures: SliceReader,
        count: int,
        seed: int,
        objects: Sequence[ObjectPrompt],
        original_size_px: tuple[int, int],
        device: torch.device | str = "cpu",
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """(slice, logits (M, H, W)) of every slice of a volume of `count`, from prompts of M structures on one slice.

        Slices after the first one come in order, then those before it, backwards, with a memory of their own.
        """
        self.model.to(device)
        for backwards in (False, True):
            if backwards and seed == 0:
                return
            session = self._session(pictures, count, seed, objects, original_size_px)
            for output in self.model.propagate_in_video_iterator(session, start_frame_idx=seed, reverse=backwards):
                s = int(output.frame_idx)
                self._forget(session, s)
                if not (backwards and s == seed):
                    yield s, self.frame.masks(output.pred_masks[:, 0], original_size_px)

    def _session(
        self,
        pictures: SliceReader,
        count: int,
        seed: int,
        objects: Sequence[ObjectPrompt],
        original_size_px: tuple[int, int],
    ) -> Any:
        device = next(self.model.parameters()).device
        session = Sam2VideoInferenceSession(
            dtype=torch.float32,
            video_height=original_size_px[0],
            video_width=original_size_px[1],
            inference_device=device,
            inference_state_device=device,
        )
        session.processed_frames = _Frames(pictures, count, self.frame)
        for number, one in enumerate(objects):
            given = self.frame.prompts(as_prompts([one], original_size_px), original_size_px)
            points, labels = [], []
            if given.boxes_px is not None:
                points.append(given.boxes_px.view(1, 1, 2, 2))
                labels.append(torch.tensor([[_BOX_CORNERS]], dtype=torch.int32))
            if given.points_px is not None and given.point_labels is not None:
                points.append(given.points_px[None])
                labels.append(given.point_labels[None].int())
            row = session.obj_id_to_idx(number)
            session.add_point_inputs(
                row, seed, {"point_coords": torch.cat(points, 2), "point_labels": torch.cat(labels, 2)}
            )
        session.obj_with_new_inputs = list(range(len(objects)))
        return session

    def _forget(self, session: Any, s: int) -> None:
        """Delete outputs that no later frame attends to."""
        for outputs in session.output_dict_per_obj.values():
            kept = outputs["non_cond_frame_outputs"]
            for old in [f for f in kept if abs(f - s) > self._reach]:
                del kept[old]


def load_video_memory(weights: str) -> VideoMemory:
    """A hub id or a folder of model_type sam2_video, every key accounted for."""
    found = locate(weights)
    if found.config().get("model_type") != "sam2_video":
        raise WeightsError(
            "these weights hold no memory of video",
            where=weights,
            remedy="take a checkpoint of SAM 2 for video, or options.propagate: slices",
        )
    model, _ = loaded(transformers.Sam2VideoModel, found, may_miss=(), may_leave=())
    return VideoMemory(model, SamFrame("sam2", side_px=int(model.config.prompt_encoder_config.image_size)))
