"""CT slices in memory to batches of normalised 224 px input of a 2D encoder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from monai import transforms

from medvfm.core.image import Image
from medvfm.core.recipe_sections import Prepare
from medvfm.models.inputs.contract import InputContract
from medvfm.models.inputs.resizing import lowpass_resized
from medvfm.models.inputs.slice_stacks import SliceStackPreparer, as_batch
from tests.benchmarks import scans
from tests.benchmarks.measure import Row, fastest

SLICES, BATCH, SIDE_PX, WINDOW_HU = 64, 8, 224, (-150, 250)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ALIKE = 0.01  # mean difference in deviations: MONAI blurs with a Gaussian before it samples, a resize averages
WORKLOAD = (
    f"{SLICES} slices of 512 x 512 HU, windowed, low-passed and resized to {SIDE_PX} px, three channels, normalised, "
    f"in batches of {BATCH}, one thread; equal but for the low-pass filter: {100 * ALIKE:g}% of a deviation on average"
)


def rows(_folder: Path) -> Iterator[Row]:
    """Beside a MONAI Compose with anti-aliasing; both on one thread, as in a loader worker."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield _row()
    finally:
        torch.set_num_threads(threads)


def _row() -> Row:
    volume = scans.ct_volume(SLICES)
    affine = np.diag([*scans.SPACING_MM, 1.0])
    contract = InputContract((SIDE_PX, SIDE_PX), interpolation="bilinear", mean=MEAN, std=STD)
    prepare = SliceStackPreparer(contract, Prepare.model_validate({"windows": list(WINDOW_HU)}))
    compose = transforms.Compose(
        [
            transforms.EnsureChannelFirst(channel_dim="no_channel"),
            transforms.ScaleIntensityRange(*WINDOW_HU, 0, 1, clip=True),
            transforms.Resize((SIDE_PX, SIDE_PX), mode="bilinear", anti_aliasing=True),
            transforms.RepeatChannel(3),
            transforms.NormalizeIntensity(subtrahend=list(MEAN), divisor=list(STD), channel_wise=True),
        ]
    )
    floats = [torch.from_numpy(hu[None, None].astype(np.float32)) for hu in volume]

    def ours() -> list[torch.Tensor]:
        found = []
        for at in range(0, SLICES, BATCH):
            images = [Image(hu.T[:, :, None], affine, unit="HU") for hu in volume[at : at + BATCH]]
            found.append(contract.normalise(as_batch([prepare.of_image(i) for i in images])["pictures"]))
        return found

    def monai() -> list[torch.Tensor]:
        parts = range(0, SLICES, BATCH)
        return [torch.stack([compose(hu).as_tensor() for hu in volume[at : at + BATCH]]) for at in parts]

    def floor() -> list[torch.Tensor]:
        return [lowpass_resized(one, (SIDE_PX, SIDE_PX), "bilinear") for one in floats]

    one, other = torch.cat(ours()), torch.cat(monai())
    equal = one.shape == other.shape and float((one - other).abs().mean() / other.std()) < ALIKE
    found = fastest({"medvfm": ours, "monai": monai, "floor": floor}, 7, {"monai": 3})
    limit = {"limit": found["floor"], "limit_name": "the low-passed resize of one channel alone"}
    return Row("inputs_224", WORKLOAD, "a MONAI Compose", found["medvfm"], found["monai"], 8, equal, **limit)
