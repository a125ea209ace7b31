"""`tiny`: a small promptable segmenter from scratch, which learns cells and organs in minutes on a CPU.

Like SAM it encodes a picture once and decodes it for many prompts (Kirillov et al. 2023), with two differences that
matter for objects of twenty pixels. Masks come out at the resolution of the picture: a pyramid keeps a fine map beside
the coarse one. And a prompt is given twice: as tokens that attend to the coarse map both ways, and as maps that say of
each pixel where it lies in the box (as the relative coordinates of CondInst, Tian et al. 2020) and how far clicks are.
"""

from __future__ import annotations

import hashlib
import itertools
import math

import torch
from torch import nn
from torch.nn import functional

from medvfm.models.tiny import ResidualBlock
from medvfm.nn.prompts import Prompts

WIDTHS = (24, 48, 72, 96)  # at strides 2, 4, 8 and 16
FINE, COARSE = 24, 64
FINE_STRIDE, COARSE_STRIDE, MULTIPLE = 2, 8, 16
LONGEST_WAVE_PX, SHORTEST_WAVE_PX = 1024.0, 6.0
REACH_PX = 8.0  # how far a click is felt in the maps
_DENSE = 8


class TinyImageEncoder(nn.Module):
    """Pictures (N, 3, H, W), sides multiples of 16, to maps (N, 24, H/2, W/2), fine, and (N, 64, H/8, W/8), coarse."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3 + 1, WIDTHS[0], 4, stride=2, padding=1, bias=False)
        self.first = ResidualBlock(WIDTHS[0], WIDTHS[0], 1)
        steps = list(itertools.pairwise(WIDTHS))
        self.down = nn.ModuleList(
            nn.Sequential(ResidualBlock(before, width, 2), ResidualBlock(width, width, 1)) for before, width in steps
        )
        self.narrow = nn.ModuleList(nn.Conv2d(above, width, 1, bias=False) for width, above in steps)
        self.up = nn.ModuleList(ResidualBlock(width, width, 1) for width in WIDTHS[:-1])
        self.norm = nn.BatchNorm2d(WIDTHS[0])
        self.neck = nn.Conv2d(WIDTHS[2], COARSE, 1)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        levels = [self.first(self.stem(torch.cat([pixels, standing_out(pixels)], 1)))]
        for stage in self.down:
            levels.append(stage(levels[-1]))
        pyramid = [levels[-1]]
        for level in reversed(range(len(self.up))):
            above = functional.interpolate(
                self.narrow[level](pyramid[-1]), scale_factor=2, mode="bilinear", align_corners=False
            )
            pyramid.append(self.up[level](above + levels[level]))
        return functional.relu(self.norm(pyramid[-1])), self.neck(functional.relu(pyramid[1]))


class Attention(nn.Module):
    """Multi-head attention of queries (M, T, D) to keys and values (M, L, D)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.output = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        def split(x: torch.Tensor) -> torch.Tensor:
            return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

        mixed = functional.scaled_dot_product_attention(
            split(self.query(query)), split(self.key(key)), split(self.value(value))
        )
        return self.output(mixed.transpose(1, 2).flatten(2))


