"""A SAM model with learned class prompts: which weights a method trains, and those weights on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medvfm.models import structure
from medvfm.models.sam.model import ImageEmbeddings, SamModel
from medvfm.nn import state
from medvfm.nn.prompts import Prompts


class TrainableSam(nn.Module):
    """class_prompts (K, T, width): T learned tokens for each of K classes; None where prompts come from outside."""

    def __init__(self, segmenter: SamModel, classes: int, tokens: int, seed: int) -> None:
        super().__init__()
        self.segmenter, self.seed = segmenter, seed
        self.staged = False  # an earlier stage has trained what the last one may freeze
        self.class_prompts: nn.Parameter | None = None
        if classes:
            generator = torch.Generator().manual_seed(seed)
            noise = torch.randn(classes, tokens, segmenter.parts.width, generator=generator)
            self.class_prompts = nn.Parameter(noise * 0.1)

    def decode_classes(self, embeddings: ImageEmbeddings, *, training: bool = False) -> torch.Tensor:
        """(N, K, H, W) logits of every class in every picture."""
        assert self.class_prompts is not None
        classes, pictures = len(self.class_prompts), len(embeddings)
        picture = torch.arange(pictures, device=self.segmenter.device).repeat_interleave(classes)
        tokens = self.class_prompts.repeat(pictures, 1, 1)
        found = self.segmenter.decode(embeddings, Prompts(picture), tokens=tokens, training=training)
        return found.logits.unflatten(0, (pictures, classes))

    def set_trainable(self, method: str, *, rank: int, alpha: float | None, with_prompt_encoder: bool) -> None:
        """zero_shot: nothing; decoder and promptless: the decoder; lora and full: the encoder too.

        A model from scratch (`tiny`) has no pretrained part: all of it is trained. What no mask depends on, such as the
        heads of further masks, stays frozen.
        """
        parts = self.segmenter.parts
        self.requires_grad_(False)
        if method == "zero_shot":
            return
        if method == "lora":
            from peft import LoraConfig, get_peft_model  # seconds that the other methods need not wait

            config = LoraConfig(
                r=rank,
                lora_alpha=int(alpha or 2 * rank),
                target_modules=structure.lora_targets(parts.vision_encoder),
            )
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)
                parts.vision_encoder = get_peft_model(parts.vision_encoder, config)
        parts.mask_decoder.requires_grad_(True)
        from_scratch = self.segmenter.name == "tiny"
        if method == "full" or (from_scratch and method == "promptless"):
            parts.vision_encoder.requires_grad_(True)
        if (with_prompt_encoder or from_scratch) and method != "promptless":
            parts.prompt_encoder.requires_grad_(True)
        if self.class_prompts is not None:
            self.class_prompts.requires_grad_(method == "promptless")
        # Random position encodings are fixed in the published models; cached maps have passed `beside_encoder` already.
        if hasattr(parts, "shared_image_embedding"):
            parts.shared_image_embedding.requires_grad_(False)
        beside = {id(p) for module in parts.beside_encoder() for p in module.parameters()}
        for module in parts.beside_encoder():
            module.requires_grad_(method in ("lora", "full"))
        self._freeze_unused(method, but=beside | {id(p) for p in parts.vision_encoder.parameters()})

    def _freeze_unused(self, method: str, but: set[int]) -> None:
        """Found by a backward pass from masks of random feature maps, with every kind of prompt."""
        segmenter, generator = self.segmenter, torch.Generator().manual_seed(0)
        side, whole = segmenter.frame.side_px or 64, segmenter.frame
        if segmenter.name == "tiny":  # its maps of noise are those of a picture of 64 px, whatever size is set
            segmenter.frame = replace(whole, longest_px=None)
        maps = tuple(m.to(segmenter.device) for m in segmenter.parts.noise(generator))
        modes = [(m, m.training) for m in self.modules()]
        self.eval()
        with torch.enable_grad():
            embeddings = ImageEmbeddings(maps, (side, side))
            if method == "promptless":
                total = self.decode_classes(embeddings, training=True).square().sum()
            else:
                box = torch.tensor([[side * 0.2, side * 0.3, side * 0.7, side * 0.8]])
                points = torch.tensor([[[side * 0.4, side * 0.5], [side * 0.9, side * 0.1]]])
                picture = torch.zeros(1, dtype=torch.long)
                total = torch.zeros((), device=segmenter.device)
                for given in (Prompts(picture, box), Prompts(picture, None, points, torch.tensor([[1, 0]]))):
                    found = segmenter.decode(embeddings, given, multimask_output=False, training=True)
                    total = total + found.logits.square().sum() + found.iou.sum()
            named = [p for p in self.parameters() if p.requires_grad and id(p) not in but]
            gradients = torch.autograd.grad(total, named, allow_unused=True)
        segmenter.frame = whole
        for module, mode in modes:
            module.training = mode
        # The first masks of `tiny` are its prior whatever most weights say: there a zero means nothing.
        zero_is_unused = segmenter.name != "tiny"
        for parameter, gradient in zip(named, gradients, strict=True):
            if gradient is None or (zero_is_unused and not gradient.any()):
                parameter.requires_grad_(False)

    def end_stage(self, method: str) -> None:
        """To be called before another method is set up: low-rank updates become part of the weights."""
        self.staged = True
        if method == "lora":
            wrapped: Any = self.segmenter.parts.vision_encoder
            self.segmenter.parts.vision_encoder = wrapped.merge_and_unload()

    @property
    def encoder_is_frozen(self) -> bool:
        return not any(p.requires_grad for p in self.segmenter.parts.vision_encoder.parameters())

    def save(self, method: str, folder: Path) -> None:
        """`model.safetensors` holds what was trained, after several stages every weight; `lora/` is peft's own format,
        for the plain encoder."""
        if method == "lora":
            wrapped: Any = self.segmenter.parts.vision_encoder
            wrapped.save_pretrained(folder / "lora")
        kept = self.state_dict() if self.staged else state.trained(self)
        own = {n: w.detach().to("cpu", copy=True) for n, w in kept.items() if ".lora_" not in n}
        state.write(folder / "model.safetensors", own)

    def load(self, method: str, folder: Path) -> None:
        """Put back what `save` wrote."""
        if method == "lora":
            from peft import set_peft_model_state_dict

            adapted = state.read(folder / "lora" / "adapter_model.safetensors")
            set_peft_model_state_dict(self.segmenter.parts.vision_encoder, adapted)
        state.put_trained(self, state.read(folder / "model.safetensors"))
