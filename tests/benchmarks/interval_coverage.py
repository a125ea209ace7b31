"""How often the default intervals hold the true value, as a Markdown table:

    python -m tests.benchmarks.interval_coverage [SECTION ...] [--repeats N] [--seed N]

Every row is a world whose true value is known. `covers` is the share of the intervals that hold it, with its standard
error; `marked` the share of them that say of themselves that they are approximate; `none` the share of repetitions
that give no interval. A row is good where it covers 0.93 to 0.97, or says that it does not.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.stats import binom, norm

from medvfm.core.metric_spec import MetricSpec, parse
from medvfm.core.protocols import Points
from medvfm.metrics import fidelity, fidelity_left_out
from medvfm.statistics import group_jackknife
from medvfm.statistics.interval import APPROXIMATE, Drawing, Interval
from medvfm.statistics.proportion import score_interval
from medvfm.statistics.shares import FEW_OF_A_KIND, FEW_PATIENTS
from medvfm.tasks import per_case
from medvfm.tasks.classification import estimands
from medvfm.tasks.classification.scores import ScoreTable

DRAWING = Drawing(0.95, 1000, 0)
LARGE = 300_000  # cases that stand for all, where the true value has no formula
Rng = np.random.Generator


@dataclass(frozen=True)
class Line:
    """A row of the table."""

    number: str
    world: str
    patients: int
    covers: float
    error: float
    marked: float
    none: float
    repeats: int

    def __str__(self) -> str:
        good = 0.93 - 2 * self.error <= self.covers <= 0.97 + 2 * self.error
        verdict = "" if good else "marked" if self.marked > 0.5 else "OUTSIDE"
        return (
            f"| {self.number} | {self.world} | {self.patients} | {self.covers:.3f} ± {self.error:.3f} | "
            f"{self.marked:.2f} | {self.none:.2f} | {self.repeats} | {verdict} |"
        )


def summed(number: str, world: str, patients: int, found: list[Interval | None], true: float) -> Line:
    there = [i for i in found if i is not None and i.low is not None and i.high is not None]
    held = np.array([i.low - 1e-9 <= true <= i.high + 1e-9 for i in there if i.low is not None and i.high is not None])
    marked = np.mean([APPROXIMATE in (i.note or "") for i in there]) if there else 0.0
    share = float(held.mean()) if len(held) else float("nan")
    error = float(np.sqrt(max(share * (1 - share), 0.25 / max(len(held), 1) ** 0.5 * 0.01) / max(len(held), 1)))
    return Line(number, world, patients, share, error, float(marked), 1 - len(there) / len(found), len(found))


# worlds of scores


def scores(
    rng: Rng, patients: int, cases: int, prevalence: float, auroc: float, models: int = 1, by_patient: bool = False
):
    """Normal scores, half of whose variance the cases of a patient share; a second model shares half with the first."""
    whose = np.repeat(np.arange(patients), cases)
    owner = rng.random(patients)[whose] if by_patient else rng.random(len(whose))
    truth = (owner < prevalence).astype(float)
    common = rng.normal(size=patients)[whose] if cases > 1 else rng.normal(size=patients)
    own = rng.normal(size=(models, len(whose)))
    noise = (common + own) / 2**0.5 if cases > 1 or models > 1 else own
    return truth, noise + norm.ppf(auroc) * 2**0.5 * truth, whose


def table(truth: np.ndarray, given: np.ndarray, whose: np.ndarray, fold: np.ndarray | None = None) -> ScoreTable:
    n = len(truth)
    columns = (truth[:, None], given[:, None]) if truth.ndim == 1 else (truth, given)
    targets = tuple(f"t{k}" for k in range(columns[0].shape[1]))
    return ScoreTable(
        tuple(map(str, range(n))), whose, targets, *columns, True, {}, np.zeros(n, int) if fold is None else fold
    )


def found(spec: MetricSpec, given: ScoreTable, points: Points, less: ScoreTable | None = None) -> Interval | None:
    """The interval of the only estimand, as the engine asks for it; None where the number does not exist."""
    exclusive = len(given.targets) > 1
    (ours,) = estimands.estimands(given, [spec], points, exclusive)
    if less is not None:
        (theirs,) = estimands.estimands(less, [spec], points, exclusive)
        assert ours.minus is not None
        apart = ours.minus(theirs)
        assert apart is not None
        ours = apart
    if ours.value is None or ours.spread is None:
        return None
    return ours.spread.interval(DRAWING)


def auroc(repeats: int, seed: int) -> Iterator[Line]:
    spec = parse("auroc", estimands.METRICS)
    for cases, by_patient in ((1, False), (3, False), (3, True)):
        for patients in (10, 20, 50, 100, 200, 1000):
            for prevalence in (0.05, 0.5):
                for true in (0.7, 0.9, 0.97):
                    rng = np.random.default_rng(seed)
                    made = []
                    while len(made) < repeats:
                        truth, score, whose = scores(rng, patients, cases, prevalence, true, 1, by_patient)
                        if 0 < truth.sum() < len(truth):
                            made.append(found(spec, table(truth, score[0], whose), Points()))
                    kind = (
                        "1 case"
                        if cases == 1
                        else f"{cases} cases, disease of the {'patient' if by_patient else 'case'}"
                    )
                    yield summed("AUROC", f"{true}, prevalence {prevalence}, {kind}", patients, made, true)


def shares(repeats: int, seed: int) -> Iterator[Line]:
    for total in (10, 20, 30, 50, 100, 200, 1000):
        ends = [score_interval(x / total, total, 0.95) for x in range(total + 1)]
        low, high = (np.array([getattr(i, end) for i in ends], dtype=float) for end in ("low", "high"))
        few = np.array([total < FEW_PATIENTS or min(x, total - x) < FEW_OF_A_KIND for x in range(total + 1)])
        for true in (0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.99):
            chances = binom.pmf(np.arange(total + 1), total, true)
            covers = float(chances[(low <= true) & (true <= high)].sum())
            yield Line("share", f"{true}, 1 case, exact", total, covers, 0.0, float(chances[few].sum()), 0.0, 0)
    spec = parse("accuracy", estimands.METRICS)
    points = Points({("decision", "t0"): np.array([0.5])})
    for patients in (10, 20, 50, 100, 333):
        for true in (0.5, 0.8, 0.9, 0.97, 0.99):
            rng, made = np.random.default_rng(seed), []
            for _ in range(repeats):
                whose = np.repeat(np.arange(patients), 3)
                right = together(rng, patients, 3) < norm.ppf(true)
                made.append(found(spec, table(np.ones(len(whose)), right * 1.0, whose), points))
            yield summed("share", f"{true}, 3 cases", patients, made, true)


def together(rng: Rng, patients: int, cases: int) -> np.ndarray:
    """Standard normal, half of the variance shared by the cases of a patient."""
    return (rng.normal(size=patients).repeat(cases) + rng.normal(size=patients * cases)) / 2**0.5


def decisions(repeats: int, seed: int) -> Iterator[Line]:
    points = Points({("decision", "t0"): np.array([0.5])})
    for name in ("balanced_accuracy", "f1"):
        spec = parse(name, estimands.METRICS)
        for prevalence in (0.05, 0.5):
            for sensitivity in (0.7, 0.95):
                specificity = 0.9
                tp, fn, fp = (
                    prevalence * sensitivity,
                    prevalence * (1 - sensitivity),
                    (1 - prevalence) * (1 - specificity),
                )
                true = (sensitivity + specificity) / 2 if name != "f1" else 2 * tp / (2 * tp + fn + fp)
                for patients, cases in ((20, 1), (50, 1), (200, 1), (1000, 1), (50, 3), (333, 3)):
                    rng, made = np.random.default_rng(seed), []
                    while len(made) < repeats:
                        truth = (rng.random(patients * cases) < prevalence).astype(float)
                        if not 0 < truth.sum() < len(truth):
                            continue
                        drawn = together(rng, patients, cases) if cases > 1 else rng.normal(size=patients)
                        called = np.where(truth > 0, drawn < norm.ppf(sensitivity), drawn > norm.ppf(specificity)) * 1.0
                        whose = np.repeat(np.arange(patients), cases)
                        made.append(found(spec, table(truth, called, whose), points))
                    world = f"prevalence {prevalence}, sensitivity {sensitivity}, {cases} case{'s' * (cases > 1)}"
                    yield summed(name, world, patients, made, true)


def missing_at(miss: float) -> Callable[[Rng, int], np.ndarray]:
    return lambda rng, n: rng.beta(8, 2, n) * (rng.random(n) >= miss)


WORLDS: dict[str, tuple[Callable[[Rng, int], np.ndarray], float, tuple[float, float]]] = {
    "Dice as beta(8, 2)": (missing_at(0), 0.8, (0, 1)),
    "Dice, 2% missed": (missing_at(0.02), 0.784, (0, 1)),
    "Dice, 10% missed": (missing_at(0.1), 0.72, (0, 1)),
    "Dice, 30% missed": (missing_at(0.3), 0.56, (0, 1)),
    "Dice as beta(20, 1)": (lambda rng, n: rng.beta(20, 1, n), 20 / 21, (0, 1)),
    "distance, log-normal": (lambda rng, n: np.exp(rng.normal(1, 0.8, n)), float(np.exp(1.32)), (0, np.inf)),
}


def means(repeats: int, seed: int) -> Iterator[Line]:
    for cases in (1, 3):
        for world, (draw, true, within) in WORLDS.items():
            for patients in (10, 20, 50, 100, 200, 1000):
                rng, made = np.random.default_rng(seed), []
                count = repeats if patients < 1000 else repeats // 4
                for _ in range(count):
                    values = draw(rng, patients * cases).reshape(patients, cases)
                    alike = rng.random(patients) < 0.5
                    values[alike] = values[alike][:, :1]
                    made.append(mean_of(values.reshape(-1, 1), np.repeat(np.arange(patients), cases), within))
                yield summed(world, f"{cases} case{'s' * (cases > 1)}", patients, made, true)


def mean_of(values: np.ndarray, whose: np.ndarray, within: tuple[float, float]) -> Interval:
    return per_case.means.over_folds(values, np.zeros(len(values)), per_case.Patients.of(whose), within).interval(
        DRAWING
    )


def classes(rng: Rng, n: int, kinds: int, right: float) -> tuple[np.ndarray, np.ndarray]:
    truth = rng.integers(0, kinds, n)
    return truth, np.where(rng.random(n) < right, truth, rng.integers(0, kinds, n))


def smooth(repeats: int, seed: int) -> Iterator[Line]:
    def of(name: str, world: str, draw: Callable[[Rng, int], ScoreTable], sizes: tuple[int, ...]) -> Iterator[Line]:
        spec = parse(name, estimands.METRICS)
        points = Points({("decision", "t0"): np.array([0.5])})
        (whole,) = estimands.estimands(
            draw(np.random.default_rng(99), LARGE), [replace_interval(spec)], points, name in CLASSES
        )
        assert whole.value is not None
        for patients in sizes:
            rng = np.random.default_rng(seed)
            made = [found(spec, draw(rng, patients), points) for _ in range(repeats)]
            yield summed(name, world, patients, made, whole.value)

    for prevalence in (0.05, 0.5):
        for true in (0.7, 0.9, 0.97):

            def ranked(rng: Rng, n: int, prevalence: float = prevalence, true: float = true) -> ScoreTable:
                truth, score, whose = scores(rng, n, 1, prevalence, true)
                return table(truth, score[0], whose)

            yield from of("auprc", f"AUROC {true}, prevalence {prevalence}", ranked, (50, 200, 500))
    for name in CLASSES:
        for right in (0.6, 0.9):

            def called(rng: Rng, n: int, right: float = right) -> ScoreTable:
                truth, given = classes(rng, n, 4, right)
                return table(np.eye(4)[truth], np.eye(4)[given], np.arange(n))

            yield from of(name, f"4 classes, {right} right", called, (20, 50, 100, 200))
    for name in ("calibration_slope", "calibration_intercept"):

        def sure(rng: Rng, n: int) -> ScoreTable:
            odds = rng.normal(-1, 1.5, n)
            truth = (rng.random(n) < 1 / (1 + np.exp(-odds))).astype(float)
            return table(truth, 1 / (1 + np.exp(-1.4 * odds - 0.3)), np.arange(n))

        yield from of(name, "1.4 times too sure", sure, (50, 100, 200))


CLASSES = ("kappa", "quadratic_kappa", "mcc")


def replace_interval(spec: MetricSpec) -> MetricSpec:
    """The same number without its interval, for a world too large to leave out patients of."""
    return replace(spec, metric=replace(spec.metric, interval="steps"))


def differences(repeats: int, seed: int) -> Iterator[Line]:
    spec, points = parse("auroc", estimands.METRICS), Points({("decision", "t0"): np.array([0.5])})
    for cases in (1, 3):
        for patients, prevalence in ((20, 0.5), (50, 0.5), (200, 0.05), (200, 0.5), (1000, 0.05)):
            for true in (0.7, 0.9, 0.97):
                rng, made = np.random.default_rng(seed), []
                while len(made) < repeats:
                    truth, score, whose = scores(rng, patients, cases, prevalence, true, 2)
                    if 0 < truth.sum() < len(truth):
                        a, b = (table(truth, s, whose) for s in score)
                        made.append(found(spec, a, points, b))
                world = f"0 at {true}, prevalence {prevalence}, {cases} case{'s' * (cases > 1)}"
                yield summed("AUROC, difference", world, patients, made, 0.0)
    accuracy = parse("accuracy", estimands.METRICS)
    for patients in (20, 50, 200):
        for one, other in ((0.9, 0.9), (0.95, 0.8), (0.6, 0.5)):
            rng, made = np.random.default_rng(seed), []
            for _ in range(repeats):
                common = rng.normal(size=patients)
                a, b = ((common + rng.normal(size=patients)) / 2**0.5 < norm.ppf(p) for p in (one, other))
                both = [table(np.ones(patients), r * 1.0, np.arange(patients)) for r in (a, b)]
                made.append(found(accuracy, both[0], points, both[1]))
            yield summed("accuracy, difference", f"{one} less {other}", patients, made, one - other)
    for patients in (10, 20, 50, 200):
        rng, made = np.random.default_rng(seed), []
        for _ in range(repeats):
            hard = rng.beta(8, 2, patients)
            apart = hard * rng.beta(6, 1, patients) - hard * rng.beta(6, 1.5, patients)
            made.append(mean_of(apart[:, None], np.arange(patients), (-1, 1)))
        yield summed("Dice, difference", "0.8 (6 / 7 - 6 / 7.5)", patients, made, 0.8 * (6 / 7 - 6 / 7.5))


def folds(repeats: int, seed: int) -> Iterator[Line]:
    spec, points = parse("auroc", estimands.METRICS), Points({("decision", "t0"): np.full(5, 0.5)})
    accuracy = parse("accuracy", estimands.METRICS)
    for patients, prevalence in ((50, 0.5), (200, 0.2), (200, 0.5), (1000, 0.05)):
        fold = np.arange(patients) * 5 // patients
        for true in (0.7, 0.9):
            rng, made = np.random.default_rng(seed), []
            while len(made) < repeats:
                truth, score, whose = scores(rng, patients, 1, prevalence, true)
                each = np.bincount(fold, truth, 5)
                if (each > 0).all() and (each < np.bincount(fold)).all():
                    made.append(found(spec, table(truth, score[0], whose, fold), points))
            yield summed("AUROC over 5 folds", f"{true}, prevalence {prevalence}", patients, made, true)
    for patients in (50, 200):
        for true in (0.7, 0.9, 0.97):
            rng, made = np.random.default_rng(seed), []
            for _ in range(repeats):
                right = (rng.random(patients) < true) * 1.0
                given = table(np.ones(patients), right, np.arange(patients), np.arange(patients) * 5 // patients)
                made.append(found(accuracy, given, points))
            yield summed("accuracy over 5 folds", f"{true}", patients, made, true)


def sets(repeats: int, seed: int) -> Iterator[Line]:
    """Two normal distributions in 4 dimensions, images of a patient alike. The true value is the mean over sets of that
    size: what they would give without the noise of drawing them, bias by few images and all."""
    names = [name for name in fidelity_left_out.BY_GROUP if name != "nearest_ratio"]
    for patients, cases in ((12, 5), (20, 1), (40, 4), (60, 1), (100, 1), (200, 1)):
        rng = np.random.default_rng(seed)
        whose = np.repeat(np.arange(patients), cases)
        grouping = group_jackknife.groups_of_both(whose, 1000 + whose, seed)
        of_truth, of_made = torch.from_numpy(grouping.truth), torch.from_numpy(grouping.made)
        values: dict[str, list[float]] = {name: [] for name in names}
        made: dict[str, list[Interval | None]] = {name: [] for name in names}
        for _ in range(repeats):
            both = []
            for scale, shift in ((1.0, 0.0), (1.2, 0.5)):
                drawn = rng.normal(size=(patients, 4))[whose] + rng.normal(size=(len(whose), 4))
                both.append(torch.from_numpy(drawn * scale / 2**0.5 + shift))
            left = fidelity_left_out.leave_out_each(names, *both, of_truth, of_made)
            for name in names:
                spec = parse(name, fidelity.METRICS)
                values[name].append(float(spec.metric.function(*both)))
                marks = {"kid": group_jackknife.SHORT} | dict.fromkeys(
                    fidelity_left_out.NEIGHBOURHOODS, group_jackknife.WIDE
                )
                known = np.ones(len(whose), dtype=bool)
                found = group_jackknife.estimand(
                    spec, None, values[name][-1], left[name].numpy(), grouping, known, found=marks.get(name)
                )
                made[name].append(None if found.spread is None else found.spread.interval(DRAWING))
        for name in names:
            world = f"{cases} image{'s' * (cases > 1)} a patient"
            yield summed(name, world, patients, made[name], float(np.mean(values[name])))


SECTIONS = {f.__name__: f for f in (auroc, shares, decisions, means, smooth, differences, folds, sets)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.interval_coverage", description=__doc__)
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], help="all without one")
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| number | world | patients | covers | marked | none | repetitions | |\n|---|---|---|---|---|---|---|---|")
    for name in given.sections or SECTIONS:
        for line in SECTIONS[name](given.repeats, given.seed):
            print(line, flush=True)


if __name__ == "__main__":
    main()