class TwoWayBlock(nn.Module):
    """Tokens attend to each other and to the map, then the map to the tokens; Kirillov et al. 2023, appendix A."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.among, self.to_map, self.to_tokens = (Attention(width, heads) for _ in range(3))
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))

    def forward(
        self, tokens: torch.Tensor, cells: torch.Tensor, token_places: torch.Tensor, cell_places: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        placed = tokens + token_places
        tokens = self.norms[0](tokens + self.among(placed, placed, tokens))
        tokens = self.norms[1](tokens + self.to_map(tokens + token_places, cells + cell_places, cells))
        tokens = self.norms[2](tokens + self.mlp(tokens))
        cells = self.norms[3](cells + self.to_tokens(cells + cell_places, tokens + token_places, tokens))
        return tokens, cells


class TinyPromptEncoder(nn.Module):
    """Prompts as tokens (M, T, 64) with their places, and as maps (M, 8, H/2, W/2)."""

    def __init__(self) -> None:
        super().__init__()
        # 0 negative click, 1 positive click, 2 and 3 the corners of a box, 4 nothing (also what fills up)
        self.kinds = nn.Embedding(5, COARSE)

    def tokens(self, prompts: Prompts) -> tuple[torch.Tensor, torch.Tensor]:
        places, kinds = [], []
        if prompts.boxes_px is not None:
            corners = prompts.boxes_px.unflatten(1, (2, 2))
            there = torch.isfinite(corners).all(2).all(1, keepdim=True)
            places.append(corners.nan_to_num())
            kinds.append(torch.where(there, torch.tensor([[2, 3]], device=corners.device), 4))
        if prompts.points_px is not None and prompts.point_labels is not None:
            places.append(prompts.points_px)
            kinds.append(torch.where(prompts.point_labels < 0, 4, prompts.point_labels).long())
        if not places:
            device = prompts.picture.device
            places.append(torch.zeros(len(prompts), 1, 2, device=device))
            kinds.append(torch.full((len(prompts), 1), 4, device=device))
        kind = torch.cat(kinds, 1)
        where = waves(torch.cat(places, 1)) * (kind != 4)[..., None]
        return self.kinds(kind), where

    def maps(self, prompts: Prompts, size_px: tuple[int, int]) -> torch.Tensor:
        """Eight maps: across and down the box (-1 and 1 at its edges), inside it, inside its ellipse; near and wide
        around positive clicks, near negative ones; and an earlier mask. 0 where there is no such prompt."""
        grid = (size_px[0] // FINE_STRIDE, size_px[1] // FINE_STRIDE)
        down, across = _centres(grid, FINE_STRIDE, prompts.picture.device)
        maps = torch.zeros(len(prompts), _DENSE, *grid, device=prompts.picture.device)
        if prompts.boxes_px is not None:
            boxed = torch.isfinite(prompts.boxes_px).all(1)
            u, v = _in_box(prompts.boxes_px[boxed], down, across)
            maps[boxed, 0] = u.clamp(-2, 2)[:, None].expand(-1, grid[0], -1)
            maps[boxed, 1] = v.clamp(-2, 2)[:, :, None].expand(-1, -1, grid[1])
            maps[boxed, 2] = 2 * ((v.abs() <= 1)[:, :, None] & (u.abs() <= 1)[:, None]).float() - 1
            maps[boxed, 3] = (1 - u.square()[:, None] - v.square()[:, :, None]).clamp(-2, 1)
        if prompts.points_px is not None and prompts.point_labels is not None:
            maps[:, 4], maps[:, 5], maps[:, 6] = _nearness(prompts.points_px, prompts.point_labels, down, across)
        if prompts.masks is not None:
            maps[:, 7] = (
                functional.interpolate(prompts.masks[:, None].float(), grid, mode="bilinear", align_corners=False)[
                    :, 0
                ].clamp(-4, 4)
                / 4
            )
        return maps

    def prior(self, prompts: Prompts, size_px: tuple[int, int]) -> torch.Tensor:
        """(M, H, W): what a mask is without a look at the picture, above 0 inside. The ellipse in the box, or a disc
        around positive clicks; the decoder starts from it, and learns what differs."""
        device = prompts.picture.device
        down, across = _centres(size_px, 1, device)
        prior = torch.zeros(len(prompts), *size_px, device=device)
        if prompts.points_px is not None and prompts.point_labels is not None:
            near, off, _ = _nearness(prompts.points_px, prompts.point_labels, down, across)
            clicked = (prompts.point_labels >= 0).any(1)[:, None, None]
            prior += torch.where(clicked, near - 0.5 - off, prior)
        if prompts.boxes_px is not None:
            boxed = torch.isfinite(prompts.boxes_px).all(1)
            u, v = _in_box(prompts.boxes_px[boxed], down, across)
            prior[boxed] = (1 - u.square()[:, None] - v.square()[:, :, None]).clamp(-2, 1)
        return prior


def _centres(grid: tuple[int, int], stride: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and columns of pixels at which the cells of a map have their centres."""
    down, across = (torch.arange(side, device=device, dtype=torch.float32) for side in grid)
    return (down + 0.5) * stride - 0.5, (across + 0.5) * stride - 0.5


