"""A proposal as YAML that people read: card.yaml and recipe.yaml, with comments above the keys that they are about."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from medvfm.pipeline.proposing.found import NOBODY, Proposal
from medvfm.tasks import OF_LABELS, OF_MASKS

FRACTIONS = {OF_MASKS: "[0.6, 0.1, 0.3]"}
METRICS_2D = "[dice, iou, sensitivity, precision, missed, spurious]"
METRICS_3D = "[dice, hd95, nsd@tolerance=2, volume_error, missed, spurious]"


def quoted(value: object) -> str:
    """A value as YAML that no reader takes for another one."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{quoted_name(k)}: {quoted(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(quoted(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def quoted_name(name: object) -> str:
    text = str(name)
    return text if text.replace("_", "").isalnum() and text.isascii() and not text[0].isdigit() else quoted(text)


def card(proposal: Proposal, name: str, title: str) -> str:
    """card.yaml."""
    lines = [
        "# Proposed by `medvfm init` from the files: read it, and mend what is wrong. `medvfm data check` reads all.",
        f"name: {name}",
        f"title: {quoted(title)}",
        "statement: null  # what these images are: of whom, from where and when, and why they were taken",
        "licence: {name: internal}",
        "access: local",
        "truth: null  # how the truth was made: by whom, from what, and how disagreement was settled",
        "known_flaws: []  # what you know to be wrong or odd about these data; the report repeats it",
        "confounders: []  # what differs between the classes besides the question: scanner, ward, year",
    ]
    if proposal.patient == NOBODY:
        lines += [*_comments(proposal, "patients"), "patients: none"]
    if proposal.masks_kind != "labels":
        lines += [*_comments(proposal, "masks"), f"masks: {{kind: {proposal.masks_kind}}}"]
    if proposal.labels:
        lines += [*_comments(proposal, "labels"), "labels:"]
        lines += [f"  {value}: {{name: {quoted_name(name)}}}" for value, name in proposal.labels.items()]
    return "\n".join([*lines, "layouts:", *_indented(_layout(proposal))]) + "\n"


def _layout(proposal: Proposal) -> Iterator[str]:
    what, source = proposal.source
    yield from _comments(proposal, "source")
    yield f"{what}: {quoted(source)}"
    if proposal.joins:
        yield from _comments(proposal, "join")
        yield "join:"
        for table, key, on in proposal.joins:
            yield f"  - {{table: {quoted(table)}, key: {quoted(key)}, on: {quoted(on)}}}"
    if proposal.extract:
        yield "extract:"
        for value, pattern in proposal.extract:
            yield f"  - {{value: {quoted(value)}, pattern: {quoted(pattern)}}}"
    yield f"case_id: {quoted(proposal.case_id)}"
    if proposal.patient != NOBODY:
        yield from _comments(proposal, "patient_id")
        yield f"patient_id: {quoted(proposal.patient)}"
    yield from _comments(proposal, "images")
    yield f"images: {{image: {quoted(proposal.image)}}}"
    if proposal.mask is not None:
        yield from _comments(proposal, "mask")
        yield f"masks: {{mask: {quoted(proposal.mask)}}}"
    if proposal.repeated is not None:
        yield from _comments(proposal, "repeated")
        yield f"repeated: {proposal.repeated}"
    if proposal.classes:
        yield from _comments(proposal, "classes")
        yield "classes:"
        yield from (f"  {quoted_name(name)}: {quoted(how)}" for name, how in proposal.classes.items())
    if proposal.groups:
        yield from _comments(proposal, "groups")
        yield "groups:"
        for name, (template, number) in proposal.groups.items():
            yield f"  {name}: " + (quoted({"value": template, "number": True}) if number else quoted(template))
    if proposal.split is not None:
        template, meant = proposal.split
        yield from _comments(proposal, "split")
        yield f"split: {quoted(template)}"
        yield f"splits: {quoted(meant)}"
    for key, template in proposal.words.items():
        yield from _comments(proposal, key)
        yield f"{key}: {quoted(template)}"


def _comments(proposal: Proposal, key: str) -> list[str]:
    return [f"# {text}" for text in proposal.notes.get(key, [])]


def _indented(lines: Iterator[str]) -> list[str]:
    return [("  - " if number == 0 else "    ") + line for number, line in enumerate(["name: found", *lines])]


def recipe(proposal: Proposal, title: str, root: Path | None) -> str:
    """recipe.yaml, of a model that needs no network and no GPU."""
    data = "{card: card.yaml}" if root is None else f"{{card: card.yaml, root: {quoted(str(root))}}}"
    share = FRACTIONS.get(proposal.task, "[0.55, 0.15, 0.3]")
    split = "{from: card}" if proposal.split is not None else f"{{from: random, fractions: {share}}}"
    what = "that of the table" if proposal.split is not None else "by patient: train, val, test"
    return "\n".join([
        "# Proposed by `medvfm init`. `medvfm check` says what each key that is left out will be; any key can be",
        "# overridden: medvfm run recipe.yaml adapter.method=knn",
        f"title: {quoted(title)}",
        "seed: 0",
        f"data: {data}",
        *BODY[proposal.task](proposal, f"split: {split}  # {what}"),
    ]) + "\n"  # fmt: skip


