"""Resizing by weighted sums of rows beside torch's kernel, by which models were trained, in double precision.

In single precision torch rounds where each weight's centre lies, which costs it up to 2e-5.
"""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from medvfm.models.inputs.resizing import lowpass_resized

SIZES = [
    ((512, 512), (224, 224)),
    ((224, 224), (512, 512)),  # enlarged: interpolated without a low-pass
    ((37, 301), (64, 100)),  # one side grows, one shrinks
    ((300, 224), (224, 224)),  # one side stays
    ((1, 5), (7, 1)),
    ((2, 3), (1, 1)),
    ((1000, 3), (5, 1000)),
    ((3000, 2500), (224, 224)),
]


@pytest.mark.parametrize("filtering", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("before", "after"), SIZES)
def test_resizing_is_that_of_torch(before: tuple[int, int], after: tuple[int, int], filtering: str) -> None:
    pictures = torch.rand(2, 3, *before, generator=torch.Generator().manual_seed(1))
    theirs = functional.interpolate(pictures.double(), after, mode=filtering, align_corners=False, antialias=True)
    ours = lowpass_resized(pictures, after, filtering)  # type: ignore[arg-type]
    assert ours.shape == theirs.shape
    assert ours.is_contiguous()
    torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=3e-6)


def test_views_and_no_pictures_are_resized_too() -> None:
    pictures = torch.rand(1, 3, 40, 50, generator=torch.Generator().manual_seed(1))
    across = pictures.transpose(2, 3)[:, :, ::2]
    theirs = functional.interpolate(across.double(), (12, 9), mode="bicubic", antialias=True)
    torch.testing.assert_close(lowpass_resized(across, (12, 9), "bicubic").double(), theirs, rtol=0, atol=3e-6)
    assert lowpass_resized(pictures[:0], (12, 9), "bicubic").shape == (0, 3, 12, 9)


def test_gradients_pass_through_a_resize() -> None:
    pictures = torch.rand(1, 1, 20, 20, requires_grad=True)
    with torch.inference_mode():
        lowpass_resized(pictures.detach(), (8, 8), "bilinear")  # the weights that are kept must not be of this mode
    lowpass_resized(pictures, (8, 8), "bilinear").sum().backward()
    assert pictures.grad is not None
    torch.testing.assert_close(pictures.grad.sum(), torch.tensor(64.0))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_other_types_and_gradients_are_left_to_torch(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functional, "embedding_bag", None)
    pictures = torch.rand(1, 1, 20, 30, dtype=dtype, requires_grad=dtype == torch.float32)
    assert lowpass_resized(pictures, (8, 8), "bilinear").dtype == dtype


def test_no_picture_wider_than_a_tile_reaches_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    widths, plain = set(), functional.embedding_bag

    def seen(sources: torch.Tensor, rows: torch.Tensor, *given: object, **more: object) -> torch.Tensor:
        widths.add(rows.shape[1])
        return plain(sources, rows, *given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(functional, "embedding_bag", seen)
    lowpass_resized(torch.rand(1, 1, 20, 1100), (600, 8), "bilinear")
    assert widths == {512, 1100 - 2 * 512, 600 - 512}


def test_autocast_keeps_the_precision_of_pictures() -> None:
    pictures = torch.rand(1, 1, 40, 50, generator=torch.Generator().manual_seed(1))
    outside = lowpass_resized(pictures, (8, 8), "bilinear")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(lowpass_resized(pictures, (8, 8), "bilinear"), outside)
