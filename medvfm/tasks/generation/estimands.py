"""Metrics of a set of made images as estimands: what each is computed from, and how chance moves it.

Numbers of both sets together leave out one group of patients at a time on both sides; those of conditions are AUROC.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from medvfm.core.array import Array
from medvfm.core.errors import Undefined
from medvfm.core.metric_spec import MetricSpec
from medvfm.metrics import fidelity, fidelity_left_out
from medvfm.statistics import delong, group_jackknife
from medvfm.statistics.estimand import Estimand, few_patients
from medvfm.statistics.group_jackknife import PatientGroups
from medvfm.statistics.patients import Patients
from medvfm.statistics.seeds import mean_over_seeds
from medvfm.statistics.shares import Share
from medvfm.statistics.spread import Spread
from medvfm.tasks.generation import usefulness
from medvfm.tasks.generation.image_set import ImageSet
from medvfm.tasks.generation.made_set import MadeSet

NO_TRAINING = "no training images stand beside these sets"
REAL_ONES = "real training images are what made ones are measured by"
NO_CLIP = "no CLIP reads the words: task.options.clip names none"
NO_WORDS = "no image was asked for in words"
NO_PAIRS = "there are no pairs of images of one size whose sides are at least 11 pixels or voxels"
NO_VERIFIER = "no verification model was named (task.options.reidentification)"
OF_TEST = "of real test images"
OF_A_GROUP = "a classifier learns from all images, not from those of one condition"
BESIDE = "beside {} images that were asked for the same but for it"
FOUND = {  # by simulation; see tests/benchmarks/COVERAGE.md
    "kid": group_jackknife.SHORT,
    **dict.fromkeys(fidelity_left_out.NEIGHBOURHOODS, group_jackknife.WIDE),
}
USEFULNESS = "usefulness_auroc"
SEED = 0  # by which patients are dealt to groups: one for all sets, so that differences leave out the same patients


def estimands(found: MadeSet, specs: Sequence[MetricSpec], classes: Sequence[str]) -> list[Estimand]:
    """Every metric; those of conditions for each class, the others over all images."""
    groups = group_jackknife.groups_of_both(found.real.patients, found.made.patients, SEED)
    left_out = _of_features(found, [spec for spec in specs if spec.metric.takes == "features"], groups)
    made: list[Estimand] = []
    for spec in specs:
        if spec.metric.takes == "score":
            made += [_of_class(found, spec, column, name) for column, name in enumerate(classes)]
        elif spec.metric.takes == "features":
            value = _value(lambda spec=spec: spec.metric.function(*_features(found)))  # type: ignore[misc]
            note = f"{len(found.made)} made against {len(found.real)} real images"
            made.append(_of_groups(found, spec, value, left_out.get(spec.name), groups, note))
        elif spec.metric.takes == "distances":
            made.append(_of_distances(found, spec, groups))
        elif spec.metric.takes == "images":
            made.append(_of_pairs(found, spec, groups))
        elif spec.metric.takes == "singled":
            made.append(_of_singled(found, spec))
        elif spec.metric.takes == "verified":
            made.append(_of_verified(found, spec))
        elif spec.metric.takes == "embeddings":
            made.append(_of_words(found, spec, groups))
        else:
            everyone = np.ones(len(found.made), dtype=bool)
            made.append(Estimand(spec, None, None, everyone, reason="no answer holds what this metric takes"))
    return made


def _features(found: MadeSet) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(found.real.features), torch.from_numpy(found.made.features)


def _of_features(found: MadeSet, specs: Sequence[MetricSpec], groups: PatientGroups) -> Mapping[str, Array]:
    """Each metric of features without each group, all at once, as they share their distances."""
    if not specs or min(len(found.made), len(found.real)) < 2:
        return {}
    places = torch.from_numpy(groups.truth), torch.from_numpy(groups.made)
    names = [spec.name for spec in specs]
    left = fidelity_left_out.leave_out_each(names, *_features(found), *places, groups=groups.count)
    return {name: values.numpy() for name, values in left.items()}


def _value(number: Callable[[], Tensor]) -> float | str:
    """The number, or why it does not exist."""
    try:
        return float(number())
    except Undefined as undefined:
        return str(undefined)


def _of_groups(
    found: MadeSet,
    spec: MetricSpec,
    value: float | str,
    left_out: Array | None,
    groups: PatientGroups,
    *notes: str,
    patients: int | None = None,
) -> Estimand:
    known = np.ones(len(found.made), dtype=bool)
    if isinstance(value, str):
        return Estimand(spec, None, None, known, reason=value, notes=notes)
    assert left_out is not None
    return group_jackknife.estimand(
        spec, None, value, left_out, groups, known, patients=patients, notes=notes, found=FOUND.get(spec.name)
    )


def _of_distances(found: MadeSet, spec: MetricSpec, groups: PatientGroups) -> Estimand:
    if found.made.nearest is None or found.real.nearest is None:
        return _of_groups(found, spec, REAL_ONES if found.reference else NO_TRAINING, None, groups)
    real, made = torch.from_numpy(found.real.nearest), torch.from_numpy(found.made.nearest)
    value = _value(lambda: spec.metric.function(real, made))
    places = torch.from_numpy(groups.truth), torch.from_numpy(groups.made)
    left = fidelity_left_out.leave_out(spec.name, real, made, *places, groups=groups.count)
    return _of_groups(found, spec, value, left.numpy(), groups)


def _of_pairs(found: MadeSet, spec: MetricSpec, groups: PatientGroups) -> Estimand:
    """The mean over pairs of images of the set, whatever the real ones are like."""
    pairs, likeness = found.made.pairs, found.made.likeness
    if pairs is None or likeness is None or not len(likeness):
        return _of_groups(found, spec, NO_PAIRS, None, groups)
    first, second = (torch.from_numpy(groups.made[pairs[:, side]]) for side in (0, 1))
    left = fidelity_left_out.leave_out_pairs(torch.from_numpy(likeness), first, second, groups=groups.count)
    note = f"{len(likeness)} pairs"
    return _of_groups(found, spec, float(likeness.mean()), left.numpy(), groups, note, patients=groups.patients[1])


def _of_words(found: MadeSet, spec: MetricSpec, groups: PatientGroups) -> Estimand:
    """The mean over images of how well each fits its own words; of references that of the real test images."""
    whose, own = (found.real, groups.truth) if found.reference else (found.made, groups.made)
    if whose.fits is None:
        return _of_groups(found, spec, NO_CLIP, None, groups)
    known = ~np.isnan(whose.fits)
    if not known.any():
        return _of_groups(found, spec, NO_WORDS, None, groups)
    with_words, group = whose.fits[known], own[known]
    left = [with_words[group != left_out] for left_out in range(groups.count)]
    means = np.array([values.mean() if len(values) else np.nan for values in left])
    notes = (OF_TEST,) if found.reference else ()
    patients = len(set(whose.patients[known]))
    return _of_groups(found, spec, float(with_words.mean()), means, groups, *notes, patients=patients)


def _of_singled(found: MadeSet, spec: MetricSpec) -> Estimand:
    """The share of made images that single out a training image; the limit that real test images set is taken as it
    is."""
    everyone = np.ones(len(found.made), dtype=bool)
    if found.made.singled is None or found.real.singled is None:
        return Estimand(spec, None, None, everyone, reason=REAL_ONES if found.reference else NO_TRAINING)
    real, made = torch.from_numpy(found.real.singled), torch.from_numpy(found.made.singled)
    value = _value(lambda: spec.metric.function(real, made))
    if isinstance(value, str):
        return Estimand(spec, None, None, everyone, reason=value)
    near = (made < fidelity.singled_limit(real)).double().numpy()
    n = len(near)
    share = Share(near, np.ones(n), np.zeros(n, int), Patients.of(found.made.patients))
    return Estimand(spec, None, share.value, everyone, notes=(f"{int(near.sum())} of {n} images",), spread=share)


def _of_verified(found: MadeSet, spec: MetricSpec) -> Estimand:
    """The share of images that are taken for a training patient's; of references that of the real test images."""
    whose = found.real if found.reference else found.made
    everyone = np.ones(len(found.made), dtype=bool)
    if whose.verified is None or not len(whose.verified):
        return Estimand(spec, None, None, everyone, reason=NO_VERIFIER)
    n = len(whose.verified)
    share = Share(whose.verified, np.ones(n), np.zeros(n, int), Patients.of(whose.patients))
    note = f"{int(whose.verified.sum())} of {n} images"
    return Estimand(
        spec, None, share.value, everyone, notes=(note, OF_TEST) if found.reference else (note,), spread=share
    )


