"""Causal language models in GGUF files: their quantised weights as float32, made once and kept in the cache."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
import tempfile
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import torch
import transformers
from filelock import FileLock

from medvfm.core.errors import WeightsError
from medvfm.io import cache, user_folders
from medvfm.models.encoders.from_transformers import quiet
from medvfm.models.language.from_transformers import causal_of_folder, tied_keys
from medvfm.models.language.language_model import LanguageModel
from medvfm.models.weights import Weights, account, sha256_of
from medvfm.nn import state

VERSION = 1  # to be raised when the same file gives other weights
TOKENIZERS_NEED = {"sentencepiece": "sentencepiece", "google.protobuf": "protobuf"}


def load_gguf(file: Path, source: str, licence: str | None = None) -> LanguageModel:
    """The model with its tokenizer and chat template as the file holds them. The first time takes twenty seconds for
    135 million weights; later ones read safetensors from the cache."""
    digest = sha256_of([file])
    folder = cache.folder("language") / f"gguf-{VERSION}-{digest[:32]}"
    if not (folder / "config.json").is_file():
        _dequantised(file, folder, source)
    record = {"source": source, "sha256": digest, "revision": None, "licence": licence, "quantised": file.stem}
    return causal_of_folder(Weights(source, folder, (folder / "model.safetensors",)), record)


def _dequantised(file: Path, folder: Path, source: str) -> None:
    """Write the file's model to the folder, which appears when it is complete."""
    _needs("gguf", "gguf", source)
    user_folders.made(folder.parent)
    with FileLock(folder.with_suffix(".lock")):
        if (folder / "config.json").is_file():  # another process was faster
            return
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            _write(file, part, source)
            part.replace(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _write(file: Path, folder: Path, source: str) -> None:
    place, name = str(file.parent), file.name
    try:
        with quiet(), redirect_stderr(io.StringIO()):  # gguf's own progress
            read: Any = transformers.AutoModelForCausalLM
            model, told = read.from_pretrained(
                place, gguf_file=name, dtype=torch.float32, output_loading_info=True, local_files_only=True
            )
            tokenizer: Any = transformers.AutoTokenizer.from_pretrained(place, gguf_file=name, local_files_only=True)
    except Exception as error:  # gguf and transformers raise many kinds for files that they do not know
        for module, package in TOKENIZERS_NEED.items():
            _needs(module, package, source)
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"transformers cannot read this GGUF file: {first}", where=source, remedy="give a causal language model"
        ) from error
    tied = tied_keys(model)
    account(
        source,
        missing=[key for key in told["missing_keys"] if key not in tied],
        unexpected=told["unexpected_keys"],
        mismatched=map(str, told["mismatched_keys"]),
    )
    config = model.config.to_dict()
    for key in ("quantization_config", "_name_or_path"):  # what it was; a path of this machine
        config.pop(key, None)
    whole = model.state_dict().items()
    once = {key: w.float() for key, w in whole if key not in tied or key.endswith("embed_tokens.weight")}
    state.write(folder / "model.safetensors", once)
    with quiet():
        model.generation_config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")


def _needs(module: str, package: str, source: str) -> None:
    if not _there(module):
        raise WeightsError(
            f"reading a GGUF file needs the package {package}, which is not installed",
            where=source,
            remedy=f"pip install {package}",
        )


def _there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that holds it
        return False
