"""Published models of images and text by transformers' common interface: Qwen2-VL and its kin, MedGemma, LLaVA-NeXT,
Idefics3, BLIP-2, each whole, with its own processor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from medvfm.core.errors import DataError, WeightsError
from medvfm.models import structure
from medvfm.models.encoders.from_transformers import quiet
from medvfm.models.language.chat import ChatTokens
from medvfm.models.language.from_transformers import strictly_read
from medvfm.models.language.greedy import DecodedAnswer
from medvfm.models.language.language_model import DEFAULT_LIMIT
from medvfm.models.language.processor_chat import Inputs
from medvfm.models.weights import fetch_tokenizer, hub_file, locate
from medvfm.nn import state
from medvfm.nn.token_loss import IGNORED, next_token_loss

_MORE_FILES = (
    "chat_template.jinja", "chat_template.json", "generation_config.json", "video_preprocessor_config.json",
)  # fmt: skip


class ImageTextModel(nn.Module):
    """A model that finds the places of images itself. Its low-rank updates are in its language model alone.

    family  its type, as its configuration says
    limit   the longest conversation in tokens
    """

    def __init__(self, inner: Any, processor: Any, *, name: str, weights_record: dict[str, Any]) -> None:
        super().__init__()
        self.inner: nn.Module = inner
        self.processor, self.name, self.weights_record = processor, name, weights_record
        text = inner.config.get_text_config()
        self.family = str(inner.config.model_type)
        self.limit = int(getattr(text, "max_position_embeddings", None) or DEFAULT_LIMIT)
        ends = inner.generation_config.eos_token_id
        self.ends = frozenset(ends if isinstance(ends, list) else [] if ends is None else [ends])
        image = getattr(inner.config, "image_token_id", None)
        self._image = inner.config.image_token_index if image is None else image
        self._lora: Any = None

    @property
    def device(self) -> torch.device:
        return next(self.inner.parameters()).device

    def loss(self, inputs: Inputs, tokens: Sequence[ChatTokens]) -> Tensor:
        """Of the next token, over the tokens of answers alone."""
        labels = torch.full_like(inputs["input_ids"], IGNORED)
        for row, own in enumerate(tokens):
            answered = torch.tensor(own.answered)
            labels[row, labels.shape[1] - len(own) :][answered] = torch.tensor(own.ids)[answered]
        told: Any = self._asked(self.inner, inputs, use_cache=False)
        return next_token_loss(told.logits, labels.to(self.device))

    @torch.inference_mode()
    def greedy(self, inputs: Inputs, stops: Sequence[int], limit: int) -> list[DecodedAnswer]:
        """See models.language.greedy; the library's own decoding, without what a checkpoint's settings would add."""
        inner: Any = self.inner
        how = transformers.GenerationConfig(
            do_sample=False, max_new_tokens=limit, eos_token_id=sorted(stops), return_dict_in_generate=True,
            output_logits=True, pad_token_id=self.processor.tokenizer.pad_token_id,
        )  # fmt: skip
        kept, inner.generation_config = inner.generation_config, how
        try:
            with quiet():
                found = self._asked(inner.generate, inputs, generation_config=how)
        finally:
            inner.generation_config = kept
        chances = torch.stack([step.float().log_softmax(-1).max(-1).values for step in found.logits], 1)
        table = found.sequences[:, -len(found.logits) :].tolist()
        told = []
        for row, logs in zip(table, chances.double().tolist(), strict=True):
            ended = next((n for n, token in enumerate(row) if token in stops), None)
            length = len(row) if ended is None else ended
            probability = float(torch.tensor(logs[: length + 1]).sum().exp())
            told.append(DecodedAnswer(tuple(row[:length]), probability, ended is not None))
        return told

    def refuse_long(self, tokens: Sequence[ChatTokens], names: Sequence[str]) -> None:
        """Raises DataError where a conversation is longer than what the model reads."""
        for own, name in zip(tokens, names, strict=True):
            if len(own) > self.limit:
                raise DataError(
                    f"the conversation of {name} has {len(own)} tokens, and {self.name} reads {self.limit}",
                    remedy="shorten questions or answers, or take fewer slices",
                )

    def image_tokens(self, tokens: ChatTokens) -> int:
        """How many tokens of a conversation features of images fill."""
        return sum(i == self._image for i in tokens.ids)

    def _asked(self, ask: Any, inputs: Inputs, **more: Any) -> Any:
        self._refuse_lacking(inputs)
        moved = {name: value.to(self.device) for name, value in inputs.items()}
        try:
            return ask(**moved, **more)
        except ValueError as error:
            if "image" in str(error).lower() and "match" in str(error).lower():
                first = str(error).splitlines()[0]
                raise DataError(f"places for images in a conversation and their features differ: {first}") from error
            raise

    def _refuse_lacking(self, inputs: Inputs) -> None:
        """Of a model with a number of queries for each image, whose library does not count (BLIP-2)."""
        config: Any = self.inner.config
        queries, pictures = getattr(config, "num_query_tokens", None), inputs.get("pixel_values")
        if queries is None or pictures is None:
            return
        places, wanted = int((inputs["input_ids"] == self._image).sum()), queries * len(pictures)
        if places != wanted:
            raise DataError(f"places for images in a conversation and their features differ: {places} and {wanted}")

    def spare_memory(self) -> None:
        """Compute activations of the blocks again in the backward pass (gradient checkpointing)."""
        inner: Any = self.inner
        inner.gradient_checkpointing_enable({"use_reentrant": False})

    # low-rank updates

    @property
    def has_lora(self) -> bool:
        return self._lora is not None

    def add_lora(self, rank: int, alpha: float | None, seed: int) -> None:
        """Low-rank updates of every attention layer of the language model; alpha None: twice the rank."""
        from peft import LoraConfig, get_peft_model  # seconds that other methods need not wait

        inner: Any = self.inner
        place, decoder = self._decoder()
        config = LoraConfig(
            r=rank,
            lora_alpha=int(alpha or 2 * rank),
            target_modules=[f"{place}.{name}" for name in structure.lora_targets(decoder)],
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            object.__setattr__(self, "_lora", get_peft_model(inner, config))  # it puts its layers into `inner`

    def lora_parameters(self) -> list[nn.Parameter]:
        return [p for n, p in self.inner.named_parameters() if ".lora_" in n]

    def save_lora(self, folder: Path) -> None:
        """peft's own format, for the model as transformers reads it."""
        self._lora.save_pretrained(folder)

    def load_lora(self, folder: Path) -> None:
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(self._lora, state.read(folder / "adapter_model.safetensors"))

    def _decoder(self) -> tuple[str, nn.Module]:
        """The language model and its name inside the whole."""
        inner: Any = self.inner
        decoder = inner.get_decoder()
        return next(name for name, part in inner.named_modules() if part is decoder), decoder


