"""A foundation model as a scikit-learn transformer: images in, features out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from medvfm import pipeline
from medvfm.core.errors import UnreadableImage

KEPT = 100_000  # vectors of files that are remembered, so that cross-validation encodes each file once
LOADED = 2  # encoders that stay in memory


class _Encodes(Protocol):
    def encode(self, images: Any, *, progress: bool | None = None) -> np.ndarray: ...


class FoundationEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Images to features (n, d), frozen: a step of scikit-learn's pipelines, cross-validation and searches.

        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        model = make_pipeline(medvfm.FoundationEncoder(), LogisticRegression(max_iter=500))

    adapter  which adapter loads the weights: `dinov2` for any image encoder, `clip` for the image side of a pair
    weights  hub id, folder, `embedded` (no network) or a name of `medvfm list models`
    size     pixels that the model sees; None: its own
    windows  a named window, (low, high) in the image's unit; None: as the image says
    pool     how slices of a volume become one vector: mean or max
    patches  how patches become one vector: mean, cls or max
    progress None: a bar on a terminal

    X is a list (array, column) of paths, or of images in memory: `medvfm.read_image`, arrays (rows, columns[, 3]), PIL
    pictures. Nothing is fitted, so that no test case can leak; patients are for the splitter to keep together
    (`GroupKFold`). Vectors of files are remembered until their files change.
    """

    def __init__(
        self,
        adapter: str = "dinov2",
        weights: str = "embedded",
        *,
        size: int | None = None,
        windows: str | tuple[float, float] | None = None,
        pool: str = "mean",
        patches: str | None = None,
        progress: bool | None = None,
    ) -> None:
        self.adapter = adapter
        self.weights = weights
        self.size = size
        self.windows = windows
        self.pool = pool
        self.patches = patches
        self.progress = progress

    def fit(self, X: Any, y: object = None) -> FoundationEncoder:
        """Load the weights; nothing is learned from X."""
        _listed(X)
        windows = tuple(self.windows) if isinstance(self.windows, list) else self.windows
        self.encoder_ = _encoder(self.adapter, self.weights, self.size, windows, self.pool, self.patches)
        self._n_features_out = self.encoder_.width
        return self

    def transform(self, X: Any) -> np.ndarray:
        """(n, d) features."""
        check_is_fitted(self)
        return self.encoder_.features(_listed(X), self.progress)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.string = False, True
        tags.requires_fit = True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "encoder_")


class _Encoder:
    """A loaded encoder, and the vectors that it gave for files."""

    def __init__(self, adapter: _Encodes) -> None:
        self.adapter = adapter
        self._known: OrderedDict[tuple[str, int, int], np.ndarray] = OrderedDict()
        self.width = int(adapter.encode(np.zeros((8, 8), np.uint8)).shape[1])

    def features(self, images: list[Any], progress: bool | None) -> np.ndarray:
        keys = [_key(image) for image in images]
        new = [n for n, key in enumerate(keys) if key is None or key not in self._known]
        vectors: dict[int, np.ndarray] = {}
        if new:
            vectors = dict(zip(new, self.adapter.encode([images[n] for n in new], progress=progress), strict=True))
        for n, key in enumerate(keys):
            if key is not None:
                vectors[n] = self._known.setdefault(key, vectors[n]) if n in vectors else self._known[key]
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        return np.stack([vectors[n] for n in range(len(images))])


@lru_cache(maxsize=LOADED)
def _encoder(
    adapter: str, weights: str, size: int | None, windows: str | tuple[float, float] | None, pool: str,
    patches: str | None,
) -> _Encoder:  # fmt: skip
    prepare: dict[str, Any] = {"slices": {"pool": pool}}
    given = {"size": size, "windows": list(windows) if isinstance(windows, tuple) else windows, "patches": patches}
    prepare |= {key: value for key, value in given.items() if value is not None}
    loaded = pipeline.load_adapter(adapter, weights=weights, **prepare)
    if not hasattr(loaded, "encode"):
        raise UnreadableImage(f"the adapter {adapter!r} gives no features", remedy="take dinov2 or clip")
    return _Encoder(cast(_Encodes, loaded))


def _key(image: object) -> tuple[str, int, int] | None:
    """What the vector of a file depends on; None for what is in memory, and for folders."""
    if not isinstance(image, str | Path) or not (path := Path(image)).is_file():
        return None
    facts = path.stat()
    return str(path.resolve()), facts.st_mtime_ns, facts.st_size


def _listed(images: object) -> list[Any]:
    """Samples one by one; a table of numbers is refused, as it holds no images."""
    if isinstance(images, str | Path) or not isinstance(images, Iterable):
        raise UnreadableImage(f"{type(images).__name__} is no list of images", remedy="give [path, path, ...]")
    given: Any = images
    if hasattr(given, "columns"):  # a DataFrame: its only column
        if given.shape[1] != 1:
            raise UnreadableImage(
                f"a table of {given.shape[1]} columns", remedy="give the one column that names images"
            )
        given = given.iloc[:, 0]
    if isinstance(given, np.ndarray):
        if given.dtype.kind in "OU" and given.ndim == 2 and given.shape[1] == 1:
            given = given[:, 0]
        if given.ndim < 3 and given.dtype.kind not in "OU":
            raise UnreadableImage(
                f"an array of numbers of shape {given.shape} is no list of images",
                remedy="give paths, a list of pictures, or an array (n, rows, columns) or (n, rows, columns, 3)",
            )
    found = list(given)
    if not found:
        raise UnreadableImage("an empty list of images", remedy="give [path, path, ...]")
    return found
