"""The judge of made images: the training images, an extractor, and classifiers of real images.

Nothing here is seen by the model. Real test images are judged against training images, and made ones against both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from medvfm.core.array import Array
from medvfm.core.case import Case
from medvfm.core.errors import Undefined
from medvfm.core.protocols import TrueCases
from medvfm.metrics import fidelity, image_pairs, neighbourhoods, pixel_copies
from medvfm.metrics.pixel_copies import MostAlike
from medvfm.models.extractors import volume_slices
from medvfm.models.extractors.base import Extractor
from medvfm.models.image_text.caption_scores import CaptionScorer
from medvfm.nn import probe
from medvfm.nn.probe import Probe
from medvfm.tasks.generation import usefulness
from medvfm.tasks.generation.held_out import Combination, met
from medvfm.tasks.generation.image_set import ImageSet
from medvfm.tasks.generation.set_features import FeatureNetwork, features_of
from medvfm.tasks.generation.usefulness import ProbeFit
from medvfm.tasks.generation.verifier import Verifier


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images with what is known of them: pixels (n, C, H, W) or (n, C, S, H, W) float32 in [0, 1], labels (n, T) with
    NaN; met: see ImageSet."""

    ids: tuple[str, ...]
    patients: Array
    pixels: Array
    labels: Array
    met: Array | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, rows: Array) -> Pictures:
        ids = tuple(self.ids[int(r)] for r in rows)
        met = None if self.met is None else self.met[rows]
        return Pictures(ids, self.patients[rows], self.pixels[rows], self.labels[rows], met)


