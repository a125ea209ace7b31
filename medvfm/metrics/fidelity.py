"""Made images: whether they are like true ones, as varied as they are, what was asked for, and no copies.

Most of these compare two sets of features from one and the same extractor: values of different extractors, of different
numbers of images, or of images that were resized in another way do not compare. What each number is stands beside its
function: in `frechet`, `kernel_distance`, `neighbourhoods` and `image_pairs`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medvfm.core.errors import PredictionError, Undefined
from medvfm.core.metric_spec import Metric
from medvfm.metrics import retrieval
from medvfm.metrics.frechet import fid
from medvfm.metrics.image_pairs import diversity, psnr, ssim
from medvfm.metrics.kernel_distance import kid
from medvfm.metrics.neighbourhoods import coverage, density, precision, recall
from medvfm.metrics.ranking import auroc

UNIT = (0.0, 1.0)
FROM_0 = (0.0, float("inf"))
LIKE = 0.99  # share of real test images that single out a training image less than a near copy does


def clip_score(image: Tensor, text: Tensor) -> Tensor:
    """100 max(cos, 0) of vectors of made images (n, d) and of the texts (n, d) that asked for them; (n,) float64.

    Hessel et al. 2021 with w = 100. NaN where a vector is 0.
    """
    if image.ndim != 2 or image.shape != text.shape:
        raise PredictionError(
            f"vectors {tuple(image.shape)} of images and {tuple(text.shape)} of texts: expected (n, d)"
        )
    a, b = image.to(torch.float64), text.to(torch.float64)
    return retrieval.clip_score((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)))


def nearest_ratio(real: Tensor, made: Tensor) -> Tensor:
    """Mean distance of made images (m,) to their nearest training image, over that of real test images (n,) to theirs.

    Near 1 made images keep as far from training as new images do; near 0 they are copies. Undefined without distances,
    and where each real test image is itself a training image.
    """
    for distances, whose in ((real, "real test"), (made, "made")):
        if distances.ndim != 1 or not (distances >= 0).all():
            raise PredictionError(f"distances of {whose} images must be (n,) numbers from 0 on")
        if not len(distances):
            raise Undefined(f"no {whose} images")
    usual = real.to(torch.float64).mean()
    if usual == 0:
        raise Undefined("every real test image is a training image")
    return made.to(torch.float64).mean() / usual


def singled_out(real: Tensor, made: Tensor) -> Tensor:
    """The share of made images (m,) that single out one training image more than 99% of real test images (n,) do, of
    distances as `pixel_copies.MostAlike.singled` has them: near 0 for copies. Undefined without such a distance."""
    return (made < singled_limit(real)).double().mean()


def singled_limit(real: Tensor) -> Tensor:
    """The distance below which 1% of real test images (n,) lie; float64."""
    known = real[~real.isnan()].double()
    if not len(known):
        raise Undefined("there are fewer than two training images")
    return known.quantile(1 - LIKE)


def reidentified(verified: Tensor) -> Tensor:
    """The share of images (n,) that were verified; float64."""
    return verified.double().mean()


METRICS: dict[str, Metric] = {
    "fid": Metric(
        fid,
        "features",
        "lower",
        summary="Fréchet distance of the features; biased upwards by few images",
        within=FROM_0,
        interval="groups",
    ),
    "kid": Metric(
        kid,
        "features",
        "lower",
        summary="kernel distance of the features, cubic; unbiased, so it may be below 0",
        interval="groups",
    ),
    "precision": Metric(
        precision,
        "features",
        "higher",
        summary="made images among the nearest neighbours of true ones, k = 3",
        within=UNIT,
        interval="groups",
    ),
    "recall": Metric(
        recall,
        "features",
        "higher",
        summary="true images among the nearest neighbours of made ones, k = 3",
        within=UNIT,
        interval="groups",
    ),
    "density": Metric(
        density,
        "features",
        "higher",
        summary="in how many neighbourhoods of true images a made one lies, over k = 5",
        within=FROM_0,
        interval="groups",
    ),
    "coverage": Metric(
        coverage,
        "features",
        "higher",
        summary="true images with a made one in their neighbourhood, k = 5",
        within=UNIT,
        interval="groups",
    ),
    "ms_ssim": Metric(
        diversity,
        "images",
        "lower",
        summary="structural similarity of made images with each other: low where they differ",
        within=UNIT,
        interval="groups",
    ),
    "psnr": Metric(
        psnr,
        "image_pair",
        "higher",
        unit="dB",
        summary="peak signal-to-noise ratio",
        within=FROM_0,
        interval="mean",
    ),
    "ssim": Metric(
        ssim,
        "image_pair",
        "higher",
        summary="structural similarity with the true image",
        within=(-1.0, 1.0),
        interval="mean",
    ),
    "clip_score": Metric(
        clip_score,
        "embeddings",
        "higher",
        summary="100 x cosine of a made image and the text that asked for it, from 0 on",
        within=(0.0, 100.0),
        interval="mean",
    ),
    "nearest_ratio": Metric(
        nearest_ratio,
        "distances",
        "higher",
        summary="distance to the nearest training image, over that of real test images; near 0 for copies",
        within=FROM_0,
        interval="groups",
    ),
    "singled_out": Metric(
        singled_out,
        "singled",
        "lower",
        summary="share of made images that single out one training image more than 99% of real test images do",
        within=UNIT,
        interval="share",
    ),
    "reidentified": Metric(
        reidentified,
        "verified",
        "lower",
        summary="share of images that a verification model takes for a training patient's",
        within=UNIT,
        interval="share",
    ),
    "condition_auroc": Metric(
        auroc,
        "score",
        "higher",
        summary="how well a classifier trained on real images sees in made ones what was asked for",
        within=UNIT,
        interval="ranks",
        rests_on="classes",
    ),
    "usefulness_auroc": Metric(
        auroc,
        "score",
        "higher",
        summary="how well a classifier trained on made images alone does on real test images",
        within=UNIT,
        interval="ranks",
        rests_on="classes",
    ),
}
