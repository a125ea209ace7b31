"""`tiny`: a small promptable segmentation model from scratch, which learns cells and organs in minutes on a CPU.

Like SAM it encodes a picture once and decodes it for many prompts (Kirillov et al. 2023), with two differences that
matter for objects of twenty pixels. Masks come out at the resolution of the picture: a feature pyramid keeps a fine map
and a coarse one. And a prompt is encoded twice: as tokens with two-way attention to the coarse map, and as dense maps
of each pixel's coordinates in the box (as the relative coordinates of CondInst, Tian et al. 2020) and its distance to
clicks.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from medvfm.models.encoders.tiny import ResidualBlock
from medvfm.nn.prompts import Prompts

WIDTHS = (24, 48, 72, 96)  # at strides 2, 4, 8 and 16
FINE, COARSE = 24, 64
FINE_STRIDE, COARSE_STRIDE, MULTIPLE = 2, 8, 16
LONGEST_WAVE_PX, SHORTEST_WAVE_PX = 1024.0, 6.0
REACH_PX = 8.0  # standard deviation of a click in the maps
ROOM_SHARE = 0.1  # around a box, on each side, of its side
ROOM_CELLS, WIDE_CELLS = 6, 4  # and in cells of the fine map, for masks, and of the coarse map, for what is around
CLICK_ROOM_PX = 64.0  # largest extent of an object that has clicks alone
OUTSIDE = -10.0  # the logit of pixels in no window
_DENSE = 7


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
        levels = [self.first(self.stem(torch.cat([pixels, locally_normalised(pixels)], 1)))]
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


@dataclass(frozen=True, eq=False)
class Window:
    """The crop of a map in which each of M objects is decoded: of one size, at the object's place.

    rows (M, h) and columns (M, w) in cells of the map; stride  pixels that a cell is wide
    """

    rows: torch.Tensor
    columns: torch.Tensor
    stride: int

    @classmethod
    def around(cls, prompts: Prompts, size_px: tuple[int, int], stride: int, room_cells: int) -> Window:
        """Around boxes and clicks, with room for boxes that are off; everything, where an object has neither."""
        count, device = len(prompts), prompts.picture.device
        grid = (size_px[0] // stride, size_px[1] // stride)
        extents = _extents(prompts)
        if not count or not bool(torch.isfinite(extents).all()):
            rows, columns = (torch.arange(side, device=device).expand(count, -1) for side in grid)
            return cls(rows, columns, stride)
        found = []
        for axis, side in ((1, grid[0]), (0, grid[1])):
            low, high = extents[:, axis] / stride, extents[:, axis + 2] / stride
            size = min(side, math.ceil(float((high - low).max()) * (1 + 2 * ROOM_SHARE)) + 2 * room_cells)
            first = ((low + high - size) / 2).round().clamp(0, side - size).long()
            found.append(first[:, None] + torch.arange(size, device=device))
        return cls(found[0], found[1], stride)

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows.shape[1], self.columns.shape[1]

    def centres(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows (M, h) and columns (M, w) of pixels at the centres of cells."""
        return (self.rows + 0.5) * self.stride - 0.5, (self.columns + 0.5) * self.stride - 0.5

    def pixels(self) -> Window:
        """The same part, in pixels."""
        steps = torch.arange(self.stride, device=self.rows.device)
        rows, columns = ((c[..., None] * self.stride + steps).flatten(1) for c in (self.rows, self.columns))
        return Window(rows, columns, 1)

    def cut(self, maps: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
        """(M, C, h, w) of maps (N, C, H, W)."""
        found = maps[picture[:, None, None], :, self.rows[:, :, None], self.columns[:, None, :]]
        return found.permute(0, 3, 1, 2)

    def sampled_at(self, values: torch.Tensor, finer: Window) -> torch.Tensor:
        """(M, C, h', w') at the cells of a finer window, from values (M, C, h, w) at those of this one, linear."""
        places = []
        for centres, cells in zip(finer.centres(), (self.rows, self.columns), strict=True):
            inside = (centres + 0.5) / self.stride - cells[:, :1]
            places.append(inside / cells.shape[1] * 2 - 1)
        shape = (len(values), *finer.shape)
        where = torch.stack([places[1][:, None].expand(shape), places[0][:, :, None].expand(shape)], -1)
        return functional.grid_sample(values, where, padding_mode="border", align_corners=False)

    def placed(self, logits: torch.Tensor, size_px: tuple[int, int]) -> torch.Tensor:
        """(M, H, W) with logits (M, h, w) in the window and OUTSIDE around it."""
        if tuple(logits.shape[-2:]) == size_px:
            return logits
        whole = logits.new_full((len(logits), *size_px), OUTSIDE)
        which = torch.arange(len(logits), device=logits.device)
        return whole.index_put((which[:, None, None], self.rows[:, :, None], self.columns[:, None, :]), logits)


def _extents(prompts: Prompts) -> torch.Tensor:
    """(M, 4) x0, y0, x1, y1: the box, and CLICK_ROOM_PX around clicks; not finite where there is neither."""
    low = torch.full((len(prompts), 2), math.inf, device=prompts.picture.device)
    high = -low
    if prompts.boxes_px is not None:
        boxed = torch.isfinite(prompts.boxes_px).all(1, keepdim=True)
        low = torch.where(boxed, prompts.boxes_px[:, :2], low)
        high = torch.where(boxed, prompts.boxes_px[:, 2:], high)
    if prompts.points_px is not None and prompts.point_labels is not None:
        clicked = (prompts.point_labels >= 0)[..., None]
        before = torch.where(clicked, prompts.points_px - CLICK_ROOM_PX, math.inf).amin(1)
        after = torch.where(clicked, prompts.points_px + CLICK_ROOM_PX, -math.inf).amax(1)
        low, high = torch.minimum(low, before), torch.maximum(high, after)
    return torch.cat([low, high], 1)


class TinyPromptEncoder(nn.Module):
    """Prompts as tokens (M, T, 64) with their places, and as maps (M, 7, h, w)."""

    def __init__(self) -> None:
        super().__init__()
        # 0 negative click, 1 positive click, 2 and 3 the corners of a box, 4 no prompt, or padding
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
        return self.kinds(kind), position_encoding(torch.cat(places, 1)) * (kind != 4)[..., None]

    def maps(self, prompts: Prompts, window: Window) -> torch.Tensor:
        """Seven maps: across and down the box (-1 and 1 at its edges), inside it, inside its ellipse; near and wide
        around positive clicks, near negative ones. 0 where there is no such prompt."""
        down, across = window.centres()
        maps = torch.zeros(len(prompts), _DENSE, down.shape[1], across.shape[1], device=down.device)
        if prompts.boxes_px is not None:
            boxed = torch.isfinite(prompts.boxes_px).all(1)
            u, v = _in_box(prompts.boxes_px[boxed], down[boxed], across[boxed])
            maps[boxed, 0] = u.clamp(-2, 2)[:, None].expand(-1, down.shape[1], -1)
            maps[boxed, 1] = v.clamp(-2, 2)[:, :, None].expand(-1, -1, across.shape[1])
            maps[boxed, 2] = 2 * ((v.abs() <= 1)[:, :, None] & (u.abs() <= 1)[:, None]).float() - 1
            maps[boxed, 3] = _ellipse(u, v)
        if prompts.points_px is not None and prompts.point_labels is not None:
            maps[:, 4], maps[:, 5], maps[:, 6] = _nearness(prompts.points_px, prompts.point_labels, down, across)
        return maps

    def prior(self, prompts: Prompts, window: Window) -> torch.Tensor:
        """(M, 2h, 2w): the mask by the prompt alone, above 0 inside: the ellipse in the box, or a disc around positive
        clicks. The decoder learns a residual to it."""
        down, across = window.pixels().centres()
        prior = torch.zeros(len(prompts), down.shape[1], across.shape[1], device=down.device)
        if prompts.points_px is not None and prompts.point_labels is not None:
            near, off, _ = _nearness(prompts.points_px, prompts.point_labels, down, across)
            clicked = (prompts.point_labels >= 0).any(1)[:, None, None]
            prior = torch.where(clicked, near - 0.5 - off, prior)
        if prompts.boxes_px is not None:
            boxed = torch.isfinite(prompts.boxes_px).all(1)
            prior[boxed] = _ellipse(*_in_box(prompts.boxes_px[boxed], down[boxed], across[boxed]))
        return prior


def _in_box(boxes_px: torch.Tensor, down: torch.Tensor, across: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(M, w) and (M, h): how far across and down each box, -1 and 1 at its outer edges."""
    x0, y0, x1, y1 = boxes_px[:, :, None].unbind(1)
    u = (across - (x0 + x1) / 2) / ((x1 - x0 + 1) / 2).clamp_min(0.5)
    v = (down - (y0 + y1) / 2) / ((y1 - y0 + 1) / 2).clamp_min(0.5)
    return u, v


def _ellipse(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """(M, h, w): 1 in the middle of the box, 0 on the ellipse that touches its sides, negative outside."""
    return (1 - u.square()[:, None] - v.square()[:, :, None]).clamp(-2, 1)


def _nearness(
    points_px: torch.Tensor, labels: torch.Tensor, down: torch.Tensor, across: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(M, h, w) each, in [0, 1]: near a positive click, near a negative one, and wide around a positive one."""
    on, off, wide = (points_px.new_zeros(len(points_px), down.shape[1], across.shape[1]) for _ in range(3))
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
    """Mask logits (M, 2h, 2w) and predicted IoU (M, 1) of M objects."""

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
        window: Window,
        wide: Window,
        tokens: torch.Tensor,
        places: torch.Tensor,
        maps: torch.Tensor,
        prior: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """fine (N, 24, H/2, W/2), coarse (N, 64, H/8, W/8), picture (M,) which of the N each object lies in, the parts
        `window` (h, w) of the fine and `wide` of the coarse map that are looked at, prompts as
        tokens (M, T, 64), places (M, T, 64) and maps (M, 7, h, w), and the prior (M, 2h, 2w) of the mask."""
        count = len(picture)
        tokens = torch.cat([self.own.expand(count, -1, -1), tokens], 1)
        places = torch.cat([places.new_zeros(count, 2, places.shape[2]), places], 1)
        cells = wide.cut(coarse, picture).flatten(2).transpose(1, 2)
        cell_places = cell_encoding(wide)
        for block in self.blocks:
            tokens, cells = block(tokens, cells, places, cell_places)
        near = wide.sampled_at(self.from_cells(cells.transpose(1, 2).unflatten(2, wide.shape)), window)
        mixed = window.cut(self.from_fine(fine), picture) + near + self.from_prompt(maps)
        mixed = functional.relu(mixed, inplace=True)
        mixed = functional.relu(self.mix(mixed) + self.shift(tokens[:, 1])[:, :, None, None], inplace=True)
        # One set of weights for each pixel of the cell that an entry of the fine map covers.
        weights = self.hyper(tokens[:, 1]).unflatten(1, (FINE_STRIDE**2, FINE))
        logits = (weights @ mixed.flatten(2)).unflatten(2, maps.shape[-2:])
        logits = functional.pixel_shuffle(logits, FINE_STRIDE)[:, 0] + self.gain * prior + self.offset
        return logits, self.iou(tokens[:, 0]).sigmoid()


class TinySam(nn.Module):
    """Image encoder, prompt encoder and mask decoder. See models.segmenter.Parts."""

    width, mask_side = COARSE, 0  # masks are no prompts here

    def __init__(self) -> None:
        super().__init__()
        self.vision_encoder, self.prompt_encoder = TinyImageEncoder(), TinyPromptEncoder()
        self.mask_decoder = TinyMaskDecoder()
        self.vision_encoder.to(memory_format=torch.channels_last)

    def beside_encoder(self) -> list[nn.Module]:
        return []

    def noise(self, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        return torch.randn(1, FINE, 32, 32, generator=generator), torch.randn(1, COARSE, 8, 8, generator=generator)

    def image(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.vision_encoder(pixels.contiguous(memory_format=torch.channels_last))

    def masks(
        self,
        maps: tuple[torch.Tensor, ...],
        prompts_model_px: Prompts,
        tokens: torch.Tensor | None,
        multimask_output: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        fine, coarse = maps
        size_px = (fine.shape[-2] * FINE_STRIDE, fine.shape[-1] * FINE_STRIDE)
        window = Window.around(prompts_model_px, size_px, FINE_STRIDE, ROOM_CELLS)
        wide = Window.around(prompts_model_px, size_px, COARSE_STRIDE, WIDE_CELLS)
        encoder = self.prompt_encoder
        dense, prior = encoder.maps(prompts_model_px, window), encoder.prior(prompts_model_px, window)
        if tokens is None:
            tokens, places = encoder.tokens(prompts_model_px)
        else:
            places = torch.zeros_like(tokens)
        logits, iou = self.mask_decoder(
            fine, coarse, prompts_model_px.picture, window, wide, tokens, places, dense, prior
        )
        return window.pixels().placed(logits, size_px)[:, None], iou


def locally_normalised(pixels: torch.Tensor) -> torch.Tensor:
    """(N, 1, H, W): grey values minus the mean of the 36 pixels around, over their standard deviation: local contrast
    normalisation, so that a dim object and a bright one look alike."""
    grey = pixels.mean(1, keepdim=True)
    cells = functional.avg_pool2d(torch.cat([grey, grey.square()], 1), 4)
    around = functional.avg_pool2d(cells, 9, stride=1, padding=4, count_include_pad=False)
    mean, squared = functional.interpolate(around, grey.shape[-2:], mode="bilinear", align_corners=False).split(1, 1)
    return (grey - mean) / (squared - mean.square()).clamp_min(0).add(0.01).sqrt()


def position_encoding(places_px: torch.Tensor) -> torch.Tensor:
    """(..., 2) x and y in pixels to (..., 64) sines and cosines; pixels, not shares, so that any picture size works."""
    count = COARSE // 4
    steps = torch.linspace(math.log(SHORTEST_WAVE_PX), math.log(LONGEST_WAVE_PX), count, device=places_px.device)
    phase = places_px.float()[..., None] * (2 * math.pi / steps.exp())
    return torch.cat([phase.sin(), phase.cos()], -1).flatten(-2)


def cell_encoding(window: Window) -> torch.Tensor:
    """(M, h * w, 64): `position_encoding` at the centres of a window's cells."""
    down, across = window.centres()
    shape = (len(down), *window.shape)
    return position_encoding(
        torch.stack([across[:, None].expand(shape), down[:, :, None].expand(shape)], -1).flatten(1, 2)
    )


def make_tiny(seed: int) -> tuple[TinySam, str]:
    """Weights initialised from `seed`, and their sha256; the global generator does not change."""
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
