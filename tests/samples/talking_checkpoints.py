"""Tiny checkpoints of published image-text families, in the hub's format, as their own libraries save them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from medvfm.models.language.tiny import TEMPLATE, byte_tokenizer

TEXT = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    "initializer_range": 0.1,
}  # fmt: skip
VISION = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
SPECIAL = ("<pad>", "<|im_start|>", "<|im_end|>")
LLAVA_SPECIAL = ("<|pad|>", "<|im_start|>", "<|im_end|>", "<image>")
LLAVA_VISION = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 28,
    "patch_size": 14, "projection_dim": 16,
}  # fmt: skip
LLAVA_TEXT = {
    "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "eos_token_id": 2, "pad_token_id": 0, "bos_token_id": 1,
}  # fmt: skip


def template(image: str) -> str:
    """ChatML for contents in parts, with a default system prompt; `image` stands where an image is."""
    return (
        "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "{% endif %}"
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}{% if c['type'] == 'image' %}"
        + image
        + "{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


def _qwen(folder: Path, family: str, video: str, vision: dict[str, Any], **text: Any) -> Any:
    """Pictures of 32 x 32 become 16 tokens, of 32 x 48 24."""
    times = text.get("hidden_size", TEXT["hidden_size"]) // TEXT["hidden_size"]
    tokenizer = byte_tokenizer(None, (*SPECIAL, "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"))
    rope = {"rope_type": "default", "mrope_section": [times, times, 2 * times], "rope_theta": 1e4}
    config = getattr(transformers, f"{family}Config")(
        text_config={**TEXT, "vocab_size": len(tokenizer), "rope_parameters": rope, **text},
        vision_config={
            "depth": 2, "num_heads": 2, "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2,
            "in_channels": 3, **vision,
        },
        vision_start_token_id=3, vision_end_token_id=4, image_token_id=5, video_token_id=6,
    )  # fmt: skip
    processor = getattr(transformers, f"{family}Processor")(
        image_processor=transformers.Qwen2VLImageProcessor(patch_size=4, merge_size=2, min_pixels=64, max_pixels=4096),
        video_processor=getattr(transformers, video)(patch_size=4, merge_size=2),
        tokenizer=tokenizer,
        chat_template=template("<|vision_start|><|image_pad|><|vision_end|>"),
    )
    return _saved(folder, getattr(transformers, f"{family}ForConditionalGeneration"), config, processor)


def qwen2_vl(folder: Path, width: int = 32, inner: int = 48) -> Any:
    vision = {"embed_dim": 16, "hidden_size": width, "mlp_ratio": 2}
    return _qwen(folder, "Qwen2VL", "Qwen2VLVideoProcessor", vision, hidden_size=width, intermediate_size=inner)


def qwen2_5_vl(folder: Path) -> Any:
    """Lingshu is of this family."""
    vision = {"hidden_size": 16, "out_hidden_size": 32, "intermediate_size": 32, "window_size": 16}
    return _qwen(folder, "Qwen2_5_VL", "Qwen2VLVideoProcessor", {**vision, "fullatt_block_indexes": [1]})


def qwen3_vl(folder: Path) -> Any:
    """Features of an early block go into an early layer, too."""
    vision = {"hidden_size": 16, "out_hidden_size": 32, "intermediate_size": 32, "num_position_embeddings": 64}
    return _qwen(folder, "Qwen3VL", "Qwen3VLVideoProcessor", {**vision, "deepstack_visual_indexes": [0]}, head_dim=8)


def gemma3(folder: Path) -> Any:
    """MedGemma's family: every picture becomes four tokens, between line breaks."""
    more = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    plain = byte_tokenizer(None, (*SPECIAL, *more.values()))
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain.backend_tokenizer, pad_token=SPECIAL[0], bos_token=SPECIAL[1], eos_token=SPECIAL[2],
        extra_special_tokens=more,
    )  # fmt: skip
    config = transformers.Gemma3Config(
        text_config={**TEXT, "vocab_size": len(tokenizer), "head_dim": 8, "sliding_window": 64},
        vision_config={**VISION, "model_type": "siglip_vision_model"},
        mm_tokens_per_image=4, boi_token_index=3, eoi_token_index=4, image_token_index=5,
    )  # fmt: skip
    processor = transformers.Gemma3Processor(
        image_processor=transformers.Gemma3ImageProcessor(size={"height": 32, "width": 32}),
        tokenizer=tokenizer,
        chat_template=template("<start_of_image>"),
        image_seq_length=4,
    )
    return _saved(folder, transformers.Gemma3ForConditionalGeneration, config, processor)


