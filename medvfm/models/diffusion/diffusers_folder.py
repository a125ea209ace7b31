"""A folder or hub repository in diffusers' format: which parts it has, their files, their configurations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from medvfm.core.errors import WeightsError
from medvfm.models.weights import hub_file, licence_of, read_json, read_shards, sha256_of, shard_names

INDEX = "model_index.json"
WEIGHTS = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.bin",
)
TEXT_WEIGHTS = ("model.safetensors", "model.fp16.safetensors", "pytorch_model.bin")
TOKENIZER = ("tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt", "tokenizer.json")
NEEDED_OF_TOKENIZER = ("vocab.json", "merges.txt")


@dataclass(frozen=True)
class DiffusersFolder:
    """source: as the recipe names it. folder: None for a hub repository, whose files are asked for one by one."""

    source: str
    folder: Path | None
    revision: str | None = None

    def file(self, name: str) -> Path | None:
        """One file below the folder; None where there is none."""
        if self.folder is not None:
            path = self.folder / name
            return path if path.is_file() else None
        return hub_file(self.source.partition("@")[0], name, self.revision)

    def needed(self, name: str) -> Path:
        found = self.file(name)
        if found is None:
            raise WeightsError(
                f"has no {name}", where=self.source, remedy="give a folder or hub id in the format of diffusers"
            )
        return found

    def config(self, part: str, name: str = "config.json") -> dict[str, Any]:
        """The configuration of a part, such as `unet`; "" is the folder itself."""
        return read_json(self.needed(_joined(part, name)))

    def has(self, part: str, name: str = "config.json") -> bool:
        return self.file(_joined(part, name)) is not None

    def files(self, part: str, names: Sequence[str] = WEIGHTS) -> tuple[Path, ...]:
        """The weights of a part: one file or its shards."""
        for name in names:
            if single := self.file(_joined(part, name)):
                return (single,)
            if self.folder is not None and (index := self.file(_joined(part, f"{name}.index.json"))):
                return tuple(self.needed(_joined(part, shard)) for shard in shard_names(index))
        raise WeightsError(
            f"{part or 'the folder'} holds no weights", where=self.source, remedy=f"expected {' or '.join(names)}"
        )

    def tensors(self, part: str, names: Sequence[str] = WEIGHTS) -> tuple[dict[str, torch.Tensor], str]:
        """Names to float32 tensors of a part, and the sha256 of their files."""
        files = self.files(part, names)
        state = {
            name: value.float() if value.is_floating_point() else value for name, value in read_shards(files).items()
        }
        return state, sha256_of(files)

    def tokenizer(self) -> Path:
        """The folder of the tokenizer's files."""
        found = {name: self.file(f"tokenizer/{name}") for name in TOKENIZER}
        missing = [name for name in NEEDED_OF_TOKENIZER if found[name] is None and found["tokenizer.json"] is None]
        if missing:
            raise WeightsError(f"the tokenizer lacks {' and '.join(missing)}", where=self.source)
        return next(path for path in found.values() if path is not None).parent

    def licence(self) -> str | None:
        card = self.file("README.md")
        return None if card is None else licence_of(card)


def located(source: str) -> DiffusersFolder:
    """A folder on this machine, or a hub id `owner/name` or `owner/name@revision` from the cache or the network."""
    path = Path(source).expanduser()
    if path.is_dir():
        return DiffusersFolder(source, path)
    name, _, revision = source.partition("@")
    if name.count("/") != 1 or source.startswith((".", "/", "~")):
        raise WeightsError(
            "no such folder, and not a hub id of the form owner/name",
            where=source,
            remedy="give a folder in the format of diffusers, a hub id, or `tiny`",
        )
    return DiffusersFolder(source, None, revision or None)


def _joined(part: str, name: str) -> str:
    return f"{part}/{name}" if part else name
