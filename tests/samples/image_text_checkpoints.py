"""Small image-text models in their libraries' formats, written as the libraries write them."""

from __future__ import annotations

import json
from pathlib import Path

import torch

WORDS = ["[PAD]", "[UNK]", "[BOS]", "[EOS]", "a", "photo", "of", "lesion", "no", "lung", "the", "heart"]
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
BERT = {**SMALL, "vocab_size": 40, "max_position_embeddings": 32}


def word_tokenizer(limit: int, begin: bool):
    """Whole words between [BOS] and [EOS]; SigLIP has no token at the beginning."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="[BOS] $A [EOS]" if begin else "$A [EOS]", special_tokens=[("[BOS]", 2), ("[EOS]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", bos_token="[BOS]", eos_token="[EOS]",
        model_max_length=limit, **({} if begin else {"model_input_names": ["input_ids"]}),
    )  # fmt: skip


def letter_tokenizer(limit: int):
    """SigLIP 2's own tokenizer, of single letters: transformers rebuilds it from its vocabulary and merges."""
    from transformers import Siglip2Tokenizer

    letters = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *"▁aefghinot"]
    return Siglip2Tokenizer(
        vocab={letter: i for i, letter in enumerate(letters)}, merges=[], model_max_length=limit,
        padding_side="right", model_input_names=["input_ids"],
    )  # fmt: skip


def write_transformers(name: str, folder: Path) -> Path:
    """A small clip, siglip or siglip2 with its processor and tokenizer."""
    import transformers as T

    limit = 12
    text = {
        **SMALL, "vocab_size": 16, "max_position_embeddings": limit, "eos_token_id": 3, "bos_token_id": 2,
        "pad_token_id": 0,
    }  # fmt: skip
    vision = {**SMALL, "image_size": 32, "patch_size": 8}
    sides = {"height": 32, "width": 32}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        if name == "clip":
            model = T.CLIPModel(T.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24))
            processor = T.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=sides)
        elif name == "siglip":
            model = T.SiglipModel(T.SiglipConfig(text_config={**text, "projection_size": 32}, vision_config=vision))
            processor = T.SiglipImageProcessor(size=sides)
        else:
            vision = {**SMALL, "num_patches": 16, "patch_size": 8}
            model = T.Siglip2Model(T.Siglip2Config(text_config={**text, "projection_size": 32}, vision_config=vision))
            processor = T.Siglip2ImageProcessor(patch_size=8, max_num_patches=16)
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    tokenizer = letter_tokenizer(limit) if name == "siglip2" else word_tokenizer(limit, begin=name == "clip")
    for part in (model, processor, tokenizer):
        part.save_pretrained(folder)
    return folder


def write_bert(folder: Path, pooler: bool = True) -> Path:
    """A small BERT with its tokenizer."""
    import transformers as T

    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = T.BertModel(T.BertConfig(**BERT), add_pooling_layer=pooler)
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    write_bert_tokenizer(folder)
    return folder


def write_bert_tokenizer(folder: Path) -> None:
    from transformers import BertTokenizerFast

    letters = [f"##{letter}" for letter in "abcdefghilnst"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS[4:], *letters]
    BertTokenizerFast(vocab={w: i for i, w in enumerate(vocabulary)}, model_max_length=24).save_pretrained(folder)


def write_biomedclip(folder: Path, **preprocess) -> Path:
    """A folder of BiomedCLIP's shape: a trunk of timm, a BERT behind a perceptron, its tokenizer and config beside."""
    import transformers as T
    from open_clip.model import CustomTextCLIP

    T.BertConfig(**BERT).save_pretrained(folder)
    write_bert_tokenizer(folder)
    text = {
        "hf_model_name": str(folder), "hf_tokenizer_name": "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",
        "hf_proj_type": "mlp", "hf_pooler_type": "cls_last_hidden_state_pooler", "context_length": 20,
    }  # fmt: skip
    vision = {
        "timm_model_name": "test_vit", "timm_model_pretrained": False, "timm_pool": "", "timm_proj": "linear",
        "image_size": 160,
    }  # fmt: skip
    config = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = CustomTextCLIP(**{**config, "text_cfg": {**text, "hf_model_pretrained": False}})
        for parameter in model.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    text["hf_model_name"] = "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract"
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    return folder
