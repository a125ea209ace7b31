"""`tiny`: a small language model from scratch, whose tokens are bytes."""

from __future__ import annotations

from typing import Any

import torch

from medvfm.models.language.language_model import LanguageModel
from medvfm.models.weights import sha256_of_tensors

WIDTH, LAYERS, HEADS, LIMIT = 48, 2, 4, 512
SPECIAL = ("<|pad|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = (  # ChatML, with a default system prompt as published models have one
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou see images.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def load_tiny_language(seed: int = 0) -> LanguageModel:
    """Weights initialised from `seed`; the global generator does not change."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = byte_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS // 2,
        max_position_embeddings=LIMIT,
        tie_word_embeddings=True,
        initializer_range=0.1,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = LlamaForCausalLM(config).eval()
    digest = sha256_of_tensors(backbone.state_dict())
    record = {"source": "tiny", "sha256": digest, "revision": None, "seed": seed, "licence": None}
    return LanguageModel(backbone, tokenizer, name="tiny", weights_record=record)


def byte_tokenizer(template: str | None = TEMPLATE, special: tuple[str, ...] = SPECIAL) -> Any:
    """One token a byte, after the special ones: it needs no file and knows every text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    table = {token: place for place, token in enumerate((*special, *letters))}
    core = Tokenizer(models.BPE(table, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(list(special))
    made = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token=special[0], bos_token=special[1], eos_token=special[2]
    )
    made.chat_template = template
    return made
