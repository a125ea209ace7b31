"""Stable Diffusion 1.x and 2.x in diffusers' format, published (RoentGen too) or adapted: U-Net, VAE, CLIP text."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from medvfm.core.errors import RecipeError, WeightsError
from medvfm.models.diffusion import learned_tokens, lora
from medvfm.models.diffusion.diffusers_folder import INDEX, TEXT_WEIGHTS, DiffusersFolder
from medvfm.models.diffusion.generator import ImageGenerator, with_channels
from medvfm.models.diffusion.learned_tokens import LearnedTokens
from medvfm.models.diffusion.sampling import scheduler_arguments
from medvfm.models.encoders.from_transformers import quiet
from medvfm.models.weights import account, load_strictly, sha256_of, sha256_of_tensors
from medvfm.nn import state
from medvfm.nn.diffusion import PREDICTIONS, NoiseSchedule

UNET, TEXT, VAE = "unet", "text_encoder", "vae"
FILE = "diffusion_pytorch_model.safetensors"
CONTROLNET = "controlnet"
TUNES: dict[str, tuple[str, ...]] = {  # by method
    "full": (UNET,),
    "full_text": (UNET, TEXT),
    "lora": (UNET,),
    "controlnet": (CONTROLNET,),
    "inpaint": (UNET,),
    "restore": (UNET,),
    "autoencoder": (VAE,),
    "textual_inversion": (),
    "zero_shot": (),
}
KL_WEIGHT = 1e-6
HINT_WIDTHS = (16, 32, 96, 256)  # of the layers that bring a mask to the size of latents
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_OLD_NAME = re.compile(r"(.*\.attentions\.\d+\.)(query|key|value|proj_attn)\.(weight|bias)")


class DiffusersGenerator(ImageGenerator):
    """See the module's docstring. Gray images are replicated for the VAE, and what it makes of them is averaged.

    hashes  part (`unet`, `text_encoder`, `vae`) to the sha256 of its files
    """

    def __init__(
        self,
        unet: Any,
        vae: Any,
        text_encoder: Any,
        tokenizer: Any,
        scheduler_config: Mapping[str, Any],
        *,
        size_px: tuple[int, int] | None,
        source: str,
        licence: str | None,
        hashes: Mapping[str, str],
    ) -> None:
        super().__init__()
        self.unet, self.vae, self.text_encoder, self.tokenizer = unet, vae, text_encoder, tokenizer
        self.controlnet: Any = None
        self._tokens: list[LearnedTokens] = []  # in a list, since the text encoder holds them as its module
        self.reads_region = unet.config.in_channels == 2 * vae.config.latent_channels + 1
        self.sampler_config = dict(scheduler_config)
        self.schedule = schedule_of(scheduler_config, source)
        self.channels = 3
        self.factor = 2 ** (len(vae.config.block_out_channels) - 1)
        self.size_px = _fitting(unet, self.factor, size_px)
        self.latent_shape = (vae.config.latent_channels, *(side // self.factor for side in self.size_px))
        self.scale = float(vae.config.scaling_factor)
        self._source, self._licence, self._hashes = source, licence, dict(hashes)
        self._changed: set[str] = set()  # parts that an earlier stage trained

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        given = with_channels(images, self.vae.config.in_channels)
        found = self.vae.encode(given.to(self.vae.dtype) * 2 - 1).latent_dist
        return found.mean * self.scale, found.std * self.scale

    def decode(self, latents: Tensor) -> Tensor:
        made = self.vae.decode(latents.to(self.vae.dtype) / self.scale, return_dict=False)[0]
        return with_channels((made / 2 + 0.5).clamp(0, 1), self.channels)

    def read_texts(self, texts: Sequence[str]) -> Tensor:
        """(B, tokens, width) last hidden states; texts longer than the tokenizer's limit are cut, as the model's own
        pipeline does."""
        ids = self.tokenizer(
            list(texts),
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        found: Tensor = self.text_encoder(ids.to(self.unet.device))[0]
        return found

    def is_cut(self, text: str) -> bool:
        return len(self.tokenizer(text, truncation=False, verbose=False).input_ids) > self.tokenizer.model_max_length

    def prompts(self, words: Sequence[str]) -> list[str]:
        return learned_tokens.said(words, *self.new_word[:2]) if self._tokens else list(words)

    def states(self, texts: Tensor, values: Tensor) -> Tensor:
        return texts

    def denoise(self, noisy: Tensor, t: Tensor, states: Tensor, **more: Tensor) -> Tensor:
        if self.reads_region:
            noisy = torch.cat([noisy, more["region"].to(noisy), more["around"].to(noisy)], dim=1)
        if self.reads_image:
            noisy = torch.cat([noisy, more["given"].to(noisy)], dim=1)
        states = states.to(noisy.dtype)
        beside: dict[str, Any] = {}
        if self.controlnet is not None:
            hint = with_channels(more["hint"], 3).to(noisy)
            down, middle = self.controlnet(noisy, t, states, controlnet_cond=hint, return_dict=False)
            beside = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
        found: Tensor = self.unet(noisy, t, encoder_hidden_states=states, return_dict=False, **beside)[0]
        return found

    def set_trainable(self, method: str, *, rank: int, alpha: float | None, seed: int) -> None:
        self.requires_grad_(False)
        if method == "lora":
            lora.inject(self.unet, rank, alpha, seed)
            return
        if method == "textual_inversion":
            if not self._tokens:
                self._tokens.append(learned_tokens.add(self.text_encoder, self.tokenizer, *self.new_word))
            self._tokens[0].learned.requires_grad_(True)
            return
        if method == "controlnet" and self.controlnet is None:
            self.controlnet = controlnet_of(self.unet, self.factor, seed).to(self.unet.device)
        if method == "restore":
            widen(self.unet, 2 * self.unet.config.out_channels)
        for part in TUNES[method]:
            getattr(self, part).requires_grad_(True)

    def end_stage(self, method: str) -> None:
        self._changed |= set(TUNES[method])
        if method == "lora":
            lora.merge(self.unet)

    def tower_sha256(self, tower: str) -> str:
        part = {"autoencoder": VAE, "text": TEXT}[tower]
        if part in self._changed:
            return sha256_of_tensors(getattr(self, part).state_dict())
        return self._hashes[part]

    def save(self, folder: Path, method: str) -> None:
        """`pytorch_lora_weights.safetensors` of LoRA, `learned_embeds.safetensors` of textual inversion; else a folder
        as diffusers has it for each part that was trained."""
        if method == "lora":
            lora.save(self.unet, folder)
        if method == "textual_inversion":
            learned_tokens.save(self._tokens[0], self.new_word[0], folder)
        for part in self._kept(method):
            own = getattr(self, part)
            (folder / part).mkdir(parents=True, exist_ok=True)
            if part == TEXT:
                own.save_pretrained(folder / part)
            else:
                own.save_config(folder / part)
                state.write(folder / part / FILE, lora.without(own))

    def load(self, folder: Path, method: str) -> None:
        for part in self._kept(method):
            own = getattr(self, part)
            if part == TEXT:
                found = text_of(DiffusersFolder(str(folder), folder))[0].state_dict()
                load_strictly(own, found, str(folder / part))
            else:
                lora.put(own, state.read(folder / part / FILE), str(folder / part))
        if method == "lora":
            lora.load(self.unet, folder)
        if method == "textual_inversion":
            learned_tokens.load(self._tokens[0], self.new_word[0], folder)

    def _kept(self, method: str) -> list[str]:
        """Parts whose weights are no longer the published ones, low-rank updates aside."""
        return sorted(self._changed | (set(TUNES[method]) if method != "lora" else set()))

    def reconstruction_loss(self, images: Tensor, posterior: Tensor) -> Tensor:
        """L1 of images through latents drawn with `posterior`, and KL_WEIGHT times the divergence of the latents from
        standard normal ones; Rombach et al. 2022, app. G."""
        given = with_channels(images, self.vae.config.in_channels) * 2 - 1
        found = self.vae.encode(given).latent_dist
        made = self.vae.decode(found.mean + found.std * posterior.to(found.mean), return_dict=False)[0]
        loss: Tensor = (made.float() - given).abs().mean() + KL_WEIGHT * found.kl().mean()
        return loss

    def record(self) -> dict[str, Any]:
        trained = {part: any(p.requires_grad for p in getattr(self, part).parameters()) for part in (UNET, VAE, TEXT)}
        roles = {UNET: "denoiser", VAE: "autoencoder", TEXT: "text"}
        return {
            "weights": self._source,
            "sha256": hashlib.sha256("".join(self._hashes[p] for p in sorted(self._hashes)).encode()).hexdigest(),
            "licence": self._licence,
            "scaling_factor": self.scale,
            "towers": [
                {
                    "role": roles[part],
                    "weights": self._source,
                    "sha256": self._hashes[part],
                    "licence": self._licence,
                    "trained": trained[part],
                }
                for part in (UNET, VAE, TEXT)
            ],
        }


def widen(unet: Any, channels: int) -> None:
    """Further channels at the U-Net's entrance, whose weights begin as zero, so that it begins as it was; Brooks et al.
    2023 (InstructPix2Pix), section 3.2."""
    old = unet.conv_in
    if old.in_channels == channels:
        return
    new: Any = torch.nn.Conv2d(channels, old.out_channels, old.kernel_size, old.stride, old.padding).to(old.weight)
    with torch.no_grad():
        new.weight.zero_()
        new.weight[:, : old.in_channels] = old.weight
        new.bias.copy_(old.bias)
    unet.conv_in = new
    unet.register_to_config(in_channels=channels)


def controlnet_of(unet: Any, factor: int, seed: int) -> Any:
    """A copy of the U-Net's first half that reads a mask, joined by convolutions that begin as zero; Zhang 2023."""
    from diffusers import ControlNetModel

    widths = HINT_WIDTHS[: factor.bit_length()] if factor <= 8 else (*HINT_WIDTHS, *[256] * (factor.bit_length() - 4))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=widths)