def pictures_of(true: TrueCases, classes: Sequence[str], held_out: Sequence[Combination] = ()) -> Pictures:
    """The prepared images of cases; grey ones become colour where some are."""
    cases = [true.case(place) for place in range(len(true))]
    found = [np.asarray(true.pixels(place), dtype=np.float32) for place in range(len(true))]
    channels = max((p.shape[0] for p in found), default=1)
    pixels = np.stack([np.repeat(p, channels // p.shape[0], axis=0) for p in found])
    owners = np.array([case.owner for case in cases], dtype=object)
    ids = tuple(case.case_id for case in cases)
    return Pictures(ids, owners, pixels, labels_of(cases, classes), met(cases, held_out))


def labels_of(cases: Sequence[Case], classes: Sequence[str]) -> Array:
    """(n, T); NaN where a label is unknown."""
    return np.array([[case.target(name) for name in classes] for case in cases], float).reshape(
        len(cases), len(classes)
    )


@dataclass(frozen=True, eq=False)
class Judge:
    """See the module's docstring. What was measured of real test images is kept: every baseline is compared with
    them."""

    classes: tuple[str, ...]
    extractor: Extractor
    train: Pictures
    features: Array
    classifier: Classifier
    scorer: CaptionScorer | None = None
    verifier: Verifier | None = None
    held_out: tuple[Combination, ...] = ()
    _kept: dict[tuple[str, ...], tuple[Pictures, ImageSet]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        true: TrueCases,
        classes: tuple[str, ...],
        extractor: Extractor,
        scorer: CaptionScorer | None = None,
        verifying: FeatureNetwork | None = None,
        held_out: tuple[Combination, ...] = (),
    ) -> Judge:
        """Look at the training images, and fit the classifier of each class."""
        train = pictures_of(true, classes, held_out)
        features = features_of(extractor, train.pixels)
        verifier = None if verifying is None else Verifier.fitted(verifying, train.pixels, train.patients)
        classifier = Classifier.fitted(features, train.labels)
        return cls(classes, extractor, train, features, classifier, scorer, verifier, held_out)

    def real(self, true: TrueCases) -> tuple[Pictures, ImageSet]:
        """Real images of cases, and what is measured of them."""
        ids = tuple(true.case(place).case_id for place in range(len(true)))
        if ids not in self._kept:
            shown = pictures_of(true, self.classes, self.held_out)
            self._kept[ids] = shown, self._measured(shown, new=True)
        return self._kept[ids]

    def fits(self, pixels: Array, texts: Sequence[str]) -> Array | None:
        """(n,) CLIPScore of images (n, C, H, W) and their words, NaN without words; of volumes (n, C, S, H, W) that of
        their middle slice. None without a pair of encoders."""
        if self.scorer is None:
            return None
        found = np.full(len(texts), np.nan)
        rows = np.array([row for row, text in enumerate(texts) if text], int)
        if len(rows):
            given = volume_slices.middle(torch.from_numpy(np.ascontiguousarray(pixels[rows])))
            found[rows] = fidelity.clip_score(*self.scorer.vectors(given, [texts[int(r)] for r in rows])).numpy()
        return found

    def made(
        self,
        shown: Pictures,
        real: ImageSet,
        asked: Sequence[str] | None = None,
        *,
        new: bool = True,
        taught: Callable[[ProbeFit], Array] | None = None,
    ) -> ImageSet:
        """What is measured of images beside the real test images. asked: the words of each, where there are some.
        `new`: they are no training images, so that their distance to these says something. taught: what classifiers
        learn of in place of these images."""
        found = self._measured(shown, new=new)
        given = torch.from_numpy(np.ascontiguousarray(shown.pixels)).to(self.extractor.device)
        pairs, likeness = pairs_of(given)

        def learn(features: Array, labels: Array) -> Array:
            return Classifier.fitted(features, labels).scores(real.features)

        learned = usefulness.of_made(found.features, shown.labels, learn) if taught is None else taught(learn)
        return ImageSet(
            found.ids, found.patients, found.features, found.labels, found.scores, found.nearest, found.alike,
            found.singled, learned, pairs, likeness, None if asked is None else self.fits(shown.pixels, asked),
            found.verified, found.met,
        )  # fmt: skip

    def nearest_training(self, features: Array) -> Array:
        """(n,) rows of the training image nearest to each."""
        rows = neighbourhoods.nearest(_tensor(features, self.extractor), _tensor(self.features, self.extractor))[1]
        return np.asarray(rows.cpu().numpy())

    def most_alike_training(self, pixels: Array) -> Array:
        """(n,) rows of the training image whose pixels correlate best with those of each."""
        return self._most_alike(pixels).places.cpu().numpy()

    def _measured(self, shown: Pictures, *, new: bool) -> ImageSet:
        features = features_of(self.extractor, shown.pixels)
        nearest = alike = singled = verified = None
        if new:
            verified = None if self.verifier is None else self.verifier.verified(shown.pixels)
            distances = neighbourhoods.nearest(
                _tensor(features, self.extractor), _tensor(self.features, self.extractor)
            )[0]
            nearest, found = distances.double().cpu().numpy(), self._most_alike(shown.pixels)
            alike, singled = found.values.double().cpu().numpy(), found.singled.double().cpu().numpy()
        scores = self.classifier.scores(features)
        return ImageSet(
            shown.ids,
            shown.patients,
            features,
            shown.labels,
            scores,
            nearest,
            alike,
            singled,
            verified=verified,
            met=shown.met,
        )

    def _most_alike(self, pixels: Array) -> MostAlike:
        device = self.extractor.device
        given, among = (torch.from_numpy(np.ascontiguousarray(p)).to(device) for p in (pixels, self.train.pixels))
        owners = np.unique([str(p) for p in self.train.patients], return_inverse=True)[1]
        return pixel_copies.most_alike(given, among, torch.from_numpy(owners))


def pairs_of(pixels: torch.Tensor) -> tuple[Array, Array]:
    """Pairs (p, 2) of images (n, C, H, W) or (n, C, S, H, W), and how alike they are (p,); none of a single one, or of
    very small ones."""
    try:
        pairs, likeness = image_pairs.pair_similarities(pixels)
    except Undefined:
        return np.zeros((0, 2), int), np.zeros(0)
    return pairs.cpu().numpy(), likeness.cpu().numpy()


def _tensor(features: Array, extractor: Extractor) -> torch.Tensor:
    return torch.from_numpy(features).to(extractor.device)


@dataclass(frozen=True, eq=False)
class Classifier:
    """Logistic regression for the classes `columns` of T, those that have both positives and negatives."""

    probe: Probe | None
    columns: Array
    classes: int

    @classmethod
    def fitted(cls, features: Array, labels: Array) -> Classifier:
        """On features (n, d) and labels (n, T) with NaN, with one penalty, as there is nothing to choose it by."""
        columns = np.flatnonzero((labels == 0).any(axis=0) & (labels == 1).any(axis=0))
        if not len(columns):
            return cls(None, columns, labels.shape[1])
        pair = torch.from_numpy(features), torch.from_numpy(labels[:, columns])
        return cls(probe.sweep(pair, pair, None, kind="multi_label")[0], columns, labels.shape[1])

    def scores(self, features: Array) -> Array:
        """(n, T) logits, NaN for the classes that could not be fitted."""
        found = np.full((len(features), self.classes), np.nan)
        if self.probe is not None:
            with torch.inference_mode():
                found[:, self.columns] = self.probe(torch.from_numpy(features)).double().numpy()
        return found
