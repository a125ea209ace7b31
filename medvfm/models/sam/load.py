"""Promptable segmentation models by name: from a recipe's `weights` to a model with its input contract."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from medvfm.core.errors import WeightsError, nearest
from medvfm.models.sam.frame import Contract, SamFrame
from medvfm.models.sam.model import SamModel
from medvfm.models.weights import Weights, hub_file, locate, read_json, read_state_dict, sha256_of

# transformers is imported where it is needed: it takes seconds.

HUB_FILES: dict[str, tuple[str, Contract]] = {"wanglab/medsam2": ("MedSAM2_latest.pt", "medsam2")}  # no config.json
ORIGINAL_SIDES_PX: dict[str, int] = {"sam2": 1024, "medsam2": 512}  # which stands in no checkpoint
HUB_CONTRACTS: tuple[tuple[str, Contract], ...] = (
    ("facebook/sam-vit-", "sam"),
    ("facebook/sam2", "sam2"),
    ("wanglab/medsam-", "medsam"),
)
# segment-anything names its files after the first letters of their sha256: sam_vit_b_01ec64.pth and so on.
ORIGINAL_SAM_SHA256 = ("01ec64", "0b3195", "4b8939")
MARKER = "medvfm_input_contract"  # a key of config.json: what weights that were fine-tuned elsewhere expect
_CHOICES: dict[str, Contract] = {"sam": "sam", "medsam": "medsam"}
_SAM2_CHOICES: dict[str, Contract] = {"sam2": "sam2", "medsam2": "medsam2"}
_TYPES = ("sam", "sam2", "sam2_video", "sam3_tracker", "sam3_tracker_video", "sam3_video")
_SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")


def load_segmenter(weights: str, *, contract: str | None = None, seed: int = 0, size_px: int | None = None) -> SamModel:
    """A segmenter in evaluation mode, in float32 on the CPU; `size_px`: for pictures of another size than its own."""
    found = _loaded(weights, contract, seed)
    if size_px is None:
        return found
    if found.frame.contract == "tiny":
        found.frame = found.frame.at(size_px, 1)
        return found
    if found.frame.contract == "sam3" and size_px != found.frame.side_px:
        raise WeightsError(
            f"SAM 3 sees pictures of {found.frame.side_px} px and no others", where=weights,
            remedy="leave out prepare.size",
        )  # fmt: skip
    from medvfm.models.sam.resized import at_size

    return at_size(found, size_px)


def _loaded(weights: str, contract: str | None, seed: int) -> SamModel:
    """The segmenter at its own size.

    `weights` is one of

    tiny                          a small network from scratch, initialised from `seed`
    owner/name, owner/name@REV    a hub repository: SAM, MedSAM, SAM 2 or 2.1, or SAM 3 (its tracker) in transformers'
                                  format; wanglab/MedSAM2 in its own
    a folder                      the same on disk
    a file (.pth, .pt)            a checkpoint of segment-anything, MedSAM, SAM 2 or MedSAM2 in its original layout

    SAM and MedSAM have one architecture and two input contracts. Which one is meant is, in this order: `contract`;
    the hub id of the published models; the key `medvfm_input_contract` of a folder's config.json; the sha256 of the
    three published checkpoints of segment-anything. Otherwise the weights are refused: the processor that
    MedSAM ships is SAM's, so no file in its folder tells them apart. SAM 2 and MedSAM2 differ in the same way, and are
    told apart by `contract`, by the hub id, or by the key in config.json.
    """
    if contract not in (None, "sam", "medsam", "sam2", "medsam2", "sam3"):
        known = ("sam", "medsam", "sam2", "medsam2", "sam3")
        raise WeightsError(f"no input contract {contract!r}", where=weights, remedy=nearest(contract, known))
    if weights == "tiny":
        return _tiny(seed)
    file = Path(weights).expanduser()
    if file.is_file() or file.suffix in _SUFFIXES:
        return _original(weights, file, contract)
    if weights.partition("@")[0].lower() in HUB_FILES and not file.exists():
        return _hub_checkpoint(weights, contract)
    found = locate(weights)
    config = found.config()
    model_type = str(config.get("model_type"))
    if model_type not in _TYPES:
        raise WeightsError(
            f"no promptable segmenter of model_type {model_type!r} is known",
            where=weights,
            remedy=nearest(model_type, _TYPES),
        )
    from medvfm.models.sam.from_transformers import load_sam, load_sam2, load_sam3_tracker

    if model_type == "sam":
        return load_sam(found, _sam_or_medsam(found, config, contract)).eval()
    if model_type.startswith("sam3"):
        _only("sam3", contract, weights)
        return load_sam3_tracker(found).eval()
    own = _SAM2_CHOICES.get(contract or str(config.get(MARKER, "sam2")))
    if own is None:
        _only("sam2", contract or str(config[MARKER]), weights)
    return load_sam2(found, own or "sam2").eval()


def _hub_checkpoint(weights: str, contract: str | None) -> SamModel:
    """A repository that holds a checkpoint in its original layout, and no config.json."""
    repository, _, revision = weights.partition("@")
    name, own = HUB_FILES[repository.lower()]
    _only(own, contract, weights)
    file = hub_file(repository, name, revision or None)
    if file is None:
        raise WeightsError(f"the hub repository holds no {name}", where=weights)
    return replace_name(_original(weights, file, own), weights)


def _sam_or_medsam(found: Weights, config: dict[str, Any], contract: str | None) -> Contract:
    if contract in _CHOICES:
        return _CHOICES[contract]
    if contract is not None:
        raise WeightsError(f"SAM's architecture does not take the input contract {contract!r}", where=found.source)
    for prefix, known in HUB_CONTRACTS:
        if found.source.lower().startswith(prefix) and known != "sam2" and not Path(found.source).is_dir():
            return known
    marked = config.get(MARKER)
    if marked in _CHOICES:
        return _CHOICES[marked]
    if marked is not None:
        raise WeightsError(f"its config.json has {MARKER}: {marked!r}", where=found.source, remedy="sam or medsam")
    raise _cannot_tell(found.source)


def _cannot_tell(source: str) -> WeightsError:
    return WeightsError(
        "nothing says whether these weights take SAM's input (longest side 1024, padded, mean and deviation) or "
        "MedSAM's (square 1024, least to greatest as 0 to 1), and the wrong one gives worse masks without a word",
        where=source,
        remedy="set adapter.options.contract to sam or to medsam",
    )


def _only(known: Contract, contract: str | None, weights: str) -> None:
    if contract not in (None, known):
        raise WeightsError(f"these weights take the input contract {known}, not {contract}", where=weights)


def _original(source: str, file: Path, contract: str | None) -> SamModel:
    if not file.is_file():
        raise WeightsError("no such file", where=source)
    if file.parent.joinpath("config.json").is_file() and "model_type" in read_json(file.parent / "config.json"):
        return replace_name(_loaded(str(file.parent), contract, 0), source)
    from medvfm.models.sam import original_layout, original_sam2
    from medvfm.models.sam.from_transformers import from_original, from_original_sam2

    state = read_state_dict(file)
    if original_sam2.is_original(state):
        if contract not in _SAM2_CHOICES:
            raise WeightsError(
                "nothing says whether these weights take SAM 2's input (1024 px) or MedSAM2's (512 px, slices of a "
                "windowed volume)",
                where=source,
                remedy="set adapter.options.contract to sam2 or to medsam2",
            )
        record = {"source": source, "sha256": sha256_of((file,)), "revision": None, "licence": None}
        side_px = ORIGINAL_SIDES_PX[contract]
        return from_original_sam2(state, source, _SAM2_CHOICES[contract], record, side_px).eval()
    if not original_layout.is_original(state):
        raise WeightsError(
            "neither segment-anything's layout nor transformers' (no config.json beside it)",
            where=source,
            remedy="give a checkpoint of segment-anything, MedSAM, SAM 2 or MedSAM2, or a folder that save_pretrained "
            "wrote",
        )
    digest = sha256_of((file,))
    if contract is None and digest.startswith(ORIGINAL_SAM_SHA256):
        contract = "sam"
    if contract not in _CHOICES:
        raise _cannot_tell(source)
    record = {"source": source, "sha256": digest, "revision": None, "licence": None}
    return from_original(state, source, _CHOICES[contract], record).eval()


def replace_name(segmenter: SamModel, name: str) -> SamModel:
    """The same segmenter under the name that the recipe gives it."""
    segmenter.name = name
    segmenter.weights_record = {**segmenter.weights_record, "source": name}
    return segmenter


def _tiny(seed: int) -> SamModel:
    from medvfm.models.sam.tiny import MULTIPLE, make_tiny

    net, digest = make_tiny(seed)
    frame = replace(SamFrame("tiny"), multiple=MULTIPLE, side_px=0)
    record = {"source": "tiny", "sha256": digest, "seed": seed, "licence": None}
    return SamModel(net, frame, name="tiny", weights_record=record).eval()
