"""What a report says of generation."""

from __future__ import annotations

WORDS = {
    "action": "made images",
    "holds": "Cases with a condition",
    "convention": "The set of made images was compared with the set of real test images in the features of the "
    "extractor. FID and KID grow with the distance between the sets; FID also falls as the number"
    " of images grows, so that only values at equal n can be compared. Intervals leave out one group of patients "
    "at a time on both sides (delete-a-group jackknife). No metric of made images chose weights or settings: the "
    "training loss of validation cases did.",
    "convention_precision": "Precision and density say how many made images lie where real ones do, recall and "
    "coverage how much of the real images is reached (Kynkäänniemi 2019, Naeem 2020).",
    "convention_nearest_ratio": "The nearest ratio is the mean distance of made images to the nearest training image "
    "over that of real test images: clearly below 1 it speaks for copies of training images.",
    "convention_singled_out": "Singled out: the share of made images that are near copies. The training image that is "
    "most like such an image, pixel by pixel after moving it to fit, lies nearer, compared with the ten of other "
    "patients that are most like it after that, than for 99% of real test images (Carlini 2023); 0.01 would be by "
    "chance.",
    "convention_reidentified": "Re-identified: the share of images that a verification model takes for an image of a "
    "training patient; its limit is fixed on training images, of which 1% are taken for another patient. The row "
    "`real` is of real test images, whose patients trained nothing.",
    "convention_condition_auroc": "Condition AUROC: a classifier trained on real training images is asked whether it "
    "sees in each made image what was asked for; the row `real` is the same classifier on real test images.",
    "convention_clip_score": "CLIPScore is 100 times the cosine of an image and the words that asked for it, from 0 on "
    "(Hessel 2021); the row `real` is of real test images and their own words.",
    "convention_usefulness_auroc": "Usefulness: a classifier is trained on features of made images alone and tested on "
    "real test images; rows of `real...` on as many real training images, on these with classic augmentation, and on "
    "both kinds. All see the same number of images. Each is the mean of three seeds, which choose the real images and "
    "what is seen; intervals hold patients and seeds.",
    "baseline_untrained": "the same model before training",
    "baseline_noise": "noise with the spectrum of the training images",
    "baseline_gaussian": "a normal distribution for each pixel",
    "baseline_gaussian_full": "a normal distribution of all pixels together",
    "baseline_mean_image": "the mean training image",
    "baseline_real": "real training images",
    "baseline_real_blur_1": "real training images blurred by 1 px",
    "baseline_real_blur_2": "real training images blurred by 2 px",
    "baseline_real_blur_4": "real training images blurred by 4 px",
    "baseline_real_augmented": "real training images with classic augmentation",
    "baseline_real_and_made": "real training images and made ones",
}
