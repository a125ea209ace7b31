"""The cache: whole files or none, damaged ones made again, the oldest gone first."""

from __future__ import annotations

import os

import numpy as np
import pytest

from medvfm.core.errors import UnreadableImage
from medvfm.io import cache
from medvfm.io.dataset.content_hash import content_key


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDVFM_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_an_array_is_made_once_and_memory_mapped(folder):
    made = []
    arrays = cache.ArrayCache("prepared")
    make = lambda: made.append(1) or np.arange(6.0).reshape(2, 3)  # noqa: E731
    first, again = arrays.get_or_make("a", make), cache.ArrayCache("prepared").get_or_make("a", make)
    assert np.array_equal(first, again)
    assert isinstance(again, np.memmap)
    assert not again.flags.writeable
    assert made == [1]


def test_a_damaged_file_is_made_again(folder):
    arrays = cache.ArrayCache("prepared")
    arrays.put("a", np.ones(100))
    (file,) = (folder / "cache").rglob("*.npy")
    file.write_bytes(file.read_bytes()[:150])
    assert arrays.get("a") is None
    assert arrays.get_or_make("a", lambda: np.zeros(3)).tolist() == [0, 0, 0]


def test_what_was_used_longest_ago_makes_room(folder):
    arrays = cache.ArrayCache("prepared", limit_gib=5000 / 2**30)
    for n in range(10):
        arrays.put(str(n), np.zeros(100))
        for file in (folder / "cache").rglob("*.npy"):
            os.utime(file, (file.stat().st_mtime - 10, file.stat().st_mtime - 10))
    arrays.trim()
    assert arrays.get("9") is not None
    assert arrays.get("0") is None
    assert sum(f.stat().st_size for f in (folder / "cache").rglob("*.npy")) <= 5000


def test_a_key_follows_content_and_not_names(folder):
    one, two = folder / "one", folder / "two"
    one.mkdir(), two.mkdir()
    (one / "a").write_bytes(b"x"), (one / "b").write_bytes(b"y")
    (two / "1").write_bytes(b"y"), (two / "2").write_bytes(b"x")
    key = content_key([one])
    assert key == content_key([two])
    (two / "2").write_bytes(b"z")
    os.utime(two / "2", (1, 1))
    assert key != content_key([two])
    assert content_key([one / "a", one / "b"]) != content_key([one / "b", one / "a"])
    with pytest.raises(UnreadableImage, match="no such file"):
        content_key([folder / "gone"])
    (folder / "empty").mkdir()
    with pytest.raises(UnreadableImage, match="empty folder"):
        content_key([folder / "empty"])


def test_features_are_found_again_and_damage_costs_only_time(folder):
    store = cache.FeatureStore("model")
    rows = {f"k{n}": np.full((2, 3), n, np.float32) for n in range(5)}
    store.put(rows)
    store.put({"k9": np.full((2, 3), 9, np.float32)})
    found = cache.FeatureStore("model").get(["k1", "k9", "missing"])
    assert set(found) == {"k1", "k9"}
    assert np.array_equal(found["k9"], np.full((2, 3), 9))
    for file in (folder / "cache").rglob("*.safetensors"):
        file.write_bytes(b"damaged")
    assert cache.FeatureStore("model").get(["k1"]) == {}
    store.put(rows)
    assert np.array_equal(cache.FeatureStore("model").get(["k3"])["k3"], rows["k3"])
    assert ("features" in {kind for kind, _, _ in cache.usage()}) is True
