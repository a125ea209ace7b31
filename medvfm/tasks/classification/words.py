"""What a report says of classification; a key that ends in a kind goes before the key alone."""

from __future__ import annotations

WORDS = {
    "action": "classified {count} classes{named}",
    "action_binary": "distinguished {classes} from no {classes}",
    "action_multi_class": "distinguished {count} classes{named}",
    "action_multi_label": "looked for {count} findings{named}",
    "action_ordinal": "graded on {count} levels{named}",
    "class": "class",
    "classes": "classes",
    "holds": "Positive cases of each class",
    "positive": "Positive",
    "positives": "positive",
    "baseline_prevalence": "prevalence alone",
    "baseline_intensity": "voxel intensities",
    "baseline_attributes": "patient attributes",
    "baseline_image_and_attributes": "image and attributes",
}
