"""Two encoders with a linear head each: what `clip` trains, and vectors of images and texts in their shared space."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from medvfm.core.errors import RecipeError
from medvfm.models import structure
from medvfm.models.image_text.pair import ImageTextPair
from medvfm.models.text.encoder import TextEncoder
from medvfm.models.weights import sha256_of_tensors
from medvfm.nn import contrastive, heads

IMAGE, TEXT = "image", "text"
TUNES = {  # by method: which encoders it changes, besides the heads
    "lora": (IMAGE, TEXT),
    "full": (IMAGE, TEXT),
    "locked_image": (TEXT,),
    "locked_text": (IMAGE,),
}
STEEPEST = 100.0  # of the learned scale, as in CLIP; published ones and those that a user gives stand as they are


class SharedSpace(nn.Module):
    """A pair of encoders, pooling over slices, and heads into one space.

    The heads of an aligned pair begin as the identity, so that before any training the space is the published one. Of
    a pair that was assembled the image head begins at random, and the text head as the identity: the space is that of
    the texts, in which what means the same lies close whether or not it was trained on. With a `width` both begin at
    random.
    """

    def __init__(self, pair: ImageTextPair, pool: str, width: int | None, seed: int) -> None:
        super().__init__()
        self.pair = pair
        size = pair.image_width if pair.aligned else width or pair.text_width
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.pool = heads.SlicePool(pool, pair.image_width)
            self.image_head = nn.Linear(pair.image_width, size)
            self.text_head = nn.Linear(pair.text_width, size)
        self._random = [] if pair.aligned else [self.image_head] if width is None else [self.image_head, self.text_head]
        for head in (self.image_head, self.text_head):
            if head not in self._random:
                nn.init.eye_(head.weight)
                nn.init.zeros_(head.bias)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(pair.scale)))
        self.steepest = max(STEEPEST, pair.scale)
        self.logit_bias = nn.Parameter(torch.tensor(-10.0 if pair.bias is None else pair.bias))
        self.context = nn.Parameter(torch.zeros(0, pair.text.token_width))
        self._hashed: dict[str, tuple[object, str]] = {}  # tower to when its weights were hashed, and the hash

    @property
    def device(self) -> torch.device:
        return self.logit_scale.device

    @property
    def scale(self) -> Tensor:
        return self.logit_scale.exp().clamp(max=self.steepest)

    def redraw(self, rng: np.random.Generator) -> None:
        """The heads as another seed would have begun them; an aligned pair has nothing that began at random."""
        if not self._random:
            return
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(int(rng.integers(2**62)))
            for head in self._random:
                head.reset_parameters()

    def sha256_now(self, tower: str) -> str:
        """Of a tower's weights as they are, hashed again only after something wrote to them."""
        pair = self.pair
        parts = (pair.image, pair.projection) if tower == IMAGE else (pair.text, pair.text.projection)
        tensors = {f"{n}.{k}": v for n, m in zip("ep", parts, strict=True) for k, v in m.state_dict().items()}
        written = tuple((v.data_ptr(), v._version) for v in tensors.values())
        if self._hashed.get(tower, (None, ""))[0] != written:
            self._hashed[tower] = (written, sha256_of_tensors(tensors))
        return self._hashed[tower][1]

    # images

    def slice_vectors(self, pictures: Tensor) -> Tensor:
        """(N, image_width) of pictures (N, C, h, w) in [0, 1], before the head."""
        contract = self.pair.image.contract
        pixels = contract.normalise(pictures.to(self.device, non_blocking=True))
        return self.pair.image_vectors(self.pair.image(pixels)).float()

    def pooled(self, vectors: Tensor, counts: Tensor) -> Tensor:
        """(B, image_width) from the vectors of all slices."""
        parts = vectors.split(counts.tolist())
        mask = torch.arange(int(counts.max()), device=vectors.device) < counts.to(vectors.device)[:, None]
        return self.pool(nn.utils.rnn.pad_sequence(list(parts), batch_first=True), mask)

    def of_images(self, vectors: Tensor) -> Tensor:
        """(B, D) unit vectors of pooled ones."""
        return functional.normalize(self.image_head(vectors.to(self.device).float()), dim=-1)

    # texts

    def text_outputs(self, texts: Sequence[str], chunk: int = 64) -> Tensor:
        """(n, text_width) before the head."""
        parts = [list(texts[start : start + chunk]) for start in range(0, len(texts), chunk)]
        return contrastive.in_chunks(lambda part: self.pair.text(self.pair.text.tokens(part)), parts)

    def of_texts(self, outputs: Tensor) -> Tensor:
        """(n, D) unit vectors of what the text encoder gave."""
        return functional.normalize(self.text_head(outputs.to(self.device).float()), dim=-1)

    def of_prompts(self, outputs: Tensor) -> Tensor:
        """(D,): the mean of several texts' unit vectors, as a unit vector."""
        return functional.normalize(self.of_texts(outputs).mean(0), dim=0)