def load_diffusers(found: DiffusersFolder, size_px: tuple[int, int] | None) -> DiffusersGenerator:
    """All parts of a folder or hub repository, every key accounted for, in float32. No safety checker is loaded: it
    was trained on photographs, and blackens medical images by chance."""
    index = found.config("", INDEX)
    kinds = {part: str((index.get(part) or [None, ""])[1]) for part in (UNET, VAE, TEXT)}
    wanted = {UNET: "UNet2DConditionModel", VAE: "AutoencoderKL", TEXT: "CLIPTextModel"}
    for part, kind in wanted.items():
        if kinds[part] != kind:
            raise WeightsError(
                f"its {part} is of the kind {kinds[part] or 'none'}, and {kind} is needed",
                where=found.source,
                remedy="give a Stable Diffusion of the family 1.x or 2.x",
            )
    unet, unet_sha = model_of(UNet2DConditionModel, found, UNET)
    if unet.config.in_channels not in (unet.config.out_channels, 2 * unet.config.out_channels + 1):
        raise WeightsError(f"its U-Net takes {unet.config.in_channels} channels", where=found.source)
    vae, vae_sha = model_of(AutoencoderKL, found, VAE)
    text_encoder, text_sha = text_of(found)
    return DiffusersGenerator(
        unet,
        vae,
        text_encoder,
        CLIPTokenizer.from_pretrained(found.tokenizer(), local_files_only=True),
        found.config("scheduler", "scheduler_config.json"),
        size_px=size_px,
        source=found.source,
        licence=found.licence(),
        hashes={UNET: unet_sha, VAE: vae_sha, TEXT: text_sha},
    )


