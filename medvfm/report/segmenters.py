"""Segmentation in words: who outlined what, and which truth its prompts took."""

from __future__ import annotations

from medvfm.report import text
from medvfm.report.run_view import MEAN, Row, View

NETWORKS = {"unet": "U-Net", "segresnet": "SegResNet", "swin_unetr": "SwinUNETR", "dynunet": "DynUNet"}
MOST_NAMED = 4
DENSE = {
    "dense_head": "A decoder on frozen features of {model}",
    "lora": "A decoder on {model}, the encoder adapted with LoRA,",
    "last_blocks": "A decoder on {model}, the encoder's last blocks fine-tuned,",
    "full": "A decoder on {model}, the encoder fine-tuned in full,",
}
MONAI = {"full": "{model}, trained from scratch,", "zero_shot": "{model}, without any training,"}
SAM = {
    "zero_shot": "{model}, without any training (zero-shot),",
    "decoder": "{model}, its mask decoder fine-tuned,",
    "lora": "{model}, adapted with LoRA,",
    "full": "{model}, fine-tuned in full,",
    "promptless": "{model}, with learned prompts of each class,",
}


def name(view: View) -> str | None:
    """A name for what has none of its makers: a network of MONAI, a model from scratch; None for all others."""
    model = view.part("model")
    if model.get("adapter") == "monai":
        network = view.part("model", "network")
        dims = f"{network['dims']}D " if network.get("dims") else ""
        kind = NETWORKS.get(str(network.get("network")), str(network.get("network") or "network"))
        bundle = str(model.get("weights") or "").partition("bundle:")[2]
        return f"{bundle} (bundle of MONAI)" if bundle else f"{dims}{kind} of MONAI"
    if model.get("adapter") == "sam" and model.get("weights") == "tiny":
        return "small promptable segmenter"
    return None


def subject(view: View) -> str:
    """`A 3D U-Net of MONAI, trained from scratch,`; with prompts from the truth it says so first."""
    model = view.part("model")
    if not model:
        return "The predictions"
    adapter, method = str(model.get("adapter")), str(model.get("method") or "")
    own = name(view)
    shown = own or str(model.get("weights") or adapter).removeprefix("embedded:")
    scratch = own is not None and "bundle" not in own
    heads = {"monai": MONAI, "sam": SAM}.get(adapter, DENSE)
    head = heads.get(method, "{model}, adapted by " + method.replace("_", " ") + "," if method else "{model}")
    if method == "full" and adapter in ("monai", "sam"):
        head = "{model}, trained from scratch," if scratch else "{model}, fine-tuned in full,"
    said = head.replace("{model}", f"A {shown}" if scratch else shown)
    if view.oracle is None:
        return said
    return f"With prompts from the truth (oracle prompt: {view.oracle}), {_lower(said)}"


def deed(view: View) -> str:
    """`outlined ball and box`, `outlined every nucleus`."""
    classes = [text.structure(c) for c in view.part("task").get("classes", [])]
    if view.part("task").get("kind") == "instances":
        return f"outlined every {classes[0] if classes else 'object'}"
    return f"outlined {text.listed(classes) if 0 < len(classes) <= MOST_NAMED else f'{len(classes)} structures'}"


def units(view: View, row: Row) -> str:
    """`78 images of 78 patients`: both are said wherever patients are known."""
    cases, patients = row.get("cases") or 0, row.get("patients") or 0
    found = text.plural(cases, view.unit)
    if not view.names_patients or view.unit == "patient":
        return found
    return f"{found} of {text.plural(patients, 'patient')}"


def number_name(row: Row) -> str:
    """`mean Dice`; counts of cases have no mean."""
    said = text.quantity(row["metric"])
    return f"number of {said}" if row.get("unit") == "cases" else f"mean {said}"


def over(view: View, row: Row) -> str:
    """` over 2 structures` for a number of all."""
    return f" over {len(view.part('task').get('classes', []))} structures" if row.get("target") == MEAN else ""


def _lower(said: str) -> str:
    return said[:1].lower() + said[1:] if said.startswith("A ") else said
