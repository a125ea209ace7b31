"""What a report says of restoration."""

from __future__ import annotations

WORDS = {
    "action": "restored degraded images",
    "holds": "Images",
    "convention": "True images were degraded as the recipe says, the same way whenever a case was asked for, and "
    "restored images were compared with the true ones, pixel by pixel, at the size of the model.",
    "convention_psnr": "PSNR is 10 log10(1 / mean squared error) of values in [0, 1], over the whole picture, "
    "background included.",
    "convention_ssim": "SSIM has a Gaussian window of 11 px (Wang et al. 2004).",
    "convention_lesions_erased": "A lesion is erased where less than half of the contrast with its surroundings is "
    "left that it has in the true image; lesions that hardly stand out there (less than half of the usual contrast of "
    "training lesions) do not count.",
    "convention_lesions_invented": "A lesion is invented where, away from true lesions, a patch at least half as large "
    "as small training lesions differs from the true image by half of the usual contrast or more, stands out from its "
    "surroundings by as much, and did not in the true image.",
    "baseline_untrained": "the same model before training",
    "baseline_degraded": "the degraded image itself",
    "baseline_gaussian_filter": "a Gaussian filter",
    "baseline_non_local_means": "non-local means",
    "baseline_bicubic": "bicubic interpolation",
}
