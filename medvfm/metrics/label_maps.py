"""Two label maps of one case, counted together: which value of the one lies on which of the other, and how often."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from medvfm.core.errors import PredictionError

LabelMap = np.ndarray | Tensor

CHUNK_VOXELS = 2**22  # 16 MiB of int32 codes at a time, whatever the volume
# A table of all pairs is counted in one pass while it is this small (2,000 labels); else chunks are sorted.
TABLE_CELLS = 2**22
MOST = 2**31 - 1  # of a label's value, so that a pair of them fits int64


class Joint(NamedTuple):
    """Every pair of values that occurs, 0 among them: truth, prediction and voxels are (q,) int64."""

    truth: Tensor
    prediction: Tensor
    voxels: Tensor


def joint_counts(truth: LabelMap, prediction: LabelMap) -> Joint:
    """Pairs of values at the same voxel of two whole-number arrays of one shape, with how often each occurs.

    One pass in chunks, on the device where a tensor lies. Raises PredictionError for shapes that differ, and for values
    that are no labels: negative, or of a floating type.
    """
    truth, prediction = checked_pair(truth, prediction)
    width = _greatest("prediction", prediction) + 1
    cells = (_greatest("truth", truth) + 1) * width
    codes = _codes(truth, prediction, width, torch.int32 if cells <= MOST else torch.int64)
    if cells <= TABLE_CELLS:
        table = sum(torch.bincount(chunk, minlength=cells) for chunk in codes)
        assert isinstance(table, Tensor)
        occurring = table.nonzero()[:, 0]
        voxels = table[occurring]
    else:
        parts = [chunk.long().unique(return_counts=True) for chunk in codes]
        occurring, place = torch.cat([code for code, _ in parts]).unique(return_inverse=True)
        voxels = torch.zeros_like(occurring).index_add_(0, place, torch.cat([count for _, count in parts]))
    return Joint(occurring // width, occurring % width, voxels)


def checked_pair(truth: LabelMap, prediction: LabelMap) -> tuple[LabelMap, LabelMap]:
    """Both of one shape, of whole numbers or bool; NumPy arrays where they lie in the main memory."""
    if tuple(truth.shape) != tuple(prediction.shape):
        raise PredictionError(f"truth {tuple(truth.shape)} and prediction {tuple(prediction.shape)} differ in shape")
    if 0 in truth.shape:
        raise PredictionError(f"label maps of shape {tuple(truth.shape)} hold no voxel")
    return _checked("truth", truth), _checked("prediction", prediction)


def _checked(name: str, array: LabelMap) -> LabelMap:
    if isinstance(array, Tensor):
        if array.dtype.is_floating_point or array.dtype.is_complex:
            raise PredictionError(f"{name} of {array.dtype} is no label map: labels are whole numbers")
        return array.numpy() if array.device.type == "cpu" else array
    if array.dtype.kind not in "bui":
        raise PredictionError(f"{name} of {array.dtype} is no label map: labels are whole numbers")
    return array


def _greatest(name: str, array: LabelMap) -> int:
    """An upper bound of the values; for one byte it costs no pass."""
    if array.dtype in (np.bool_, np.uint8, torch.bool, torch.uint8):
        return 255
    if isinstance(array, Tensor):  # not every whole-number type of torch knows min and max
        array = array.long()
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > MOST:
        raise PredictionError(f"{name} holds {low if low < 0 else high}: labels lie between 0 and {MOST}")
    return high


def _codes(truth: LabelMap, prediction: LabelMap, width: int, dtype: torch.dtype) -> Iterator[Tensor]:
    """truth * width + prediction, flat, chunk by chunk.

    Axes go in the order that they have in memory (in NIfTI the first runs fastest), so that no chunk strides through
    the whole volume; counts do not depend on the order of voxels.
    """
    device = next((a.device for a in (truth, prediction) if isinstance(a, Tensor)), torch.device("cpu"))
    strides = truth.stride() if isinstance(truth, Tensor) else truth.strides
    order = sorted(range(truth.ndim), key=lambda axis: (truth.shape[axis] == 1, -abs(strides[axis])))
    truth, prediction = (
        (a.permute(order) if isinstance(a, Tensor) else a.transpose(order)) if order else a.reshape(1)
        for a in (truth, prediction)
    )
    step = max(1, CHUNK_VOXELS // max(1, int(np.prod(truth.shape[1:]))))
    for first in range(0, truth.shape[0], step):
        part = slice(first, first + step)
        codes = _flat(truth[part], device, dtype).mul_(width)
        yield codes.add_(_flat(prediction[part], device, dtype))


def _flat(part: LabelMap, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(n,) copy of a part of a map."""
    if isinstance(part, Tensor):
        return part.reshape(-1).to(device, dtype, copy=True)
    # NumPy converts: it knows the byte orders, negative strides and read-only files that torch does not.
    kind = np.int32 if dtype == torch.int32 else np.int64
    return torch.from_numpy(part.astype(kind, order="C").reshape(-1)).to(device)