def load_image_text(source: str, *, four_bit: bool = False) -> ImageTextModel:
    """The whole model in evaluation mode, in float32 on the CPU or its language model in four bits. Every key of its
    files must be used, and none may be missing."""
    found = locate(source)
    fetch_tokenizer(source)
    if not Path(source).expanduser().is_dir():
        repository, _, revision = source.partition("@")
        for name in _MORE_FILES:
            try:
                hub_file(repository, name, revision or None)
            except WeightsError:
                continue  # a file that many repositories lack, and no network to ask
    model = strictly_read(
        transformers.AutoModelForImageTextToText, found, "a model of images and text", four_bit=four_bit
    )
    if getattr(model.config.get_text_config(), "is_encoder_decoder", False):
        raise WeightsError("a language model with an encoder of its own (T5) is not trained here", where=source)
    try:
        with quiet():
            processor: Any = transformers.AutoProcessor.from_pretrained(
                found.folder, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # transformers raises many kinds for absent and damaged files
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"it has no processor that transformers can read: {first}",
            where=source,
            remedy="copy processor_config.json, preprocessor_config.json and the tokenizer's files beside its weights",
        ) from error
    if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
        raise WeightsError("it has no processor of images and text", where=source)
    tokenizer = processor.tokenizer
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return ImageTextModel(model, processor, name=source, weights_record=found.as_record())
