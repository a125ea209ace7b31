"""Cache of image embeddings by slice: on disk in half precision while the encoder is frozen, in memory within a case.

It is keyed by the pixels of a slice and not by case, since a slice is encoded once for prompts of every kind."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict

import numpy as np
import torch

from medvfm.io.cache import ArrayCache
from medvfm.models.sam.model import ImageEmbeddings, SamModel

MEMORY_BYTES = 2**30


class EmbeddingCache:
    """Encodes one picture at a time with the current weights."""

    def __init__(self, segmenter: SamModel) -> None:
        self._segmenter, self._disk = segmenter, ArrayCache("embeddings")
        self._recent: OrderedDict[str, ImageEmbeddings] = OrderedDict()
        weights = segmenter.weights_record["sha256"]
        self._model = json.dumps([weights, segmenter.frame.as_record()], sort_keys=True)

    def __call__(self, picture: np.ndarray, *, frozen: bool, remember: bool = False) -> ImageEmbeddings:
        """Embeddings of a picture (C, H, W) in [0, 1].

        frozen    the encoder's weights are those that were loaded: embeddings are read from disk and written there
        remember  keep it in memory too, for a case whose slices are visited more than once
        """
        key = self._key(picture)
        if remember and key in self._recent:
            self._recent.move_to_end(key)
            return self._recent[key].to(self._segmenter.device)
        found = self._from_disk(key, picture) if frozen and self._segmenter.name != "tiny" else self._encoded(picture)
        if remember:
            self._recent[key] = ImageEmbeddings(tuple(m.half().cpu() for m in found.maps), found.original_size_px)
            while len(self._recent) > 1 and sum(map(_bytes, self._recent.values())) > MEMORY_BYTES:
                self._recent.popitem(last=False)
        return found

    def forget(self) -> None:
        """Empty the memory; to be called when a case is done, or weights change."""
        self._recent.clear()

    def _key(self, picture: np.ndarray) -> str:
        pixels = np.ascontiguousarray(picture, np.float16)
        return f"{self._model}-{pixels.shape}-{hashlib.sha256(pixels.tobytes()).hexdigest()}"

    def _encoded(self, picture: np.ndarray) -> ImageEmbeddings:
        pixels = torch.from_numpy(np.array(three_or_one(picture), dtype=np.float32))[None]
        with torch.inference_mode():
            return self._segmenter.encode(pixels)

    def _from_disk(self, key: str, picture: np.ndarray) -> ImageEmbeddings:
        size = (int(picture.shape[-2]), int(picture.shape[-1]))
        maps: list[np.ndarray] = []
        while (array := self._disk.get(f"{key}-{len(maps)}")) is not None:
            maps.append(array)
        done = self._disk.get(f"{key}-count")
        if done is not None and int(done[0]) == len(maps):
            return ImageEmbeddings.of_arrays(maps, size).to(self._segmenter.device)
        encoded = self._encoded(picture)
        arrays = encoded.arrays()
        for number, array in enumerate(arrays):
            self._disk.put(f"{key}-{number}", array)
        self._disk.put(f"{key}-count", np.array([len(arrays)]))
        # Later runs read half precision, so the first run rounds too.
        return ImageEmbeddings.of_arrays(arrays, size).to(self._segmenter.device)


def three_or_one(picture: np.ndarray) -> np.ndarray:
    """(1 or 3, H, W): the first three channels; of two, the second is repeated; a single one stays gray."""
    channels = picture.shape[0]
    if channels in (1, 3):
        return picture
    return np.concatenate([picture, picture[-1:]]) if channels == 2 else picture[:3]


def _bytes(embeddings: ImageEmbeddings) -> int:
    return sum(m.numel() * m.element_size() for m in embeddings.maps)