def model_of(kind: Any, found: DiffusersFolder, part: str) -> tuple[Any, str]:
    """A model of diffusers with its weights, and the sha256 of its files."""
    config = {k: v for k, v in found.config(part).items() if k != "_name_or_path"}
    with init_empty_weights(include_buffers=False):
        model = kind.from_config(config)
    tensors, sha256 = found.tensors(part)
    tensors = {_renamed(name): value for name, value in tensors.items()}
    own = model.state_dict()
    for name in own:
        if name in tensors and own[name].ndim == 2 and tensors[name].ndim == 4:  # 1 x 1 convolutions of early files
            tensors[name] = tensors[name][..., 0, 0]
    account(
        f"{found.source}: {part}",
        missing=own.keys() - tensors.keys(),
        unexpected=tensors.keys() - own.keys(),
        mismatched=[name for name in own if name in tensors and own[name].shape != tensors[name].shape],
    )
    model.load_state_dict(tensors, assign=True)
    return model.eval(), sha256


def text_of(found: DiffusersFolder) -> tuple[Any, str]:
    """The CLIP text encoder, and the sha256 of its files."""
    files = found.files(TEXT, TEXT_WEIGHTS)
    found.needed(f"{TEXT}/config.json")
    variant = "fp16" if ".fp16." in files[0].name else None
    try:
        with quiet():
            kind: Any = CLIPTextModel
            model, info = kind.from_pretrained(
                files[0].parent, variant=variant, output_loading_info=True, local_files_only=True, dtype=torch.float32
            )
    except Exception as error:  # transformers raises many kinds for damaged files; all mean the same to the user
        reason = str(error).strip().splitlines()
        raise WeightsError(
            f"transformers cannot load its {TEXT}: {reason[0] if reason else type(error).__name__}",
            where=found.source,
        ) from error
    account(
        f"{found.source}: {TEXT}",
        missing=info["missing_keys"],
        unexpected=info["unexpected_keys"],
        mismatched=[str(key) for key in info["mismatched_keys"]],
        may_leave=(r"(text_model\.)?embeddings\.position_ids", r"text_projection\.weight"),
    )
    return model.eval(), sha256_of(files)


