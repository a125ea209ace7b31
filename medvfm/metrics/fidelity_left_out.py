"""Numbers of two sets without one group of patients after another, faster than made anew: for their intervals.

Moments are taken away from those of all, sums of the kernel are those of blocks of groups, and distances are computed
once. Groups are numbers 0 to G - 1 of each true (n,) and each made image (m,); group g is left out of both sides. NaN
stands where what remains has no value.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from medvfm.metrics.frechet import LEAST, FeatureMoments, check_sets, fid, frechet_of_moments
from medvfm.metrics.kernel_distance import distance, kernel_sums, own_sums
from medvfm.metrics.neighbourhoods import NEIGHBOURS, NEIGHBOURS_OF_DENSITY, distance_blocks, without_itself

NEIGHBOURHOODS = ("precision", "recall", "density", "coverage")
BY_GROUP = ("fid", "kid", *NEIGHBOURHOODS, "nearest_ratio")
_LISTED = 16  # nearest neighbours that are kept beyond those that are asked for
_WIDE = 4  # images for each feature up to which products of all pairs are small beside the features


def leave_out(
    metric: str, truth: Tensor, made: Tensor, truth_groups: Tensor, made_groups: Tensor, *, groups: int | None = None
) -> Tensor:
    """(G,) float64 values of one of BY_GROUP without each group. truth (n, d) and made (m, d) features; for
    nearest_ratio (n,) and (m,) distances.

    groups  G, where the last of them may be without images
    """
    return leave_out_each((metric,), truth, made, truth_groups, made_groups, groups=groups)[metric]


def leave_out_each(
    metrics: Collection[str],
    truth: Tensor,
    made: Tensor,
    truth_groups: Tensor,
    made_groups: Tensor,
    *,
    groups: int | None = None,
) -> dict[str, Tensor]:
    """`leave_out` of several at once: those of neighbourhoods share their distances."""
    unknown = sorted(set(metrics) - set(BY_GROUP))
    if unknown:
        raise ValueError(f"{unknown[0]} is not left out of by group; one of: {', '.join(BY_GROUP)}")
    of_truth, of_made = (torch.as_tensor(g, device=truth.device).long() for g in (truth_groups, made_groups))
    if len(of_truth) != len(truth) or len(of_made) != len(made):
        raise ValueError(f"groups of {len(of_truth)} and {len(of_made)} for {len(truth)} and {len(made)} images")
    count = groups or int(torch.cat([of_truth, of_made]).max()) + 1
    if "nearest_ratio" in metrics:
        if len(set(metrics)) > 1:
            raise ValueError("nearest_ratio takes distances, and the others take features")
        return {"nearest_ratio": _means_left(made, of_made, count) / _means_left(truth, of_truth, count)}
    truth, made = check_sets(truth, made)
    dealt = _Dealt(truth, made, of_truth, of_made, count)
    found = {}
    if "fid" in metrics:
        found["fid"] = _fid(dealt)
    if "kid" in metrics:
        found["kid"] = _kid(dealt)
    found |= _neighbourhoods(dealt, [m for m in NEIGHBOURHOODS if m in metrics])
    few = torch.stack([torch.stack([k.sum() for k in dealt.kept(g)]).amin() < LEAST for g in range(count)])
    return {name: values.masked_fill(few, torch.nan) for name, values in found.items()}


def leave_out_pairs(
    values: Tensor, first_groups: Tensor, second_groups: Tensor, *, groups: int | None = None
) -> Tensor:
    """(G,) means of the values (p,) of pairs of which neither image is in the group: of the diversity of a set."""
    first, second = (torch.as_tensor(g, device=values.device).long() for g in (first_groups, second_groups))
    count = groups or int(torch.cat([first, second]).max()) + 1
    left = torch.arange(count, device=values.device)[:, None]
    kept = ((first != left) & (second != left)).to(torch.float64)
    return (kept @ values.to(torch.float64)) / kept.sum(1)


class _Dealt:
    """Features of both sides, float64, with the group of each image."""

    def __init__(self, truth: Tensor, made: Tensor, of_truth: Tensor, of_made: Tensor, count: int) -> None:
        self.truth, self.made, self.of_truth, self.of_made, self.count = truth, made, of_truth, of_made, count

    def kept(self, group: int) -> tuple[Tensor, Tensor]:
        """(n,) and (m,) of bool: what remains of either side."""
        return self.of_truth != group, self.of_made != group

    def nothing(self) -> Tensor:
        return self.truth.new_full((self.count,), torch.nan)


def _means_left(values: Tensor, of_groups: Tensor, count: int) -> Tensor:
    given = values.to(torch.float64)
    left = torch.arange(count, device=values.device)[:, None]
    kept = (of_groups != left).to(torch.float64)
    return (kept @ given) / kept.sum(1)


def _fid(dealt: _Dealt) -> Tensor:
    fewest = min(int(k.sum()) for g in range(dealt.count) for k in dealt.kept(g))
    most, features = max(len(dealt.truth), len(dealt.made)), dealt.truth.shape[1]
    if fewest > features:
        return _fid_of_moments(dealt)
    if most <= _WIDE * features:
        return _fid_of_products(dealt)
    found = dealt.nothing()
    for group in range(dealt.count):
        kept = dealt.kept(group)
        if min(int(k.sum()) for k in kept) >= LEAST:
            found[group] = fid(dealt.truth[kept[0]], dealt.made[kept[1]])
    return found


def _fid_of_moments(dealt: _Dealt) -> Tensor:
    sides = [(dealt.truth, dealt.of_truth), (dealt.made, dealt.of_made)]
    wholes = [FeatureMoments.of(features) for features, _ in sides]
    found = dealt.nothing()
    for group in range(dealt.count):
        rest = []
        for whole, (features, of_groups) in zip(wholes, sides, strict=True):
            part = features[of_groups == group]
            rest.append(whole.without(FeatureMoments.of(part)) if len(part) else whole)
        found[group] = frechet_of_moments(*rest)
    return found


def _fid_of_products(dealt: _Dealt) -> Tensor:
    """From the products of all centred true with all centred made features, which are centred anew for what remains."""
    mean_t, mean_m = dealt.truth.mean(0), dealt.made.mean(0)
    truth, made = dealt.truth - mean_t, dealt.made - mean_m
    products, lengths = truth @ made.T, [(s**2).sum(1) for s in (truth, made)]
    found = dealt.nothing()
    for group in range(dealt.count):
        kept = dealt.kept(group)
        n, m = (int(k.sum()) for k in kept)
        if min(n, m) < LEAST:
            continue
        shifts = [truth[kept[0]].mean(0), made[kept[1]].mean(0)]
        block = products[kept[0]][:, kept[1]]
        block = block - block.mean(0, keepdim=True) - block.mean(1, keepdim=True) + block.mean()
        roots = torch.linalg.svdvals(block).sum() / ((n - 1) * (m - 1)) ** 0.5
        spread = sum(
            (long[k].sum() - len(long[k]) * (shift**2).sum()) / (len(long[k]) - 1)
            for long, k, shift in zip(lengths, kept, shifts, strict=True)
        )
        apart = mean_t + shifts[0] - mean_m - shifts[1]
        found[group] = ((apart**2).sum() + spread - 2 * roots).clamp(min=0)
    return found


def _kid(dealt: _Dealt) -> Tensor:
    sums, counts = [], []
    for features, of_groups in ((dealt.truth, dealt.of_truth), (dealt.made, dealt.of_made)):
        own = own_sums(features, of_groups, dealt.count)
        sums.append(_blocks_left(kernel_sums(features, features, of_groups, of_groups, dealt.count)) - own.sum() + own)
        counts.append(len(features) - torch.bincount(of_groups, minlength=dealt.count).to(torch.float64))
    between = kernel_sums(dealt.truth, dealt.made, dealt.of_truth, dealt.of_made, dealt.count)
    return distance(sums[0], sums[1], _blocks_left(between), counts[0], counts[1])


def _blocks_left(sums: Tensor) -> Tensor:
    """(G,) sums of a table (G, G) without the row and the column of each group."""
    return sums.sum() - sums.sum(0) - sums.sum(1) + sums.diagonal()


def _neighbourhoods(dealt: _Dealt, metrics: Sequence[str]) -> dict[str, Tensor]:
    found = {}
    truth, made, of_truth, of_made = dealt.truth, dealt.made, dealt.of_truth, dealt.of_made
    wanted = {"precision": NEIGHBOURS, "density": NEIGHBOURS_OF_DENSITY}
    asked = {name: k for name, k in wanted.items() if name in metrics}
    reach = {k: _radii_left(truth, of_truth, dealt.count, k) for k in {*asked.values()}}
    if "coverage" in metrics and NEIGHBOURS_OF_DENSITY not in reach:
        reach[NEIGHBOURS_OF_DENSITY] = _radii_left(truth, of_truth, dealt.count, NEIGHBOURS_OF_DENSITY)
    balls = _balls_left(made, truth, {k: reach[k] for k in asked.values()})
    if "precision" in metrics:
        found["precision"] = _mean_left((balls[NEIGHBOURS] > 0).double(), of_made)
    if "density" in metrics:
        found["density"] = _mean_left(balls[NEIGHBOURS_OF_DENSITY].double(), of_made) / NEIGHBOURS_OF_DENSITY
    if "recall" in metrics:
        own = _radii_left(made, of_made, dealt.count, NEIGHBOURS)
        found["recall"] = _mean_left((_balls_left(truth, made, {0: own})[0] > 0).double(), of_truth)
        reach[0] = own
    if "coverage" in metrics:
        covered = _nearest_left(truth, made, of_made, dealt.count) <= reach[NEIGHBOURS_OF_DENSITY]
        found["coverage"] = _mean_left(covered.double(), of_truth)
    basis = {"precision": NEIGHBOURS, "recall": 0, "density": NEIGHBOURS_OF_DENSITY, "coverage": NEIGHBOURS_OF_DENSITY}
    return {name: found[name].masked_fill(reach[basis[name]].isnan().any(1), torch.nan) for name in metrics}


def _mean_left(values: Tensor, of_groups: Tensor) -> Tensor:
    """(G,) means of the rows of values (G, n) over the images that are not in the row's group."""
    kept = (of_groups != torch.arange(len(values), device=values.device)[:, None]).to(torch.float64)
    return (values * kept).sum(1) / kept.sum(1)