def llava_15(folder: Path) -> Any:
    """LLaVA 1.5 in transformers' layout: a picture of 28 x 28 becomes four tokens."""
    tokenizer = byte_tokenizer(TEMPLATE, LLAVA_SPECIAL)
    config = transformers.LlavaConfig(
        vision_config={"model_type": "clip_vision_model", **LLAVA_VISION},
        text_config={"model_type": "mistral", "vocab_size": len(tokenizer), "initializer_range": 0.2, **LLAVA_TEXT},
        image_token_index=3,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.LlavaForConditionalGeneration(config).eval()
        for parameter in model.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def llava_next(folder: Path) -> Any:
    """A picture becomes tokens of the whole and of its tiles."""
    tokenizer = byte_tokenizer(None, (*SPECIAL, "<image>"))
    config = transformers.LlavaNextConfig(
        text_config={**TEXT, "vocab_size": len(tokenizer), "model_type": "llama"},
        vision_config={**VISION, "model_type": "clip_vision_model", "projection_dim": 16},
        image_grid_pinpoints=[[32, 64], [64, 32]], image_token_index=3, vision_feature_layer=-2,
    )  # fmt: skip
    processor = transformers.LlavaNextProcessor(
        image_processor=transformers.LlavaNextImageProcessor(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_grid_pinpoints=[[32, 64], [64, 32]]
        ),
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template("<image>\n"),
    )
    return _saved(folder, transformers.LlavaNextForConditionalGeneration, config, processor)


def idefics3(folder: Path) -> Any:
    """SmolVLM's family: a picture becomes tiles, each between tokens that name its place."""
    places = [f"<row_{r}_col_{c}>" for r in range(1, 4) for c in range(1, 4)]
    tokenizer = byte_tokenizer(
        None, (*SPECIAL, "<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", *places)
    )
    config = transformers.Idefics3Config(
        text_config={**TEXT, "vocab_size": len(tokenizer), "model_type": "llama"},
        vision_config={**VISION, "model_type": "idefics3_vision"},
        scale_factor=2, image_token_id=4,
    )  # fmt: skip
    processor = transformers.Idefics3Processor(
        image_processor=transformers.Idefics3ImageProcessor(
            size={"longest_edge": 64}, max_image_size={"longest_edge": 32}
        ),
        tokenizer=tokenizer,
        image_seq_len=4,
        chat_template=template("<image>"),
    )
    return _saved(folder, transformers.Idefics3ForConditionalGeneration, config, processor)


def blip2(folder: Path) -> Any:
    """Four queries a picture, before the text, which has no template."""
    tokenizer = byte_tokenizer(None, (*SPECIAL, "<image>"))
    config = transformers.Blip2Config(
        vision_config={**VISION, "model_type": "blip_2_vision_model"},
        qformer_config={
            "vocab_size": 10, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
            "intermediate_size": 32, "encoder_hidden_size": 16, "cross_attention_frequency": 1,
        },
        text_config={
            "model_type": "opt", "vocab_size": len(tokenizer), "hidden_size": 32, "word_embed_proj_dim": 32,
            "ffn_dim": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 512,
            "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "init_std": 0.1,
        },
        num_query_tokens=4, image_token_index=3,
    )  # fmt: skip
    processor = transformers.Blip2Processor(
        image_processor=transformers.BlipImageProcessor(size={"height": 32, "width": 32}),
        tokenizer=tokenizer,
        num_query_tokens=4,
    )
    return _saved(folder, transformers.Blip2ForConditionalGeneration, config, processor)


def instructblip(folder: Path) -> Any:
    """As BLIP-2; its queries read the question, too, by a tokenizer of their own."""
    tokenizer, own = byte_tokenizer(None, (*SPECIAL, "<image>")), byte_tokenizer(None, SPECIAL)
    config = transformers.InstructBlipConfig(
        vision_config={**VISION, "model_type": "instructblip_vision_model"},
        qformer_config={
            "vocab_size": len(own), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
            "intermediate_size": 32, "encoder_hidden_size": 16, "cross_attention_frequency": 1,
        },
        text_config={**TEXT, "model_type": "llama", "vocab_size": len(tokenizer)},
        num_query_tokens=4, image_token_index=3,
    )  # fmt: skip
    processor = transformers.InstructBlipProcessor(
        image_processor=transformers.BlipImageProcessor(size={"height": 32, "width": 32}),
        tokenizer=tokenizer,
        qformer_tokenizer=own,
        num_query_tokens=4,
    )
    return _saved(folder, transformers.InstructBlipForConditionalGeneration, config, processor)


FAMILIES: dict[str, Callable[[Path], Any]] = {
    "qwen2_vl": qwen2_vl, "gemma3": gemma3, "llava_next": llava_next, "idefics3": idefics3, "blip2": blip2,
    "instructblip": instructblip,
}  # fmt: skip
KIN: dict[str, Callable[[Path], Any]] = {"qwen2_5_vl": qwen2_5_vl, "qwen3_vl": qwen3_vl}


def _saved(folder: Path, family: Any, config: Any, processor: Any) -> Any:
    """The model that was saved, as its library made it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = family(config).eval()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return model
