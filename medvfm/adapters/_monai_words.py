"""How a report calls a network of MONAI, and what it says of its input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NETWORKS = {"unet": "U-Net", "segresnet": "SegResNet", "swin_unetr": "SwinUNETR", "dynunet": "DynUNet"}
BUNDLES = {"full": "{model}, fine-tuned in full,", "zero_shot": "{model}, without any training,"}


def said(record: Mapping[str, Any]) -> dict[str, Any]:
    """From the record of the adapter and its `method`."""
    network = record["network"]
    bundle = str(record["weights"]).partition("bundle:")[2]
    title = f"{bundle} (MONAI bundle)" if bundle else f"{network['dims']}D {NETWORKS[network['network']]} of MONAI"
    width = f"The network has {network['width']} channels at its first level; initial weights were random."
    return {
        "title": title,
        "subject": BUNDLES[record["method"]].replace("{model}", title)
        if bundle
        else f"A {title}, trained from scratch,",
        "input": [*([] if bundle else [width]), _patches(network)],
        "prompts": [],
    }


def _patches(network: Mapping[str, Any]) -> str:
    patch = " × ".join(map(str, network["patch"]))
    unit = "voxels" if len(network["patch"]) == 3 else "pixels"
    return (
        f"Training patches had {patch} {unit}, two of three around a structure; images were predicted by a sliding "
        f"window of that size with an overlap of {100 * network['overlap']:.3g}%."
    )
