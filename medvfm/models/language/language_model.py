"""A causal language model: any backbone of transformers with its tokenizer, read from vectors in place of ids."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from medvfm.models import structure
from medvfm.models.language.packing import sees
from medvfm.nn import state

DEFAULT_LIMIT = 2048  # tokens, where a configuration states none


class LanguageModel(nn.Module):
    """`backbone` is the plain model of its library, so that a LoRA trained here loads onto that model there. It may be
    replaced by a peft wrapper of itself.

    width  of the vectors that stand for tokens
    limit  the longest text in tokens that it was made for
    """

    def __init__(self, backbone: nn.Module, tokenizer: Any, *, name: str, weights_record: dict[str, Any]) -> None:
        super().__init__()
        self.backbone, self.tokenizer, self.name, self.weights_record = backbone, tokenizer, name, weights_record
        self.train(backbone.training)
        self._spares = False
        config: Any = backbone.config
        text = config.get_text_config()
        self.width = int(text.hidden_size)
        takes = inspect.signature(self._plain.forward).parameters
        self._cache = "cache" if "cache" in takes else "past_key_values"  # its name changed within transformers 5
        self.limit = int(getattr(text, "max_position_embeddings", None) or DEFAULT_LIMIT)

    @property
    def _plain(self) -> Any:
        """The model of transformers, inside peft's wrapper or not."""
        found: Any = self.backbone
        return found.get_base_model() if hasattr(found, "get_base_model") else found

    @property
    def table(self) -> nn.Module:
        """From ids to vectors."""
        found: nn.Module = self._plain.get_input_embeddings()
        return found

    @property
    def device(self) -> torch.device:
        return next(self.backbone.parameters()).device

    def vectors(self, ids: Tensor) -> Tensor:
        """(..., width) of ids (...)."""
        found: Tensor = self.table(ids)
        return found

    def forward(
        self,
        vectors: Tensor,
        mask: Tensor,
        last: int,
        cache: Any = None,
        keep: bool = False,
        wanted: Tensor | None = None,
        segments: Tensor | None = None,
    ) -> Any:
        """Output of the backbone with `logits` (B, last, vocabulary) of the last positions alone.

        vectors (B, L, width), padded on the left; mask (B, P + L), true where there is a token; P positions lie in
        `cache`. keep: keys and values are wanted, see `kept`. wanted (B, last): of N positions alone, where it is true,
        as `logits` (1, N, vocabulary): for a large vocabulary they cost as much as ten blocks do. segments (B, L):
        several conversations in a row, which do not see each other and are numbered as each would be alone; see
        models.language.packing.
        """
        if segments is None:
            mask = mask.long()
            places = (mask.cumsum(1) - 1).clamp(min=0)[:, -vectors.shape[1] :]
        else:
            seen = sees(segments, mask)
            places = seen.sum(-1) - 1
            mask = torch.zeros_like(seen, dtype=vectors.dtype).masked_fill(~seen, torch.finfo(vectors.dtype).min)[
                :, None
            ]
        before = {} if cache is None else {self._cache: cache}
        with self._words_at(wanted):
            return self.backbone(
                inputs_embeds=vectors,
                attention_mask=mask,
                position_ids=places,
                use_cache=keep,
                logits_to_keep=last,
                **before,
            )

    @contextmanager
    def _words_at(self, wanted: Tensor | None) -> Iterator[None]:
        """What stands before the layer of words takes the wanted positions to it, (B, last, width) to (1, N, width)."""
        if wanted is None:
            yield
            return
        handle = self._plain.get_output_embeddings().register_forward_pre_hook(
            lambda _, given: (given[0][wanted][None],)
        )
        try:
            yield
        finally:
            handle.remove()

    def kept(self, told: Any) -> Any:
        """The cache of keys and values in what `forward` gave."""
        return getattr(told, self._cache)

    @property
    def keeps(self) -> bool:
        """Keys and values are kept where they are asked for; not while activations are computed twice."""
        return not (self.backbone.training and self._spares)

    def spare_memory(self) -> None:
        """Compute activations of the blocks again in the backward pass (gradient checkpointing)."""
        self._spares = True
        self._plain.gradient_checkpointing_enable({"use_reentrant": False})

    # low-rank updates

    @property
    def has_lora(self) -> bool:
        return hasattr(self.backbone, "get_base_model")

    def add_lora(self, rank: int, alpha: float | None, seed: int) -> None:
        """Low-rank updates of every attention layer (Hu et al. 2021); alpha None: twice the rank."""
        from peft import LoraConfig, get_peft_model  # seconds that other methods need not wait

        backbone: Any = self.backbone
        config = LoraConfig(
            r=rank,
            lora_alpha=int(alpha or 2 * rank),
            target_modules=structure.lora_targets(backbone),
            task_type="CAUSAL_LM",
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.backbone = get_peft_model(backbone, config)

    def lora_parameters(self) -> list[nn.Parameter]:
        return [p for n, p in self.backbone.named_parameters() if ".lora_" in n]

    def save_lora(self, folder: Any) -> None:
        """peft's own format, for the plain model."""
        backbone: Any = self.backbone
        backbone.save_pretrained(folder)

    def load_lora(self, folder: Any) -> None:
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(self.backbone, state.read(folder / "adapter_model.safetensors"))
