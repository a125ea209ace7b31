"""Answers in words: protocols that compare a true text with a given one, each under its name.

`exact_match` is over all questions; `closed_accuracy` and `unparsed` over closed ones (metrics/closed_answers.py);
words shared, BLEU and ROUGE-L over open ones (metrics/answer_overlap.py), and so are findings, which are for reports
(metrics/finding_labels.py).
"""

from __future__ import annotations

from medvfm.core.metric_spec import Metric
from medvfm.metrics import answer_overlap, closed_answers, finding_labels
from medvfm.metrics.answer_words import plain

SHARE = (0.0, 1.0)
PARTS = {"bleu": answer_overlap.BLEU_PARTS, "finding_f1": finding_labels.FINDING_PARTS}  # of metrics that take counts


def exact_match(truth: str, text: str) -> float:
    """1 where both are the same after lower case, without articles and marks at the ends of words."""
    return float(plain(truth) == plain(text))


METRICS: dict[str, Metric] = {
    "closed_accuracy": Metric(
        closed_answers.closed_accuracy,
        "closed_text",
        "higher",
        summary="closed questions whose answer, read from the text, is right",
        within=SHARE,
        interval="share",
    ),
    "exact_match": Metric(
        exact_match,
        "texts",
        "higher",
        summary="questions whose answer is the truth word by word",
        within=SHARE,
        interval="share",
    ),
    "unparsed": Metric(
        closed_answers.unparsed,
        "closed_text",
        "lower",
        summary="closed questions to which the text gives no answer",
        within=SHARE,
        interval="share",
    ),
    "open_recall": Metric(
        answer_overlap.open_recall,
        "open_text",
        "higher",
        summary="share of the truth's words that the answer holds",
        within=SHARE,
        interval="mean",
    ),
    "token_f1": Metric(
        answer_overlap.token_f1,
        "open_text",
        "higher",
        summary="F1 of the words that truth and answer share",
        within=SHARE,
        interval="mean",
    ),
    "bleu": Metric(
        answer_overlap.bleu_of,
        "text_counts",
        "higher",
        summary="BLEU-4 of all answers together, as sacreBLEU has it, from 0 to 1",
        within=SHARE,
        interval="smooth",
        per_case=answer_overlap.bleu_counts,
    ),
    "rouge_l": Metric(
        answer_overlap.rouge_l,
        "open_text",
        "higher",
        summary="F1 of the longest common sequence of words",
        within=SHARE,
        interval="mean",
    ),
    "llava_med_recall": Metric(
        answer_overlap.llava_med_recall,
        "open_text",
        "higher",
        summary="recall as LLaVA-Med's script counts it",
        within=SHARE,
        interval="mean",
    ),
    "llava_med_closed": Metric(
        closed_answers.llava_med_closed,
        "closed_text",
        "higher",
        summary="closed questions as LLaVA-Med's script counts them, which leaves wrong answers out",
        within=SHARE,
        interval="share",
    ),
    "finding_f1": Metric(
        finding_labels.f1_of,
        "text_counts",
        "higher",
        summary="F1 of chest X-ray findings, by rules of our own",
        within=SHARE,
        interval="smooth",
        per_case=finding_labels.finding_counts,
    ),
}