def pooled_stack(vectors: Tensor) -> Tensor:
    """(2, D): mean and maximum over slices (S, D), so that one pass of a frozen encoder serves both poolings."""
    return torch.stack([vectors.mean(0), vectors.amax(0)])


def set_trainable(space: SharedSpace, method: str, rank: int, alpha: float | None, seed: int) -> None:
    """What a method trains, and nothing else."""
    _make_trainable_again(space)
    space.requires_grad_(False)
    if method == "prompt_learning":
        space.context.requires_grad_(True)
        return
    if method not in ("contrastive", *TUNES):
        return
    trained: list[nn.Module] = [space.pool]
    if method == "contrastive" or not space.pair.aligned:
        trained += [space.image_head, space.text_head]
    for part in trained:
        part.requires_grad_(True)
    space.logit_scale.requires_grad_(True)
    encoders = {IMAGE: space.pair.image, TEXT: space.pair.text}
    for tower in TUNES.get(method, ()):
        encoder = encoders[tower]
        if method == "lora":
            _inject(encoder, rank, alpha, seed)
            continue
        encoder.requires_grad_(True)
        (space.pair.projection if tower == IMAGE else space.pair.text.projection).requires_grad_(True)
        unused = encoder.unused(lambda p: [space.pair.image_vectors(space.pair.image(p))]) if tower == IMAGE else []  # type: ignore[operator]
        for parameter in [*unused, *(space.pair.text.unused() if tower == TEXT else [])]:
            parameter.requires_grad_(False)


def _make_trainable_again(space: SharedSpace) -> None:
    """peft's multi-head attention makes its frozen weights anew in every pass; after a validation they are tensors of
    inference mode, which no later stage can train."""
    for part in list(space.modules()):
        for name, parameter in list(part.named_parameters(recurse=False)):
            if parameter.is_inference():
                setattr(part, name, nn.Parameter(parameter.clone(), requires_grad=False))


def _inject(encoder: nn.Module, rank: int, alpha: float | None, seed: int) -> None:
    """Low-rank updates of the attention layers, in place; once, however many stages follow."""
    from peft import LoraConfig, inject_adapter_in_model  # seven seconds that the other methods need not wait

    if any("lora_" in name for name, _ in encoder.named_parameters()):
        for name, parameter in encoder.named_parameters():
            parameter.requires_grad_("lora_" in name)
        return
    backbone: Any = encoder.backbone
    config = LoraConfig(r=rank, lora_alpha=int(alpha or 2 * rank), target_modules=structure.lora_targets(backbone))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, backbone)


def tower_key(space: SharedSpace, tower: str, more: Mapping[str, object]) -> str:
    """Names the weights of a tower as they are now, and what else its outputs depend on."""
    pair = space.pair
    known = {t["role"]: t["sha256"] for t in pair.towers()}[tower]
    if (pair.image if tower == IMAGE else pair.text).staged:
        known = space.sha256_now(tower)
    contract = pair.image.contract.as_record() if tower == IMAGE else {"limit": pair.text.limit}
    text = json.dumps([known, contract, dict(more)], sort_keys=True, default=str)
    return f"clip-{tower}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def refuse_attention(pool: str, methods: Sequence[str]) -> None:
    """Attention over slices is trained with the image encoder's vectors of single slices."""
    able = [m for m in methods if m in ("lora", "full", "locked_text")]
    unable = [m for m in methods if m in ("contrastive", "locked_image", "prompt_learning")]
    if pool == "attention" and (unable or not able):
        raise RecipeError(
            f"attention pooling is trained, and {(unable or methods)[0]} reads stored vectors of whole volumes",
            where="prepare.slices.pool",
            remedy="take lora, full or locked_text, or pool mean or max",
        )


def refuse_context(text: TextEncoder, count: int, start: str | None) -> None:
    """A learned context that leaves no room for the name of a class, said before anything is trained."""
    learned = count if start is None else len(text.token_vectors(start))
    room = text.limit - text.tokenizer.ends - 1
    if not 1 <= learned <= room:
        key = "context" if start is None else "start"
        raise RecipeError(
            f"{learned} learned tokens leave no room for a word within the {text.limit} of {text.name}"
            if learned
            else f"no word of {start!r} is known to {text.name}",
            where=f"adapter.options.{key}",
            remedy=f"take 1 to {room}" if learned else "give words that it knows, or none",
        )
