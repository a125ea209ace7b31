"""An accelerator that is pretended: what would fail on a real one for want of a `device=`, fails here too.

Inside `pretended()`, tensors that `moved` has marked say that they lie on `cuda`; what is computed from them lies there
as well, and what is made without a device lies on the host. To mix both is refused, as CUDA refuses it, and so is what
brings more than `few` numbers to the host. All numbers come from the CPU.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("cuda", 0)
TO_HOST = {Tensor.cpu, Tensor.numpy, Tensor.tolist, Tensor.item, Tensor.__array__}
INDEXING = {Tensor.__getitem__, Tensor.__setitem__}  # CUDA takes indices of the host
MOVES = {Tensor.to, torch.as_tensor, torch.tensor}


class _There(Tensor):
    """Says that it lies on the accelerator."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} outside of `pretended()`")


def moved(tensor: Tensor) -> Tensor:
    with torch._C.DisableTorchFunctionSubclass():
        return tensor.as_subclass(_There)


def back(tensor: Tensor) -> Tensor:
    """Of the host; AssertionError where it was there already."""
    assert type(tensor) is _There, "the result lies on the host"
    with torch._C.DisableTorchFunctionSubclass():
        return tensor.as_subclass(Tensor)


@contextlib.contextmanager
def pretended(few: int = 0) -> Iterator[None]:
    with _Pretending(few):
        yield


class _Pretending(TorchFunctionMode):
    def __init__(self, few: int) -> None:
        self.few = few

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            return self._answered(func, args, kwargs or {})

    def _answered(self, func: Any, args: Any, kwargs: Any) -> Any:
        leaves = tree_leaves((args, kwargs))
        there = [leaf for leaf in leaves if type(leaf) is _There]
        if there and func in (Tensor.device.__get__, Tensor.is_cuda.__get__):
            return DEVICE if func == Tensor.device.__get__ else True
        asked = [torch.device(leaf).type for leaf in leaves if _is_device(leaf)]
        goes = DEVICE.type in asked
        comes = bool(there) and not goes and (func in TO_HOST or bool(asked))
        if comes:
            most = max(tensor.numel() for tensor in there)
            assert most <= max(self.few, 1), f"{func} brings {most} numbers to the host"
        elif there and func not in INDEXING | MOVES:
            host = [leaf for leaf in leaves if isinstance(leaf, Tensor) and type(leaf) is not _There]
            assert all(tensor.dim() == 0 for tensor in host), f"{func} mixes tensors of two devices"
        found = func(*tree_map(_here, args), **tree_map(_here, kwargs))
        if not goes and (comes or not there):
            return found
        return tree_map(lambda leaf: leaf.as_subclass(_There) if isinstance(leaf, Tensor) else leaf, found)


def _is_device(leaf: Any) -> bool:
    return isinstance(leaf, torch.device) or (isinstance(leaf, str) and leaf in ("cpu", "cuda", "cuda:0"))


def _here(leaf: Any) -> Any:
    if _is_device(leaf):
        return torch.device("cpu")
    return leaf.as_subclass(Tensor) if type(leaf) is _There else leaf
