"""Every test works in user folders of its own: no cache, key or ledger of the person who runs it is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "2")


@pytest.fixture(scope="session", autouse=True)
def _user_folders(tmp_path_factory):
    """Shared by the session, so that what one test generated or encoded the next one finds."""
    home = tmp_path_factory.mktemp("user")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CACHE", "CONFIG", "DATA"):
            patch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
        yield


def _shared_data() -> Path | None:
    given = os.environ.get("MEDVFM_DATA")
    places = [Path(given)] if given else [Path(__file__).parents[2] / "shared" / "data"]
    return next((p for p in places if p.is_dir()), None)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data that the project does not ship: MEDVFM_DATA, or ../shared/data beside the project."""
    found = _shared_data()
    if found is None:
        pytest.skip("no real data here: set MEDVFM_DATA to a folder of them")
    return found