def _minus(spec: MetricSpec, ours: Spread, other: Estimand, known: Array) -> Estimand | None:
    theirs = other.spread
    apart = ours.minus(theirs) if theirs is not None else None
    return None if apart is None else Estimand(spec, other.target, apart.value, known, spread=apart)


def _of_class(found: MadeSet, spec: MetricSpec, column: int, target: str) -> Estimand:
    """How well a classifier's scores tell what was asked for, or what real images show."""
    if spec.name == USEFULNESS:
        return _of_what_is_learned(found, spec, column, target)
    return _told(found, spec, target, *_scored(found, column))


def _of_what_is_learned(found: MadeSet, spec: MetricSpec, column: int, target: str) -> Estimand:
    """The mean over classifiers that were trained with several seeds, on real test images."""
    if found.made.learned is None:
        return Estimand(spec, target, None, np.ones(len(found.made), dtype=bool), reason=OF_A_GROUP)
    note = f"{OF_TEST}, by classifiers that saw {usefulness.SEEN * len(found.made)} images each"
    labels = found.real.labels[:, column]
    return mean_over_seeds(
        [
            _told(found, spec, target, found.real.patients, scores[:, column], labels, note)
            for scores in found.made.learned
        ]
    )


def _told(
    found: MadeSet,
    spec: MetricSpec,
    target: str,
    patients: Array,
    scores: Array | None,
    labels: Array,
    note: str | None,
) -> Estimand:
    """AUROC of scores and labels of images of `patients`."""
    everyone = np.ones(len(found.made), dtype=bool)
    if scores is None or np.isnan(scores).all():
        return Estimand(spec, target, None, everyone, reason="no classifier of this class could be trained")
    known = ~np.isnan(labels) & ~np.isnan(scores)
    truth, given, patients = labels[known] > 0.5, scores[known], patients[known]
    rests_on = known if len(known) == len(everyone) else everyone
    positives = int(truth.sum())
    if not 0 < positives < len(truth):
        return Estimand(spec, target, None, rests_on, positives, reason="all images were asked for the same")
    spread = delong.separation(truth.astype(np.int64), given, patients)
    few = few_patients(
        [(len(set(patients[truth])), "with a positive"), (len(set(patients[~truth])), "with a negative")]
    )
    return Estimand(
        spec, target, spread.value, rests_on, positives, notes=tuple(n for n in (note, few) if n), spread=spread,
        minus=lambda other: _minus(spec, spread, other, rests_on),
    )  # fmt: skip


def _scored(found: MadeSet, column: int) -> tuple[Array, Array | None, Array, str | None]:
    """Patients, scores and labels of the images that are scored, and what to say of it."""
    made, real = found.made, found.real
    whose, said = (real, [OF_TEST]) if found.reference else (made, [])
    if column not in found.contrasts:
        return (*_of_column([whose], column), "; ".join(said) or None)
    beside = found.contrasts[column][found.reference]
    return (*_of_column([whose, beside], column), "; ".join([*said, BESIDE.format(len(beside))]))


def _of_column(sets: Sequence[ImageSet], column: int) -> tuple[Array, Array | None, Array]:
    """Patients, scores and labels of all images of the sets."""
    scores = [s.scores[:, column] for s in sets if s.scores is not None]
    patients, labels = (
        np.concatenate(parts) for parts in ([s.patients for s in sets], [s.labels[:, column] for s in sets])
    )
    return patients, np.concatenate(scores) if scores else None, labels