def _radii_left(points: Tensor, of_groups: Tensor, count: int, k: int) -> Tensor:
    """(G, n) distance of each point to its k-th nearest without each group; -1 for the group's own points, and NaN
    throughout where too few remain."""
    found = points.new_full((count, len(points)), -1.0)
    sizes = len(points) - torch.bincount(of_groups, minlength=count)
    for first, block in distance_blocks(points, points):
        block = without_itself(block, first)
        rows = slice(first, first + len(block))
        near = block.topk(min(len(points), 4 * k + _LISTED), largest=False, sorted=True)
        near_groups = of_groups[near.indices]
        for group in range(count):
            if sizes[group] <= k:
                found[group] = torch.nan
                continue
            kept = near_groups != group
            place = (kept.cumsum(1) >= k).to(torch.int8).argmax(1, keepdim=True)
            reach = near.values.gather(1, place)[:, 0]
            short = kept.sum(1) < k  # most of the neighbours are left out: all others are looked through
            if short.any():
                others = block[short].masked_fill(of_groups == group, torch.inf)
                reach[short] = others.kthvalue(k, dim=1).values
            found[group, rows] = reach.where(of_groups[rows] != group, -1.0)
    return found


def _balls_left(points: Tensor, centres: Tensor, reach: dict[int, Tensor]) -> dict[int, Tensor]:
    """For each (G, n) of radii around centres (n, d): (G, m) in how many of them each of points (m, d) lies."""
    found: dict[int, list[Tensor]] = {k: [] for k in reach}
    for _, block in distance_blocks(points, centres) if reach else ():
        for k, table in reach.items():
            found[k].append(torch.stack([(block <= radii).sum(1) for radii in table]))
    return {k: torch.cat(parts, 1) for k, parts in found.items()}


def _nearest_left(points: Tensor, among: Tensor, of_groups: Tensor, count: int) -> Tensor:
    """(G, n) distance of each of points to the nearest among (m, d) without each group; infinite where none remains."""
    found = []
    for _, block in distance_blocks(points, among):
        nearest = block.new_full((len(block), count), torch.inf)
        nearest.scatter_reduce_(1, of_groups.expand(len(block), -1), block, "amin")
        first, second = nearest.topk(min(2, count), dim=1, largest=False).values.unbind(1)
        own = nearest.argmin(1, keepdim=True) == torch.arange(count, device=points.device)
        found.append(torch.where(own, second[:, None], first[:, None]).T)
    return torch.cat(found, 1)
