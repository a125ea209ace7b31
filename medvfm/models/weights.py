"""Published weights: where they are, what they are (sha256, revision, licence), and reading them safely."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import socket
import urllib.request
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from medvfm.core.errors import RecipeError, WeightsError

_SINGLE = ("model.safetensors", "pytorch_model.bin")
_OF_WEIGHTS = (".pth", ".pt", ".bin", ".ckpt", ".safetensors")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_EXTRAS = ("preprocessor_config.json", "processor_config.json", "README.md")
OPEN_CLIP = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
TOKENIZERS = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "vocab.txt", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model",
)  # fmt: skip
VOCABULARIES = (
    "tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model",
)  # fmt: skip
SENTENCES = ("modules.json", "sentence_bert_config.json", "1_Pooling/config.json")
_OPTIONAL = (*_EXTRAS, *TOKENIZERS, *SENTENCES)  # what a repository may lack


@dataclass(frozen=True)
class Weights:
    """Weights on this machine: the files that hold them, and their configuration in `folder`."""

    source: str
    folder: Path
    files: tuple[Path, ...]
    revision: str | None = None
    licence: str | None = None

    def config(self) -> dict[str, Any]:
        """config.json of the folder."""
        return read_json(self.folder / "config.json")

    def as_record(self) -> dict[str, Any]:
        """For run.json; no path of this machine, unless the recipe itself names it."""
        return {
            "source": self.source,
            "sha256": sha256_of(self.files),
            "revision": self.revision,
            "licence": self.licence,
        }


def locate(source: str) -> Weights:
    """A hub id (`owner/name`, or `owner/name@revision`) or a local folder with config.json, as files on this machine.

    A hub id that was downloaded before is taken from the cache without asking the network.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return _local(source, folder)
    if _HUB_ID.fullmatch(source) and not source.startswith((".", "/", "~")):
        return _from_hub(source)
    raise WeightsError(
        "no such folder, and not a hub id of the form owner/name",
        where=source,
        remedy="give a folder with config.json and model.safetensors, a hub id, `embedded` or `tiny`",
    )


def refuse_missing(source: str, where: str | None) -> None:
    """RecipeError for weights that are a path by their form and are not there. A hub id may be fetched later."""
    path = Path(source).expanduser()
    is_path = source.startswith((".", "/", "~")) or path.suffix.lower() in _OF_WEIGHTS or source.count("/") > 1
    if is_path and ":" not in source and not path.exists():
        raise RecipeError(f"no file or folder {source}", where=where, remedy="give a path that exists, or a hub id")


def _local(source: str, folder: Path) -> Weights:
    if not (folder / "config.json").is_file():
        raise WeightsError(
            "the folder has no config.json", where=source, remedy="give a folder in its library's format"
        )
    for name in _SINGLE:
        if (folder / name).is_file():
            files: tuple[Path, ...] = (folder / name,)
            break
        if (folder / f"{name}.index.json").is_file():
            shards = shard_names(folder / f"{name}.index.json")
            files = tuple(folder / shard for shard in shards)
            missing = [file.name for file in files if not file.is_file()]
            if missing:
                raise WeightsError(f"shards are missing: {', '.join(missing)}", where=source)
            break
    else:
        raise WeightsError("the folder holds no weights", where=source, remedy=f"expected {' or '.join(_SINGLE)}")
    return Weights(source, folder, files, licence=licence_of(folder / "README.md"))


def fetch_tokenizer(source: str) -> None:
    """The files of a hub repository's tokenizer into the cache, beside its config.json; a folder has them or not."""
    if Path(source).expanduser().is_dir():
        return
    repository, _, revision = source.partition("@")
    whole = hub_file(repository, VOCABULARIES[0], revision or None)  # which needs no other vocabulary
    for name in (*TOKENIZERS, *SENTENCES):
        if whole is None or name not in VOCABULARIES:
            hub_file(repository, name, revision or None)


def _from_hub(source: str) -> Weights:
    repository, _, revision = source.partition("@")
    config = hub_file(repository, "config.json", revision or None)
    if config is None:
        raise WeightsError("this hub repository has no config.json", where=source)
    for name in _EXTRAS:
        hub_file(repository, name, revision or None)
    for name in _SINGLE:
        if single := hub_file(repository, name, revision or None):
            files: tuple[Path, ...] = (single,)
            break
        if index := hub_file(repository, f"{name}.index.json", revision or None):
            found = [hub_file(repository, shard, revision or None) for shard in shard_names(index)]
            if None in found:
                raise WeightsError("the hub repository lacks shards that its index names", where=source)
            files = tuple(file for file in found if file is not None)
            break
    else:
        raise WeightsError(f"this hub repository holds neither {' nor '.join(_SINGLE)}", where=source)
    # Every file of one revision lies in a folder that is named after the commit.
    return Weights(source, config.parent, files, config.parent.name, licence_of(config.parent / "README.md"))


