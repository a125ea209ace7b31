"""Where open_clip's models are: on the hub, in a folder, or a named architecture with a checkpoint file."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medvfm.core.errors import WeightsError, nearest
from medvfm.models.weights import (
    OPEN_CLIP,
    TOKENIZERS,
    VOCABULARIES,
    Weights,
    fetch_tokenizer,
    hub_file,
    licence_of,
    read_json,
)

CONFIG = "open_clip_config.json"
CHECKPOINTS = (*OPEN_CLIP, "open_clip_pytorch_model.pth", "model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Found:
    """A checkpoint on this machine; `model` and `preprocess` are model_cfg and preprocess_cfg of its configuration."""

    weights: Weights
    model: dict[str, Any]
    preprocess: dict[str, Any]

    def text_folder(self, name: str) -> Path:
        """A folder with the config.json of the Hugging Face model `name` that the text tower has the shape of: the
        checkpoint's own folder, a folder on disk, or the hub's cache."""
        from open_clip.hf_configs import arch_dict

        given = Path(name).expanduser()
        for folder in (self.weights.folder, given, self.weights.folder / name):
            if (folder / "config.json").is_file() and read_json(folder / "config.json").get("model_type") in arch_dict:
                return folder
        config = hub_file(name, "config.json")
        if config is None or read_json(config).get("model_type") not in arch_dict:
            raise WeightsError(
                f"the text tower {name!r} has no config.json that open_clip can use", where=self.weights.source,
                remedy=f"copy the config.json of a text model beside {CONFIG}; model_type is one of: "
                + ", ".join(arch_dict),
            )  # fmt: skip
        return config.parent

    def tokenizer_folder(self, name: str) -> Path:
        """A folder with the tokenizer `name`, looked for as text_folder looks."""
        for folder in (self.weights.folder, Path(name).expanduser()):
            if any((folder / file).is_file() for file in VOCABULARIES):
                return folder
        fetch_tokenizer(name)
        found = [file for file in (hub_file(name, each) for each in TOKENIZERS) if file is not None]
        if not found:
            raise WeightsError(
                f"the tokenizer {name!r} is not on this machine", where=self.weights.source,
                remedy=f"copy its files beside {CONFIG}: {', '.join(VOCABULARIES)}",
            )  # fmt: skip
        return found[0].parent


def names_open_clip(weights: str) -> bool:
    """The name is open_clip's: one of its prefixes, or a folder with its configuration and its weights."""
    if weights.startswith(("hf-hub:", "local-dir:", "open_clip:")):
        return True
    folder = Path(weights).expanduser()
    if not (folder / CONFIG).is_file():
        return False
    # Some folders hold a model in both libraries' formats; theirs is taken where its own weights are there.
    transformers_too = (folder / "config.json").is_file() and "vision_config" in read_json(folder / "config.json")
    return not transformers_too or any((folder / name).is_file() for name in OPEN_CLIP)


def find_open_clip(weights: str) -> Found:
    """`hf-hub:OWNER/NAME[@REV]`, `local-dir:FOLDER`, a folder, or `open_clip:ARCHITECTURE=FILE`."""
    if weights.startswith("hf-hub:"):
        return _on_hub(weights)
    if weights.startswith("open_clip:"):
        return _named(weights)
    return _in_folder(weights)


def _on_hub(source: str) -> Found:
    repository, _, revision = source.removeprefix("hf-hub:").partition("@")
    config = hub_file(repository, CONFIG, revision or None)
    if config is None:
        raise WeightsError(f"this hub repository has no {CONFIG}", where=source)
    checkpoint = next((f for name in OPEN_CLIP if (f := hub_file(repository, name, revision or None))), None)
    if checkpoint is None:
        raise WeightsError(f"this hub repository holds none of {', '.join(OPEN_CLIP)}", where=source)
    for name in ("config.json", "README.md", *TOKENIZERS):
        hub_file(repository, name, revision or None)
    licence = licence_of(config.parent / "README.md")
    return _read(Weights(source, config.parent, (checkpoint,), config.parent.name, licence), config)


def _in_folder(source: str) -> Found:
    folder = Path(source.removeprefix("local-dir:")).expanduser()
    if not (folder / CONFIG).is_file():
        raise WeightsError(f"the folder has no {CONFIG}", where=source, remedy="give a folder in open_clip's format")
    checkpoint = next((folder / name for name in CHECKPOINTS if (folder / name).is_file()), None)
    if checkpoint is None:
        raise WeightsError("the folder holds no weights", where=source, remedy=f"one of: {', '.join(CHECKPOINTS)}")
    return _read(Weights(source, folder, (checkpoint,), licence=licence_of(folder / "README.md")), folder / CONFIG)


def _read(weights: Weights, config: Path) -> Found:
    content = read_json(config)
    if not isinstance(content.get("model_cfg"), dict):
        raise WeightsError("has no model_cfg", where=config.name, remedy="give open_clip's own configuration")
    return Found(weights, content["model_cfg"], content.get("preprocess_cfg") or {})


def _named(source: str) -> Found:
    from open_clip.factory import get_model_config, list_models

    name, _, file = source.removeprefix("open_clip:").partition("=")
    if name not in list_models():
        raise WeightsError(
            f"open_clip has no architecture {name!r}", where=source,
            remedy=nearest(name, list_models()).partition("?")[0] + "?",
        )  # fmt: skip
    checkpoint = Path(file).expanduser()
    if not file or not checkpoint.is_file():
        raise WeightsError(
            f"no such checkpoint: {file!r}" if file else "an architecture without weights", where=source,
            remedy=f"write open_clip:{name}=FILE with a safetensors file or a state dict of torch",
        )  # fmt: skip
    return Found(Weights(source, checkpoint.parent, (checkpoint,)), deepcopy(get_model_config(name)), {})
