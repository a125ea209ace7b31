"""Every test works in user folders of its own: no cache, key or ledger of the person who runs it is touched.

Each worker of pytest-xdist has one thread, so that two workers take two cores and numbers do not depend on how many.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from markupsafe import Markup

LAID_OUT = Path(__file__).parent / "report"  # tests that look at figures

os.environ.setdefault("HF_HUB_OFFLINE", "1")
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # read when torch and NumPy are imported
    os.environ.setdefault(_name, "1")


def pytest_collection_modifyitems(items):
    """Files with slow tests first, so that no worker waits for another in the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Also where the environment asks for more; what has no use for torch does not wait for it."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _user_folders(tmp_path_factory):
    """Shared by the session (of each worker), so that what one test generated or encoded the next one finds."""
    home = tmp_path_factory.mktemp("user")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CACHE", "CONFIG", "DATA"):
            patch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
        yield


@pytest.fixture(scope="session")
def _unlaid_figures():
    """`svg.draw` without the layout of matplotlib, which is most of the time of a small run: everything is painted."""
    from matplotlib.figure import Figure

    from medvfm.report.charts import svg

    def painted(name, alt, size_in, paint):
        paint(Figure(figsize=size_in))
        return Markup('<svg role="img" aria-label="{}"></svg>').format(alt)

    return svg, painted


@pytest.fixture(autouse=True)
def _figures(request, monkeypatch):
    """Figures are laid out in the tests of reports and pages, which look at them."""
    if LAID_OUT not in request.path.parents:
        svg, painted = request.getfixturevalue("_unlaid_figures")
        monkeypatch.setattr(svg, "draw", painted)


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
