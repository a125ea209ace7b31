"""`medvfm view` in a process of its own: who may ask, what is answered, and that no name leads to a file."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from medvfm.core.errors import DataError, RunError
from medvfm.io import user_folders
from medvfm.io.console import Console
from medvfm.io.run_directory import FORMAT
from medvfm.pipeline.viewing import cases, niivue
from tests.samples.studies import VolumeStudy

SCRIPT = """
import sys
from pathlib import Path
from medvfm.pipeline import viewing
from medvfm.pipeline.viewing import niivue
niivue.bundle = lambda given: b"var niivue = 1;"  # what it answers with is not asked here
viewing.view(Path(sys.argv[1]), announce=lambda address: print(address, flush=True))
"""
HOSTILE = "<script>alert(1)</script>"
CHROMIUM = next((found for name in ("chromium", "chromium-browser") if (found := shutil.which(name))), None)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A finished run with two predicted masks: no model is needed to look at it."""
    folder = tmp_path_factory.mktemp("viewed")
    study = VolumeStudy(folder / "study", cases=4)
    directory, recipe = folder / "run", study.recipe(title=f"Ball {HOSTILE}")
    (directory / "masks").mkdir(parents=True)
    shutil.copy(study.folder / "drawn.yaml", directory / "card.yaml")
    rows = []
    for n in (1, 2):
        shutil.copy(study.file("labels", n), directory / "masks" / f"v{n:02d}.nii.gz")
        own = {"case_id": f"v{n:02d}", "split": "test", "truth": 4.2, "score": 3.9, "baseline": None}
        rows += [own | {"target": target, "mask": [f"masks/v{n:02d}.nii.gz"]} for target in ("ball", "box")]
    rows.append(rows[0] | {"case_id": "v03", "split": "val"})
    pd.DataFrame(rows).to_parquet(directory / "predictions.parquet")
    record = {"format": FORMAT, "kind": "run", "status": "complete", "title": recipe.title, "recipe": recipe.as_data()}
    (directory / "run.json").write_text(json.dumps(record))
    (directory / "secret.txt").write_text("a patient's name")
    return directory