def hub_file(repository: str, name: str, revision: str | None = None) -> Path | None:
    """One file of a hub repository, from the cache where it is there; None where the repository has no such file."""
    # Slow to import, and not needed for local, embedded or tiny weights.
    from huggingface_hub import errors, hf_hub_download, try_to_load_from_cache

    cached = try_to_load_from_cache(repository, name, revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    if cached is not None:  # known from an earlier answer not to exist at this revision
        return None
    try:
        return Path(hf_hub_download(repository, name, revision=revision, local_files_only=_no_network()))
    except errors.LocalEntryNotFoundError as error:
        if name in _OPTIONAL or _other_weights_cached(repository, revision):
            return None  # optional, or replaced by weights in another format that are cached
        raise WeightsError(
            f"{name} is not on this machine and the hub cannot be reached",
            where=repository,
            remedy="download it where there is a network (`hf download "
            f"{repository}`) and copy the cache or give the folder as weights; offline choices: embedded, tiny",
        ) from error
    except errors.GatedRepoError as error:
        raise WeightsError(
            "these weights are given out on request",
            where=repository,
            remedy="accept their terms on the hub's page and log in with `hf auth login`",
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as error:
        raise WeightsError("no such repository or revision on the hub", where=repository) from error
    except errors.EntryNotFoundError:
        return None
    except (errors.HfHubHTTPError, OSError) as error:
        raise WeightsError(f"the hub did not answer: {type(error).__name__}", where=repository) from error


def _no_network() -> bool:
    """True where the hub's name does not resolve: its client would retry for half a minute."""
    from huggingface_hub import constants

    if urllib.request.getproxies().keys() & {"http", "https", "all"}:  # a proxy resolves names by itself
        return False
    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        return True
    return False


def _other_weights_cached(repository: str, revision: str | None) -> bool:
    from huggingface_hub import try_to_load_from_cache

    names = [*_SINGLE, *(f"{name}.index.json" for name in _SINGLE), *OPEN_CLIP]
    return any(isinstance(try_to_load_from_cache(repository, name, revision=revision), str) for name in names)


def shard_names(index: Path) -> list[str]:
    """File names that an index lists; names that lead out of the folder are refused."""
    names = sorted(set(read_json(index).get("weight_map", {}).values()))
    for name in names:
        if Path(name).name != name:
            raise WeightsError(f"shard {name!r} lies outside the folder", where=index.name)
    return names


def read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"cannot be read as JSON ({error})", where=file) from error
    if not isinstance(content, dict):
        raise WeightsError("holds no JSON object", where=file)
    return content


def read_state_dict(file: Path) -> dict[str, torch.Tensor]:
    """Names to tensors on the CPU, from safetensors or from a pickle that holds nothing but tensors and containers."""
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        with torch.serialization.safe_globals([Namespace]):  # the options of training that research code keeps beside
            content = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError) as error:
        raise WeightsError(
            f"cannot be read as weights: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            where=file,
            remedy="only safetensors and pickles that load with weights_only=True are read: others can run code",
        ) from error
    for wrapper in ("state_dict", "model", "teacher"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise WeightsError("holds no state dict", where=file)
    return content


def read_shards(files: Sequence[Path]) -> dict[str, torch.Tensor]:
    return {key: value for file in files for key, value in read_state_dict(file).items()}


def account(
    source: str,
    *,
    missing: Iterable[str] = (),
    unexpected: Iterable[str] = (),
    mismatched: Iterable[str] = (),
    may_miss: Sequence[str] = (),
    may_leave: Sequence[str] = (),
) -> list[str]:
    """Refuse any key that is missing, unused or of another shape, unless a pattern (regular expression, matched from
    the start) declares it. Returns the declared keys that were left unused, for the record."""
    lost = [key for key in missing if not _declared(key, may_miss)]
    left = [key for key in unexpected if not _declared(key, may_leave)]
    problems = [
        f"{len(keys)} {what} (such as {', '.join(sorted(keys)[:3])})"
        for what, keys in (
            ("missing", lost),
            ("not used by the model", left),
            ("of another shape", sorted(str(k) for k in mismatched)),
        )
        if keys
    ]
    if problems:
        raise WeightsError(
            f"its keys do not fit the model: {'; '.join(problems)}",
            where=source,
            remedy="the weights are of another architecture or layout than their configuration states",
        )
    return sorted(set(unexpected))


def load_strictly(
    model: torch.nn.Module, state: dict[str, torch.Tensor], source: str, *, may_leave: Sequence[str] = ()
) -> list[str]:
    """Put a state dict into a model, every key accounted for; returns the keys that were declared and left."""
    own = model.state_dict()
    wrong = [key for key in own if key in state and own[key].shape != state[key].shape]
    left = account(
        source,
        missing=own.keys() - state.keys(),
        unexpected=state.keys() - own.keys(),
        mismatched=wrong,
        may_leave=may_leave,
    )
    model.load_state_dict({key: state[key] for key in own})
    return left


def sha256_of(files: Sequence[Path]) -> str:
    """sha256 of one file; of several, sha256 over their sorted `sha256  name` lines."""
    if not files:
        raise ValueError("no files to hash")
    digests = []
    for file in sorted(files):
        with file.open("rb") as stream:
            digests.append((hashlib.file_digest(stream, "sha256").hexdigest(), file.name))
    if len(digests) == 1:
        return digests[0][0]
    return hashlib.sha256("".join(f"{digest}  {name}\n" for digest, name in digests).encode()).hexdigest()


def sha256_of_tensors(state: Mapping[str, torch.Tensor]) -> str:
    """sha256 over names, types, shapes and bytes in the order of the names: of a part of what one file holds."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _declared(key: str, patterns: Sequence[str]) -> bool:
    return any(re.match(pattern, key) for pattern in patterns)


def licence_of(model_card: Path) -> str | None:
    """The licence in a model card's front matter."""
    try:
        text = model_card.read_text(encoding="utf-8", errors="replace")[:4000]
    except OSError:
        return None
    found = re.match(r"---\n(?:.*\n)*?licen[sc]e:\s*(\S+)", text)
    return found.group(1).strip("'\"") if found else None
