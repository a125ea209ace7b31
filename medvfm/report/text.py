"""Numbers and names as a reader wants them."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from typing import Any

from medvfm.core.plurals import in_number

DIFFERENCE = "_difference"
REST, GAP = "_against_rest", "_gap"  # of rows of groups
MOST_DECIMALS = 6
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
METRICS = {
    "auroc": "AUROC",
    "auprc": "average precision",
    "macro_auroc": "macro AUROC",
    "macro_auprc": "macro average precision",
    "brier": "Brier score",
    "ece": "calibration error",
    "ece_equal_mass": "calibration error, equal-mass bins",
    "multiclass_brier": "Brier score, all classes",
    "top_label_ece": "calibration error, top class",
    "ppv": "positive predictive value",
    "npv": "negative predictive value",
    "f1": "F1",
    "macro_f1": "macro F1",
    "kappa": "Cohen's kappa",
    "quadratic_kappa": "quadratic weighted kappa",
    "mcc": "Matthews correlation",
    "dice": "Dice",
    "iou": "IoU",
    "hd95": "95th percentile Hausdorff distance",
    "hd95_detected": "95th percentile Hausdorff distance where detected",
    "assd": "average surface distance",
    "assd_detected": "average surface distance where detected",
    "volume_error": "relative volume error",
    "absolute_volume_error": "absolute relative volume error",
    "volume_difference_ml": "volume difference",
    "missed": "missed structures",
    "spurious": "false-positive structures",
    "aji": "aggregated Jaccard index",
    "pq": "panoptic quality",
    "sq": "segmentation quality",
    "rq": "recognition quality",
    "count_error": "error in the number of objects",
    "clip_score": "CLIPScore",
    "fid": "FID",
    "kid": "KID",
    "ms_ssim": "MS-SSIM between made images",
    "nearest_ratio": "nearest ratio",
    "condition_auroc": "condition AUROC",
    "usefulness_auroc": "usefulness AUROC",
    "psnr": "PSNR",
    "ssim": "SSIM",
    "closed_accuracy": "closed-question accuracy",
    "unparsed": "share of answers that could not be read",
    "token_f1": "token F1",
    "bleu": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "llava_med_recall": "recall as LLaVA-Med counts",
    "llava_med_closed": "closed questions as LLaVA-Med counts",
    "finding_f1": "finding F1",
}
UNITS = {  # of metrics whose rows are numbers of a unit, as the table of the metrics has them
    "hd95": "mm",
    "hd95_detected": "mm",
    "assd": "mm",
    "assd_detected": "mm",
    "volume_difference_ml": "ml",
    "false_positive_volume": "ml",
    "psnr": "dB",
}
INTERVALS = {
    "delong": "the method of DeLong on the logit scale with quantiles of Student's t",
    "obuchowski": "the method of Obuchowski for several cases a patient, on the logit scale with quantiles of "
    "Student's t",
    "pairs": "disjoint pairs of cases (Clopper and Pearson)",
    "wilson": "the score method of Wilson, with the effective number of cases where patients have several",
    "mover": "the intervals of their parts (MOVER, Donner and Zou)",
    "bootstrap_t": "a studentised bootstrap over patients",
    "t": "Student's t over patients",
    "jackknife": "leaving out one patient at a time (jackknife)",
    "jackknife_groups": "leaving out one group of patients at a time (delete-a-group jackknife)",
    "bootstrap": "percentiles of a bootstrap over patients",
    "bootstrap_bca": "a bias-corrected and accelerated bootstrap over patients",
    "clopper_pearson": "Clopper and Pearson",
}
VARIANTS = {  # of prompts and of sampling, by what a group is named for
    "box_jitter_px": "box jitter of {} px",
    "clicks": "{} clicks",
    "guidance": "guidance of {}",
    "steps": "{} steps",
}


MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip  # strftime would write them in the language of the machine


def metric(name: str) -> str:
    """`sensitivity@specificity=0.9` as "sensitivity at 90% specificity", `hd95` with its mm in brackets."""
    base = name.removesuffix(DIFFERENCE)
    return f"{quantity(name)} ({UNITS[base]})" if base in UNITS else quantity(name)


def quantity(name: str) -> str:
    """As `metric`, without the unit: for sentences, where it stands behind the number."""
    if name.endswith(DIFFERENCE):
        return f"difference in {quantity(name.removesuffix(DIFFERENCE))}"
    if name.endswith(REST):
        return f"{quantity(name.removesuffix(REST))}, group minus the rest"
    if name.endswith(GAP):
        return f"gap in {quantity(name.removesuffix(GAP))}"
    base, at, rest = name.partition("@")
    if not at:
        return METRICS.get(name, name.replace("_", " "))
    parameter, _, value = rest.partition("=")
    if (base, parameter) == ("nsd", "tolerance"):
        return f"surface Dice at {value} mm"
    if parameter == "iou":
        return f"{METRICS.get(base, base)} at IoU {value}"
    if parameter == "k":
        return f"{METRICS.get(base, base.replace('_', ' '))} at {value}"
    try:
        value = f"{100 * float(value):.4g}%"
    except ValueError:
        return name
    read = "" if not base.startswith("roc_") else " on the test ROC curve (optimistic)"
    return f"{base.removeprefix('roc_').replace('_', ' ')} at {value} {parameter}{read}"


def title(text: str) -> str:
    """The first letter a capital, the others as they are."""
    return text[:1].upper() + text[1:]


def structure(name: Any) -> str:
    """A class of a segmentation: `anterior_hippocampus` without its underscore."""
    return str(name).replace("_", " ")


def variant(group: str) -> str:
    """`box_jitter_px=5` as "box jitter of 5 px"."""
    name, _, number = group.partition("=")
    if (name, number) == ("clicks", "1"):
        return "1 click"
    return VARIANTS[name].format(number) if name in VARIANTS else group.replace("=", " ").replace("_", " ")


def split(name: Any) -> str:
    """`external:lakeside_mri` as "External, lakeside mri"."""
    kind, colon, card = str(name).partition(":")
    return f"{title(kind)}, {card.replace('_', ' ')}" if colon else str(name)


def number(value: float | None, digits: int | None = None) -> str:
    """Two digits, three below 0.1, more where a small number would vanish; a true minus sign; an en dash for none."""
    if value is None:
        return "–"
    if digits is None:
        digits = _decimals(abs(value))
    text = f"{value:,.{digits}f}"
    return f"−{text[1:]}" if text.startswith("-") and text.strip("-0.,") else text.lstrip("-")


def compact(value: float | None) -> str:
    """Three significant digits, written out: 0.032, 100, 1213; powers of ten beyond: 1 × 10⁻⁵."""
    if value is None:
        return "–"
    size = abs(value)
    if value == 0 or not math.isfinite(value):
        return f"{value:g}".replace("-", "−")
    if not 1e-4 <= size < 1e7:
        mantissa, _, exponent = (
            f"{value:.3g}".partition("e") if "e" in f"{value:.3g}" else f"{value:.2e}".partition("e")
        )
        shown = f"{float(mantissa):g} × 10{str(int(exponent)).translate(SUPERSCRIPTS)}"
        return shown.replace("-", "−")
    digits = max(0, 2 - math.floor(math.log10(size)))
    shown = f"{value:.{digits}f}"
    shown = shown.rstrip("0").rstrip(".") if digits else count(round(value))
    return shown.replace("-", "−")


def threshold(value: float | None) -> str:
    """Three significant digits; of a probability near 1 those of what is missing to it: 0.9997 is not 1."""
    if value is None or not 0 < value < 1:
        return compact(value)
    digits = min(6, max(3, 2 - math.floor(math.log10(min(value, 1 - value)))))
    return f"{value:.{digits}f}".rstrip("0").rstrip(".")


def score(value: float) -> str:
    """A score of one case; 0.9997 is not 1."""
    if 0 < value < 0.001:
        return "< 0.001"
    if 0.999 < value < 1:
        return "> 0.999"
    return f"{value:.3f}" if 0 <= value <= 1 else compact(value)


def count(value: Any) -> str:
    """Whole numbers with thin spaces between thousands, from five figures on."""
    if not isinstance(value, int | float):
        return str(value)
    return f"{value:,.0f}".replace(",", "\u202f") if abs(value) >= 10_000 else f"{value:.0f}"


def value(row: Mapping[str, Any], digits: int | None = None) -> str:
    """The number with as many digits as its interval; counts of cases as `7 of 48`."""
    if row.get("unit") == "cases" and row.get("value") is not None:
        return f"{count(row['value'])} of {count(row.get('cases') or 0)}"
    return number(row.get("value"), _digits(row) if digits is None else digits)


def interval(row: Mapping[str, Any], digits: int | None = None) -> str:
    """`0.76 to 0.91`, or an empty text where there is none."""
    if row.get("low") is None or row.get("high") is None:
        return ""
    if row["low"] == row["high"]:
        return "no spread"
    digits = _digits(row) if digits is None else digits
    return f"{number(row['low'], digits)} to {number(row['high'], digits)}"


def _digits(row: Mapping[str, Any]) -> int | None:
    """As many as the width of the interval bears: neither 0.061 (-0.05 to 0.17) nor 0.93 (0.93 to 0.93)."""
    known = [abs(row[k]) for k in ("value", "low", "high") if row.get(k) is not None]
    most, low, high = max(known, default=0), row.get("low"), row.get("high")
    if low is None or high is None or low == high:
        return _decimals(most)
    least = 0 if most >= 100 else 1 if most > 1 else 2 if most >= 0.095 else 3
    return min(MOST_DECIMALS, max(least, -math.floor(math.log10(abs(high - low) / 2))))


def _decimals(size: float) -> int:
    """Of a number without an interval."""
    if size >= 0.095 or size < 1e-12:
        return 0 if size >= 1000 else 1 if size >= 100 else 2
    return min(MOST_DECIMALS, max(3, 1 - math.floor(math.log10(size))))


def level(row: Mapping[str, Any]) -> str:
    """`95% CI`."""
    return f"{100 * float(row.get('level') or 0.95):.4g}% CI"


def with_interval(row: Mapping[str, Any]) -> str:
    """`0.85 (95% CI 0.76 to 0.91)`, `3.2 mm (95% CI ...)`, or why there is no number."""
    if row.get("value") is None:
        return f"not defined: {row.get('note') or 'no reason was recorded'}"
    found, unit = interval(row), UNITS.get(str(row.get("metric")))
    shown = f"{value(row)} {unit}" if unit else value(row)
    return f"{shown} ({level(row)} {found})" if found else shown


def interval_method(name: str, owner: str = "patient") -> str:
    """How an interval was found; `owner` is who was resampled where patients are unknown."""
    said = INTERVALS.get(name, name.replace("_", " "))
    return said if owner == "patient" else said.replace("patients", f"{owner}s").replace("patient", owner)


def plural(amount: int, noun: str) -> str:
    """`1 patient`, `70 patients`, `2 studies`."""
    return f"{count(amount)} {in_number(amount, noun)}"


def letter(place: int) -> str:
    """a to z, then aa, ab and so on."""
    return (letter(place // 26 - 1) if place >= 26 else "") + chr(ord("a") + place % 26)


def listed(items: Sequence[str], word: str = "and") -> str:
    """`a, b and c`."""
    items = [str(item) for item in items]
    return " ".join(items) if len(items) < 2 else f"{', '.join(items[:-1])} {word} {items[-1]}"


def licence(name: Any) -> str:
    """`Apache-2.0` for the small letters of a hub."""
    known = {"apache-2.0": "Apache-2.0", "mit": "MIT", "openrail": "OpenRAIL"}
    return known.get(str(name), str(name).upper() if str(name).startswith("cc") else str(name))


def device(name: str) -> str:
    """`a CPU (1 thread)` for the record's `cpu, 1 threads`; a GPU by its name."""
    kind, comma, rest = name.partition(", ")
    threads = rest.removesuffix(" threads")
    return f"a CPU ({plural(int(threads), 'thread')})" if kind == "cpu" and comma and threads.isdigit() else name


def date(iso: str | None) -> str:
    """`23 November 2026`; what is no date is shown as it stands."""
    try:
        when = datetime.datetime.fromisoformat(str(iso))
    except ValueError:
        return str(iso or "")
    return f"{when.day} {MONTHS[when.month - 1]} {when.year}"


def seconds(value: float) -> str:
    """`48 s`, `5 min 31 s`, `2 h 4 min`."""
    whole = round(value)
    if whole < 60:
        return f"{value:.2g} s" if value < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