@pytest.fixture(scope="module")
def address(run):
    with subprocess.Popen([sys.executable, "-c", SCRIPT, str(run)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()  # a shell's background job would not hear Control-C
            process.wait(20)


def asked(address: str, path: str, host: str | None = None, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/[\w-]+/", address)
    assert found is not None
    connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=60)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    connection.putheader("Host", host or f"127.0.0.1:{found[1]}")
    connection.endheaders()
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), content


def below(address: str, name: str = "") -> str:
    return "/" + address.split("/", 3)[3] + name


def test_images_masks_and_truths_are_the_files(run, address):
    status, headers, page = asked(address, below(address))
    assert status == 200 and b"niivue.js" in page and "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer" and headers["Cache-Control"] == "no-store"
    found = json.loads(asked(address, below(address, "cases.json"))[2])
    assert [case["name"] for case in found["cases"]] == ["v01", "v02"] and "truth 4.2" in found["cases"][0]["said"]
    layers = found["cases"][1]["layers"]
    assert [layer["kind"] for layer in layers] == ["image", "prediction", "truth"]
    study = run.parent / "study" / "data"
    for layer, file in zip(layers, ("images", "labels", "labels"), strict=True):
        content = asked(address, below(address, layer["url"]))[2]
        given = nibabel.Nifti1Image.from_bytes(gzip.decompress(content))
        true = nibabel.load(study / file / "v02.nii.gz")
        assert np.allclose(given.affine, true.affine, atol=1e-5)
        assert np.allclose(np.asarray(given.dataobj), np.asarray(true.dataobj))


def test_without_the_token_or_from_another_site_nothing_is_answered(address):
    own = below(address)
    port = address.split(":")[2].split("/")[0]
    for path in ("/", "/cases.json", "/" + "a" * 32 + "/", own.swapcase(), "/%2e%2e/"):
        assert asked(address, path)[0] == 403, path
    for host in (f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{int(port) + 1}", "[::1]"):
        assert asked(address, own, host)[0] == 403, host
    assert asked(address, own, f"localhost:{port}")[0] == 200
    assert asked(address, own, method="POST")[0] == 501


def test_no_name_leads_to_a_file(address):
    names = ("../secret.txt", "secret.txt", "..%2fsecret.txt", "run.json", "volume/0/../../secret.txt", "//etc/passwd")
    more = ("volume/99/0.nii.gz", "volume/-1/0.nii.gz", "page.py", "server.py", "page.js?x=1", "%00")
    for name in (*names, *more):
        status, _, content = asked(address, below(address, name))
        assert status == 404 and b"patient" not in content and b"root:" not in content, name


def test_it_listens_on_the_loopback_alone(address):
    """On every other address of this machine nobody answers at that port."""
    port = int(address.split(":")[2].split("/")[0])
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    mine = [row[1] for row in listening if row[3] == "0A" and int(row[1].split(":")[1], 16) == port]
    assert mine == [f"0100007F:{port:04X}"]


def test_a_mask_outside_the_run_and_data_that_are_not_there_are_refused(run, tmp_path):
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    table = pd.read_parquet(copied / "predictions.parquet")
    table["mask"] = [["../study/data/images/v01.nii.gz"]] * len(table)
    table.to_parquet(copied / "predictions.parquet")
    with pytest.raises(DataError, match="leads out"):
        cases.of_run(copied, None, Console())
    table.assign(case_id="nobody", mask=None).to_parquet(copied / "predictions.parquet")
    with pytest.raises(RunError, match="none of its test cases"):
        cases.of_run(copied, None, Console())


def test_another_script_is_not_taken_for_the_viewer(tmp_path, monkeypatch):
    other = tmp_path / "niivue.umd.js"
    other.write_text("alert(1)")
    with pytest.raises(DataError, match="sha256"):
        niivue.bundle(other)
    monkeypatch.setattr(user_folders, "data", lambda: tmp_path)
    for npm, said in (
        (str(tmp_path / "none"), "nor is npm"),
        (shutil.which("false"), "npm could not fetch the viewer"),
    ):
        monkeypatch.setattr(niivue, "NPM", npm)
        with pytest.raises(DataError, match=said) as told:
            niivue.bundle()
        assert "--niivue FILE" in str(told.value)


def test_what_npm_packs_is_unpacked_checked_and_kept(tmp_path, monkeypatch):
    """By a stand-in for npm that writes a package where it is told to."""
    script = tmp_path / "niivue.umd.js"
    script.write_text("var niivue = 1;")
    with tarfile.open(tmp_path / "packed.tgz", "w:gz") as archive:
        archive.add(script, niivue.MEMBER)
    npm = tmp_path / "npm"
    npm.write_text(f'#!/bin/sh\n[ "$1" = pack ] && cp "{tmp_path / "packed.tgz"}" "$5/found.tgz"\n')
    npm.chmod(0o755)
    monkeypatch.setattr(user_folders, "data", lambda: tmp_path / "kept")
    monkeypatch.setattr(niivue, "NPM", str(npm))
    with pytest.raises(DataError, match="sha256"):  # it is not the version that is known
        niivue.bundle()
    monkeypatch.setattr(niivue, "SHA256", hashlib.sha256(script.read_bytes()).hexdigest())
    assert niivue.bundle() == script.read_bytes()
    npm.unlink()
    assert niivue.bundle() == script.read_bytes()  # kept: npm is not asked again


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
def test_a_volume_is_drawn_in_a_browser(run):
    """With the real viewer, where npm or the user's data folder has it."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: it comes with the dev group")
    try:
        niivue.bundle()
    except DataError as reason:
        pytest.skip(str(reason))
    words = [sys.executable, "-m", "medvfm.cli", "view", str(run), "--no-browser"]
    gpu = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            with playwright.sync_playwright() as play:
                browser = play.chromium.launch(executable_path=CHROMIUM, args=gpu)
                page, asked_for, said = browser.new_page(), [], []
                page.on("request", lambda request: asked_for.append(request.url))
                page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
                page.goto(address)
                page.locator("#layers input").nth(2).wait_for(timeout=60_000)
                assert page.evaluate("viewer.volumes.length") == 3
                assert page.locator("#problem").inner_text() == "" and said == []
                assert page.locator("h1").inner_text().endswith(HOSTILE)
                assert sorted(page.evaluate("viewer.volumes[0].dims.slice(1, 4)")) == [6, 28, 32]
                assert all(url.startswith((address, "blob:", "data:")) for url in asked_for)
        finally:
            process.kill()
