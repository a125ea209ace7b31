"""Object detectors in transformers' format: any checkpoint of AutoModelForObjectDetection finds boxes for prompts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import transformers

from medvfm.core.errors import WeightsError
from medvfm.models.encoders.from_transformers import quiet
from medvfm.models.weights import account, locate


class Detector:
    """A detector with the processor that its folder holds."""

    def __init__(self, model: Any, processor: Any, threshold: float, weights_record: dict[str, Any]) -> None:
        self.model, self.processor, self.threshold = model.eval(), processor, threshold
        self.weights_record = weights_record

    @property
    def names(self) -> tuple[str, ...]:
        """What it finds, in the order of its outputs."""
        return tuple(self.model.config.id2label[i] for i in sorted(self.model.config.id2label))

    @torch.inference_mode()
    def boxes(self, picture: np.ndarray) -> list[tuple[str, np.ndarray, float]]:
        """Name, box (4,) x0, y0, x1, y1 and score, best first, in a picture (C, H, W) in [0, 1].

        Detectors give the outer edges of boxes; here a box names its first and last column and row.
        """
        grey = picture if picture.shape[0] == 3 else np.repeat(picture[:1], 3, axis=0)
        image = (grey.transpose(1, 2, 0) * 255).round().clip(0, 255).astype(np.uint8)
        inputs = self.processor(images=image, return_tensors="pt")
        device = next(self.model.parameters()).device
        outputs = self.model(**{k: v.to(device) for k, v in inputs.items() if k in ("pixel_values", "pixel_mask")})
        found = self.processor.post_process_object_detection(
            outputs, threshold=self.threshold, target_sizes=[image.shape[:2]]
        )[0]
        order = found["scores"].argsort(descending=True, stable=True).tolist()
        height, width = image.shape[:2]
        result = []
        for i in order:
            x0, y0, x1, y1 = found["boxes"][i].tolist()
            box = np.array([x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)], np.float32)
            box = box.clip(0, [width - 1, height - 1, width - 1, height - 1]).astype(np.float32)
            result.append((self.model.config.id2label[int(found["labels"][i])], box, float(found["scores"][i])))
        return result


def load_detector(weights: str, threshold: float = 0.5) -> Detector:
    """A hub id or a folder, every key accounted for."""
    found = locate(weights)
    try:
        with quiet():
            model, info = transformers.AutoModelForObjectDetection.from_pretrained(
                found.folder, output_loading_info=True, local_files_only=True, trust_remote_code=False,
                weights_only=True, dtype=torch.float32,
            )  # fmt: skip
            processor = transformers.AutoImageProcessor.from_pretrained(found.folder, local_files_only=True)
    except Exception as error:  # transformers raises many kinds; all mean the same to the user
        reason = str(error).strip().splitlines()
        raise WeightsError(
            f"transformers cannot load it as a detector: {reason[0] if reason else type(error).__name__}",
            where=weights,
            remedy="give a checkpoint of AutoModelForObjectDetection with its preprocessor_config.json",
        ) from error
    account(
        weights,
        missing=info["missing_keys"],
        unexpected=info["unexpected_keys"],
        mismatched=(key if isinstance(key, str) else key[0] for key in info["mismatched_keys"]),
        may_leave=(r".*num_batches_tracked$",),
    )
    return Detector(model, processor, threshold, {**found.as_record(), "model_type": model.config.model_type})
