"""What a Methods paragraph says of a segmentation: the network, its input, its prompts, and how masks were judged."""

from __future__ import annotations

from typing import Any

from medvfm.report import segmenters, text
from medvfm.report.run_view import View

FRAMES = {  # input of promptable segmenters, by the name of the contract
    "sam": "resized until the longest side was {side} px, normalised by ImageNet's mean and deviation, and padded with "
    "zeros to a square (the contract of SAM)",
    "medsam": "resized to {side} × {side} px, and scaled from their least value to their greatest (the contract of "
    "MedSAM)",
    "sam2": "resized to {side} × {side} px, and normalised by ImageNet's mean and deviation (the contract of SAM 2)",
    "tiny": "taken at their own size, and scaled from their least value to their greatest",
}
DECODERS = {
    "linear": "a linear decoder on the last features gave",
    "conv": "a convolutional decoder on a pyramid of the encoder's features gave",
}
SLICES = {"native": "in the plane of best resolution"}
SOURCES = {
    "file": "Prompts came from a file.",
    "grid": "Prompts were a grid of points over each picture; masks that say the same were dropped by non-maximum "
    "suppression.",
    "adapter": "Prompts were boxes of a detector{weights}.",
}
VOLUMES = {"MR", "CT", "PT", "NM"}


def network(view: View) -> str | None:
    """What was pretrained or built, for what no hub has a name; None where the weights' name says it."""
    model = view.part("model")
    own = segmenters.name(view)
    if own is None:
        return None
    said = f"The network was a {own}"
    settings = view.part("model", "network")
    if settings.get("width"):
        said += f" with {settings['width']} channels at its first level"
    if "bundle" not in own:
        said += ", with weights drawn at random"
    return said + (f", used through the adapter {model['adapter']}." if model.get("adapter") else ".")


def how(view: View) -> list[str]:
    """How pictures became masks."""
    adapter = view.part("model").get("adapter")
    return {"monai": _patches, "sam": _prompted}.get(str(adapter), _dense)(view)


def _dense(view: View) -> list[str]:
    model, said = view.part("model"), []
    if VOLUMES & set(view.part("data", "card").get("modality") or []) and model.get("slices"):
        plane = SLICES.get(str(model["slices"]), str(model["slices"]))
        reach = model.get("neighbours") or 0
        beside = f", with {text.plural(reach, 'neighbour')} on either side as channels" if reach else ""
        said.append(f"Volumes were read slice by slice ({plane}){beside}.")
    if model.get("decoder"):
        decoder = DECODERS.get(str(model["decoder"]), f"a decoder ({model['decoder']}) gave")
        said.append(text.title(f"{decoder} each pixel its structure, and masks were put back on the image's grid."))
    return said


def _patches(view: View) -> list[str]:
    settings = view.part("model", "network")
    if not settings.get("patch"):
        return []
    patch = " × ".join(str(p) for p in settings["patch"])
    unit = "voxels" if len(settings["patch"]) == 3 else "pixels"
    overlap = f" with an overlap of {100 * settings['overlap']:.3g}%" if settings.get("overlap") is not None else ""
    return [
        f"It was given patches of {patch} {unit}, two of three around a structure; a sliding window of that "
        f"size{overlap} put each image together again."
    ]


def _prompted(view: View) -> list[str]:
    model, said = view.part("model"), []
    contract: dict[str, Any] = view.part("model", "contract")
    if contract.get("contract") in FRAMES:
        said.append(f"Pictures were {FRAMES[contract['contract']].replace('{side}', str(contract.get('side_px')))}.")
    prompts = model.get("prompts") or view.part("recipe", "adapter").get("prompts") or {}
    source = SOURCES.get(str(prompts.get("from") or prompts.get("origin")))
    if view.oracle is None and source:
        weights = (prompts.get("adapter") or {}).get("weights")
        said.append(source.replace("{weights}", f" ({weights})" if weights else ""))
    return said


def prompts(view: View) -> list[str]:
    """Said of every number that took prompts from the truth."""
    if view.oracle is None:
        return []
    said = [f"Prompts were taken from the truth (oracle prompt: {view.oracle}), so that all numbers of the model are "
            "those of a user who gives such prompts without error."]  # fmt: skip
    varied = dict.fromkeys(str(r["group"]).partition("=")[0] for r in view.variants())
    names = {"box_jitter_px": "boxes whose sides were off by up to a number of pixels", "clicks": "one click or more"}
    if varied:
        said.append(f"The overlap was computed again with {text.listed([names[v] for v in varied])}.")
    return said


def judging(view: View) -> list[str]:
    """The convention for empty masks, and where numbers were computed."""
    names = {r["metric"].partition("@")[0] for r in view.rows()}
    if view.part("task").get("kind") == "instances":
        return ["Objects were matched one to one within each image; values are means over images that hold objects."]
    said = ["Metrics were computed for each structure of each case on the grid of the image, and averaged over the "
            "cases that hold the structure; a missed structure counts with an overlap of 0"]  # fmt: skip
    if names & {"hd95", "assd"}:
        said[0] += ", and with the diagonal of the image as its distance"
    if names & {"hd95_detected", "assd_detected"}:
        said[0] += ", and is left out of distances where detected"
    said[0] += "."
    return said
