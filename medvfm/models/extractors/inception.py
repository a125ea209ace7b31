"""The Inception network of published FID values: TensorFlow's of 2015, as pytorch-fid carries it over.

It is torchvision's Inception v3 but for its poolings: averages in the blocks do not count the padding, and the last
block takes a maximum where the others average. Its weights are those of pytorch-fid (a file, or where torch keeps what
pytorch-fid downloaded); pictures are resized to 299 px without a low-pass filter, as pytorch-fid does, since values
compare only so.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import inception

from medvfm.core.errors import RecipeError, WeightsError
from medvfm.models.extractors.base import Extractor
from medvfm.models.weights import hub_file, licence_of, load_strictly, read_state_dict, sha256_of

FILE = "pt_inception-2015-12-05-6726825d.pth"  # the head of its hash stands in its name
FILES = (FILE, "model.safetensors", "pytorch_model.bin")
SIZE_PX, WIDTH = 299, 2048
OTHER = (
    "These are not the weights of published FID values, so that distances compare only with others of the same file."
)


class InceptionFeatures(nn.Module):
    """Pictures (n, 3, 299, 299) from -1 to 1 to (n, 2048): what the classifier would read."""

    def __init__(self) -> None:
        super().__init__()
        self.network = inception.inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
        self.network.fc = nn.Identity()
        for name, block in self.network.named_children():
            if isinstance(block, inception.InceptionA | inception.InceptionC | inception.InceptionE):
                kind = _OWN[type(block)] if name != "Mixed_7c" else LastBlock
                block.__class__ = kind  # the same layers, pooled in another way

    def forward(self, pixels: Tensor) -> Tensor:
        return self.network(pixels)


def _average(pixels: Tensor) -> Tensor:
    return functional.avg_pool2d(pixels, 3, stride=1, padding=1, count_include_pad=False)


class BlockA(inception.InceptionA):
    def _forward(self, x: Tensor) -> list[Tensor]:
        return [*super()._forward(x)[:-1], self.branch_pool(_average(x))]


class BlockC(inception.InceptionC):
    def _forward(self, x: Tensor) -> list[Tensor]:
        return [*super()._forward(x)[:-1], self.branch_pool(_average(x))]


class BlockE(inception.InceptionE):
    def _forward(self, x: Tensor) -> list[Tensor]:
        return [*super()._forward(x)[:-1], self.branch_pool(_average(x))]


class LastBlock(inception.InceptionE):
    def _forward(self, x: Tensor) -> list[Tensor]:
        return [*super()._forward(x)[:-1], self.branch_pool(functional.max_pool2d(x, 3, stride=1, padding=1))]


_OWN: dict[type, type[nn.Module]] = {
    inception.InceptionA: BlockA, inception.InceptionC: BlockC, inception.InceptionE: BlockE,
}  # fmt: skip


def load_inception(weights: str | None, size_px: int | None) -> Extractor:
    """`weights`: a file, a hub id that holds one, or None for the file that torch keeps of pytorch-fid."""
    if size_px not in (None, SIZE_PX):
        raise RecipeError(f"the extractor inception sees pictures at {SIZE_PX} px, not {size_px}")
    file = _file(weights)
    module = InceptionFeatures()
    state = read_state_dict(file)
    own = module.network.state_dict()
    counters = {key: value for key, value in own.items() if key.endswith("num_batches_tracked")}  # old files lack them
    load_strictly(module.network, {**counters, **state}, str(weights or FILE), may_leave=(r"fc\.", r"AuxLogits\."))
    digest = sha256_of([file])
    comparable = digest.startswith(FILE.rpartition("-")[2].removesuffix(".pth"))
    record = {
        "name": "inception",
        "weights": weights or FILE,
        "sha256": digest,
        "licence": licence_of(file.parent / "README.md"),
        "size_px": [SIZE_PX, SIZE_PX],
        "resize": "squash, bilinear without a low-pass filter, as pytorch-fid",
        "features": WIDTH,
        "comparable": comparable,
        "said": None if comparable else OTHER,
    }
    return Extractor(module.eval().requires_grad_(False), prepared, module, WIDTH, record)


def prepared(pictures: Tensor) -> Tensor:
    """Pictures (n, 1 or 3, h, w) in [0, 1] to (n, 3, 299, 299) from -1 to 1."""
    resized = functional.interpolate(pictures, (SIZE_PX, SIZE_PX), mode="bilinear", align_corners=False)
    return (2 * resized - 1).expand(-1, 3, -1, -1)


def _file(weights: str | None) -> Path:
    kept = Path(torch.hub.get_dir()) / "checkpoints" / FILE
    if weights is None:
        if kept.is_file():
            return kept
        raise WeightsError(
            "the weights of the extractor inception are not on this machine",
            where="extractor",
            remedy=f"name {FILE} of pytorch-fid, or a hub id that holds it, as inception:FILE; or take `embedded`",
        )
    given = Path(weights).expanduser()
    if given.is_file():
        return given
    if given.is_dir():
        found = next((given / name for name in FILES if (given / name).is_file()), None)
    elif weights.count("/") == 1 and not weights.startswith((".", "/", "~")):
        repository, _, revision = weights.partition("@")
        found = next((f for name in FILES if (f := hub_file(repository, name, revision or None))), None)
    else:
        raise WeightsError("no such file, and not a hub id of the form owner/name", where=weights)
    if found is None:
        raise WeightsError(f"holds none of {', '.join(FILES)}", where=weights)
    return found