def _classification(proposal: Proposal, split: str) -> list[str]:
    names = ", ".join(map(quoted_name, proposal.classes))
    kind = f", kind: {proposal.kind}" if proposal.kind else ""
    several = proposal.kind == "multi_class"
    groups = list(proposal.groups)
    attributes = f", {{name: attributes, columns: {quoted(groups)}}}" if groups else ""
    metrics = "[accuracy, balanced_accuracy, macro_f1, macro_auroc]" if several else (
        "[auroc, auprc, sensitivity@specificity=0.9, specificity@sensitivity=0.9, balanced_accuracy, brier, ece]"
    )  # fmt: skip
    found = [
        split,
        "# unit: image scores every image; patient pools the images of a patient, and scores patients",
        f"task: {{name: classification, classes: [{names}]{kind}, unit: image}}",
        "# embedded: an ImageNet encoder that needs no network; facebook/dinov2-base, microsoft/rad-dino are stronger",
        "adapter: {name: dinov2, weights: embedded, method: linear_probe}",
        f"select: {{metric: {'accuracy' if several else 'auroc'}, on: val}}",
        f"baselines: [{{name: prevalence}}, {{name: intensity}}{attributes}]",
        "evaluate:",
        f"  metrics: {metrics}",
    ]
    if not several:
        found.append("  decide_at: specificity=0.9  # the threshold, fixed on validation data")
    subgroups = [name for name, (_, number) in proposal.groups.items() if not number]
    return found + ([f"  subgroups: {quoted(subgroups)}"] if subgroups else [])


def _segmentation(proposal: Proposal, split: str) -> list[str]:
    size = proposal.size_px or 128
    if proposal.masks_kind == "instances":
        return [
            split,
            "task: {name: segmentation, classes: [object], kind: instances}",
            "# a small promptable segmenter from scratch, with boxes of the truth as prompts: every number says so",
            "adapter:",
            "  name: sam",
            "  weights: tiny  # facebook/sam-vit-base or wanglab/medsam-vit-base with a network and a GPU",
            "  method: full",
            "  prompts: {from: truth, kind: box}",
            "select: {metric: dice, on: val}",
            "baselines: [{name: ellipse}]",
            "evaluate:",
            "  metrics: [dice, aji, pq, f1@iou=0.5]",
        ]
    names = ", ".join(quoted_name(name) for name in proposal.labels.values())
    return [
        f"prepare: {{size: {size}}}  # pixels of the side that the model sees; small structures need more",
        split,
        f"task: {{name: segmentation, classes: [{names}], kind: semantic}}",
        "# embedded: an ImageNet encoder that needs no network; method full trains it too, and is often better",
        "adapter: {name: dinov2, weights: embedded, method: dense_head}",
        "train: {epochs: 4, steps: 70, batch_size: 8, learning_rate: 0.003}  # minutes on two cores; more is better",
        "select: {metric: dice, on: val}",
        "baselines: [{name: location}]  # what the place alone gives away",
        "evaluate:",
        f"  metrics: {METRICS_3D if proposal.is_volume else METRICS_2D}",
    ]


def _retrieval(proposal: Proposal, split: str) -> list[str]:
    return [
        split,
        "task: {name: retrieval}",
        "# embedded: an ImageNet encoder beside a sentence encoder; BiomedCLIP and SigLIP with a network",
        "adapter: {name: clip, weights: embedded, method: contrastive}",
        "select: {metric: mean_average_precision, on: val}",
        "baselines: [{name: texts_permuted}, {name: untuned}]",
        "evaluate:",
        "  metrics: [recall@k=10, recall@k=5, recall@k=1, median_rank, mean_average_precision]",
    ]


def _question_answering(proposal: Proposal, split: str) -> list[str]:
    return [
        split,
        "task: {name: question_answering}",
        "adapter:",
        "  name: llava",
        "  weights: embedded  # an ImageNet encoder and a language model of 135M parameters, without a network",
        "  options: {connector: linear, grid: 2, template: plain, answer_tokens: 16, batch_answers: 64}",
        "  rank: 16",
        "  stages:",
        "    - method: instruct",
        "      train: {epochs: 5, batch_size: 16, learning_rate: 0.0005, rates: {projector: 0.001}}",
        "select: {metric: closed_accuracy, on: val}",
        "baselines: [{name: majority}, {name: blind}, {name: shuffled}]",
        "evaluate:",
        "  metrics: [closed_accuracy, exact_match, unparsed, open_recall, token_f1]",
    ]


BODY = {
    OF_LABELS: _classification,
    OF_MASKS: _segmentation,
    "retrieval": _retrieval,
    "question_answering": _question_answering,
}
TASKS: Sequence[str] = tuple(BODY)