def schedule_of(config: Mapping[str, Any], source: str) -> NoiseSchedule:
    """The noise and the prediction that a scheduler's configuration states."""
    own: Any = DDPMScheduler(**scheduler_arguments(DDPMScheduler, config))
    prediction = own.config.prediction_type
    if prediction not in PREDICTIONS:
        raise WeightsError(f"its scheduler predicts {prediction!r}; one of {', '.join(PREDICTIONS)}", where=source)
    return NoiseSchedule(own.alphas_cumprod.double(), prediction)


def _fitting(unet: Any, factor: int, size_px: tuple[int, int] | None) -> tuple[int, int]:
    """The size of images: the U-Net's own, or another that it halves evenly."""
    side = unet.config.sample_size
    own = (side, side) if isinstance(side, int) else tuple(side)
    size = size_px or (own[0] * factor, own[1] * factor)
    step = factor * 2 ** (len(unet.config.block_out_channels) - 1)
    if size[0] % step or size[1] % step:
        fits = max(step, round(size[0] / step) * step)
        raise RecipeError(
            f"images of {size[0]} × {size[1]} px cannot be halved evenly by this model",
            where="prepare.size",
            remedy=f"take multiples of {step}, such as {fits}",
        )
    return size


def _renamed(name: str) -> str:
    """Names of attention layers before 2023, which published autoencoders still have."""
    old = _OLD_NAME.fullmatch(name)
    return f"{old[1]}{_OLD_ATTENTION[old[2]]}.{old[3]}" if old else name
