"""What a report says of questions and answers, and the rule of every protocol in a sentence."""

from __future__ import annotations

PROTOCOLS = {
    "closed_accuracy": "Closed questions whose answer is right. A question is closed where its type says so, where its "
    "options are listed for its type, where the true answer is yes or no, or where the question names its options. An "
    "answer that begins with yes or no, or holds one of the two alone as a word, gives it; of other options it gives "
    "the only one that it names. What gives none counts as wrong.",
    "unparsed": "Share of the closed questions to which the text gives none of the answers that could be given; they "
    "count as wrong.",
    "exact_match": "Truth and answer are the same word by word, of all questions, after lower case and without "
    "articles and marks at the ends of words; a point within a number stays.",
    "open_recall": "Share of the truth's words that the answer holds, each as often as it holds it, mean over the open "
    "questions. Lower case, no marks at the ends of words, articles kept; a longer answer is never worse.",
    "token_f1": "F1 of the words that truth and answer share, mean over the open questions; words as in open recall.",
    "bleu": "BLEU-4 of all answers to open questions together, as sacreBLEU has it (nrefs:1, case:mixed, tok:13a, "
    "smooth:exp), from 0 to 1.",
    "rouge_l": "F1 of the longest common sequence of words, as rouge-score has it without a stemmer, mean over the "
    "open questions.",
    "llava_med_recall": "Recall of open questions as LLaVA-Med's script counts it: without articles, and a shared word "
    "as often as the answer repeats it.",
    "llava_med_closed": "Closed questions as LLaVA-Med's script counts them: right where the letters of the truth "
    "stand anywhere in an answer with the letters of yes or no; a wrong yes or no is left out and not counted as "
    "wrong, so that this number is too high. It is for comparison with published ones alone.",
    "finding_f1": "Micro-averaged F1 of 14 chest X-ray findings that truth and answer name, by a small labeller of "
    "medvfm's own with rules for negation in English; it is neither CheXpert's nor CheXbert's. A possible finding "
    "counts as present.",
}
WORDS = {
    "action": "answered questions about images",
    "action_report": "wrote reports of images",
    "holds": "Questions with an answer",
    "convention": "Every question is a case. Several questions of an image or a patient are not independent, so that "
    "intervals resample patients, or images where patients are unknown.",
    "convention_report": "Every report is a case.",
    **{f"convention_{name}": sentence for name, sentence in PROTOCOLS.items()},
    "baseline_majority": "the majority answer of training",
    "baseline_shuffled": "the same model with shuffled images",
}