def _in_box(boxes_px: torch.Tensor, down: torch.Tensor, across: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(M, W) and (M, H): how far across and down each box, -1 and 1 at its outer edges."""
    x0, y0, x1, y1 = boxes_px[:, :, None].unbind(1)
    u = (across - (x0 + x1) / 2) / ((x1 - x0 + 1) / 2).clamp_min(0.5)
    v = (down - (y0 + y1) / 2) / ((y1 - y0 + 1) / 2).clamp_min(0.5)
    return u, v


def _nearness(
    points_px: torch.Tensor, labels: torch.Tensor, down: torch.Tensor, across: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(M, h, w) each, in [0, 1]: near a positive click, near a negative one, and wide around a positive one."""
    on, off, wide = (points_px.new_zeros(len(points_px), len(down), len(across)) for _ in range(3))
    for click in range(points_px.shape[1]):
        x, y = points_px[:, click].unbind(1)
        squared = (across - x[:, None]).square()[:, None] + (down - y[:, None]).square()[:, :, None]
        near = torch.exp(-squared / (2 * REACH_PX**2))
        positive, negative = ((labels[:, click] == label)[:, None, None] for label in (1, 0))
        on = torch.maximum(on, near * positive)
        off = torch.maximum(off, near * negative)
        wide = torch.maximum(wide, positive / (1 + squared.sqrt() / REACH_PX))
    return on, off, wide


class TinyMaskDecoder(nn.Module):
    """Mask logits (M, 1, H, W) and predicted IoU (M, 1) of M objects."""

    def __init__(self, depth: int = 2) -> None:
        super().__init__()
        self.own = nn.Parameter(torch.randn(2, COARSE) * 0.1)  # the tokens of the IoU and of the mask
        self.blocks = nn.ModuleList(TwoWayBlock(COARSE) for _ in range(depth))
        self.from_cells = nn.Conv2d(COARSE, FINE, 1)
        self.from_fine = nn.Conv2d(FINE, FINE, 1, bias=False)
        self.from_prompt = nn.Conv2d(_DENSE, FINE, 1, bias=False)
        self.mix = nn.Conv2d(FINE, FINE, 3, padding=1)
        self.shift = nn.Linear(COARSE, FINE)
        self.hyper = nn.Sequential(nn.Linear(COARSE, COARSE), nn.ReLU(), nn.Linear(COARSE, FINE_STRIDE**2 * FINE))
        self.offset, self.gain = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.full((1,), 4.0))
        self.iou = nn.Sequential(nn.Linear(COARSE, COARSE), nn.ReLU(), nn.Linear(COARSE, 1))

    def forward(
        self,
        fine: torch.Tensor,
        coarse: torch.Tensor,
        picture: torch.Tensor,
        tokens: torch.Tensor,
        places: torch.Tensor,
        maps: torch.Tensor,
        prior: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """fine (N, 24, H/2, W/2), coarse (N, 64, H/8, W/8), picture (M,) which of the N each object lies in, prompts as
        tokens (M, T, 64), places (M, T, 64) and maps (M, 8, H/2, W/2), and the prior (M, H, W) of the mask."""
        count = len(picture)
        tokens = torch.cat([self.own.expand(count, -1, -1), tokens], 1)
        places = torch.cat([places.new_zeros(count, 2, places.shape[2]), places], 1)
        cells = coarse.flatten(2).transpose(1, 2)[picture]
        cell_places = cell_waves((coarse.shape[-2], coarse.shape[-1]), coarse.device)
        for block in self.blocks:
            tokens, cells = block(tokens, cells, places, cell_places)
        near = self.from_cells(cells.transpose(1, 2).unflatten(2, coarse.shape[-2:]))
        near = functional.interpolate(near, fine.shape[-2:], mode="bilinear", align_corners=False)
        mixed = self.from_fine(fine)[picture] + near
        mixed += self.from_prompt(maps)
        mixed = functional.relu(mixed, inplace=True)
        mixed = functional.relu(self.mix(mixed) + self.shift(tokens[:, 1])[:, :, None, None], inplace=True)
        # One set of weights for each pixel of the cell that an entry of the fine map stands for.
        weights = self.hyper(tokens[:, 1]).unflatten(1, (FINE_STRIDE**2, FINE))
        logits = (weights @ mixed.flatten(2)).unflatten(2, fine.shape[-2:])
        logits = functional.pixel_shuffle(logits, FINE_STRIDE) + self.gain * prior[:, None] + self.offset
        return logits, self.iou(tokens[:, 0]).sigmoid()


class TinySam(nn.Module):
    """Image encoder, prompt encoder and mask decoder. See models.segmenter.Parts."""

    width, mask_side = COARSE, 0

    def __init__(self) -> None:
        super().__init__()
        self.vision_encoder, self.prompt_encoder = TinyImageEncoder(), TinyPromptEncoder()
        self.mask_decoder = TinyMaskDecoder()
        self.vision_encoder.to(memory_format=torch.channels_last)

    def image(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.vision_encoder(pixels.contiguous(memory_format=torch.channels_last))

    def masks(
        self, maps: tuple[torch.Tensor, ...], prompts_model_px: Prompts, tokens: torch.Tensor | None, many: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        fine, coarse = maps
        size_px = (fine.shape[-2] * FINE_STRIDE, fine.shape[-1] * FINE_STRIDE)
        dense, prior = (
            make(prompts_model_px, size_px) for make in (self.prompt_encoder.maps, self.prompt_encoder.prior)
        )
        if tokens is None:
            tokens, places = self.prompt_encoder.tokens(prompts_model_px)
        else:
            places = torch.zeros_like(tokens)
        return self.mask_decoder(fine, coarse, prompts_model_px.picture, tokens, places, dense, prior)


def standing_out(pixels: torch.Tensor) -> torch.Tensor:
    """(N, 1, H, W): how far a pixel's grey is from the mean of the 36 pixels around, in their deviations: a dim object
    beside a bright one looks like the bright one."""
    grey = pixels.mean(1, keepdim=True)
    cells = functional.avg_pool2d(torch.cat([grey, grey.square()], 1), 4)
    around = functional.avg_pool2d(cells, 9, stride=1, padding=4, count_include_pad=False)
    mean, squared = functional.interpolate(around, grey.shape[-2:], mode="bilinear", align_corners=False).split(1, 1)
    return (grey - mean) / (squared - mean.square()).clamp_min(0).add(0.01).sqrt()


def waves(places_px: torch.Tensor) -> torch.Tensor:
    """(..., 2) x and y in pixels to (..., 64) sines and cosines; pixels, not shares, so that any picture size works."""
    count = COARSE // 4
    steps = torch.linspace(math.log(SHORTEST_WAVE_PX), math.log(LONGEST_WAVE_PX), count, device=places_px.device)
    phase = places_px.float()[..., None] * (2 * math.pi / steps.exp())
    return torch.cat([phase.sin(), phase.cos()], -1).flatten(-2)


def cell_waves(grid: tuple[int, int], device: torch.device) -> torch.Tensor:
    """(h * w, 64): `waves` at the centres of the coarse map's cells."""
    down, across = _centres(grid, COARSE_STRIDE, device)
    y, x = torch.meshgrid(down, across, indexing="ij")
    return waves(torch.stack([x, y], -1).flatten(0, 1))


def make_tiny(seed: int) -> tuple[TinySam, str]:
    """Weights drawn from `seed`, and their sha256; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = TinySam()
        for layer in net.vision_encoder.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        with torch.no_grad():
            for value in net.mask_decoder.hyper[-1].parameters():
                value.zero_()  # the first masks are the prior
    digest = hashlib.sha256()
    for value in net.state_dict().values():
        digest.update(value.numpy().tobytes())
    return net, digest.hexdigest()
