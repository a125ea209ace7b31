"""Downloads against a server on this machine: resumed, checked, kept below their folder, https alone."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from medvfm.core.data_card import DataCard, Download, Licence
from medvfm.core.errors import DataError
from medvfm.core.layout import Layout
from medvfm.io.console import SILENT
from medvfm.io.dataset import download, roots
from medvfm.io.dataset.archives import extract

CONTENT = bytes(range(256)) * 12_000  # three chunks
HERE = ("http",)  # the server of these tests speaks no TLS


class Server(ThreadingHTTPServer):
    """Files by name; `cut` bytes of an answer are sent at most, `ranges` says whether it goes on in the middle."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.files, self.asked, self.cut, self.ranges = {}, [], None, True

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.asked.append((self.path, asked))
        content = self.server.files.get(self.path[1:])
        if isinstance(content, str):
            self.send_response(302)
            self.send_header("Location", content)
            self.end_headers()
            return
        if content is None:
            self.send_error(404)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", asked).group(1)) if asked and self.server.ranges else 0
        if start >= len(content) > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:][: self.server.cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    made = Server()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def entry(server, name, content=None, **more):
    """A download; its address is set past the model's own check, which wants https."""
    if content is not None:
        server.files[name] = content
        more.setdefault("sha256", hashlib.sha256(content).hexdigest())
    found = Download(url="https://example.org/x", **{"file": name, **more})
    return found.model_copy(update={"url": server.url(name)})


def card(*entries):
    given = {"name": "study", "title": "A study", "licence": Licence(name="CC0"), "layouts": (Layout(table="t.csv"),)}
    return DataCard(**given).model_copy(update={"download": entries})


def fetched(found, folder, **more):
    return download.fetch(found, folder, SILENT, schemes=HERE, **more)


def test_a_file_comes_once(server, tmp_path):
    found = card(entry(server, "deep/a.npz", CONTENT))
    for _ in range(2):
        assert (fetched(found, tmp_path / "data") / "deep" / "a.npz").read_bytes() == CONTENT
    assert server.asked == [("/deep/a.npz", None)]
    assert [p.name for p in (tmp_path / "data" / "deep").iterdir()] == ["a.npz"]


def test_a_transfer_that_was_cut_goes_on(server, tmp_path):
    found = card(entry(server, "a.npz", CONTENT))
    server.cut = 1_500_000
    with pytest.raises(DataError, match=r"run the same command again"):
        fetched(found, tmp_path)
    assert not (tmp_path / "a.npz").exists()
    have = (tmp_path / ".a.npz.part").stat().st_size
    assert 0 < have < len(CONTENT)
    server.cut = None
    assert (fetched(found, tmp_path) / "a.npz").read_bytes() == CONTENT
    assert server.asked[-1] == ("/a.npz", f"bytes={have}-")


@pytest.mark.parametrize("left", [b"xx", CONTENT + b"more", CONTENT])
@pytest.mark.parametrize("ranges", [True, False])
def test_what_a_former_transfer_left_does_not_spoil_the_file(server, tmp_path, left, ranges):
    """A beginning of other bytes, too many bytes, all bytes; and a server that only sends whole files."""
    found = card(entry(server, "a.npz", CONTENT))
    server.ranges = ranges
    (tmp_path / ".a.npz.part").write_bytes(left)
    if left == b"xx" and ranges:
        with pytest.raises(DataError, match="the card says"):
            fetched(found, tmp_path)
    assert (fetched(found, tmp_path) / "a.npz").read_bytes() == CONTENT


@pytest.mark.parametrize(("kind", "digits"), [("sha256", 64), ("md5", 32)])
def test_a_wrong_checksum_is_refused_and_nothing_stays(server, tmp_path, kind, digits):
    found = card(entry(server, "a.npz", CONTENT, **{"sha256": None, kind: "0" * digits}))
    with pytest.raises(DataError, match=rf"its {kind} is .* and the card says 0+"):
        fetched(found, tmp_path)
    assert [p.name for p in tmp_path.iterdir() if p.name != ".lock"] == []


def test_only_https_even_after_a_redirection(server, tmp_path):
    with pytest.raises(DataError, match="only https"):
        download.fetch(card(entry(server, "a.npz", CONTENT)), tmp_path, SILENT)
    server.files["b.npz"] = "ftp://127.0.0.1/x"
    with pytest.raises(DataError, match="only https"):
        fetched(card(entry(server, "b.npz")), tmp_path)
    with pytest.raises(ValueError, match="https"):
        Download(url="http://example.org/x", file="x")


@pytest.mark.parametrize("name", ["../a.npz", "/tmp/a.npz", "x/../../a.npz"])
def test_no_name_leads_out(server, tmp_path, name):
    with pytest.raises(DataError, match="leads out"):
        fetched(card(entry(server, "a.npz", CONTENT, file=name)), tmp_path / "data")


def test_errors_of_the_server_are_said(server, tmp_path):
    with pytest.raises(DataError, match="404"):
        fetched(card(entry(server, "none.npz")), tmp_path)
    gone = card(entry(server, "a.npz", CONTENT))
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match="the transfer stopped"):
        fetched(gone, tmp_path)


def test_a_layout_fetches_its_own_files(server, tmp_path):
    entries = [entry(server, f"{n}.npz", n.encode(), layout=n) for n in ("path", "chest")]
    fetched(card(*entries), tmp_path, layout="chest")
    assert [p.name for p in tmp_path.glob("*.npz")] == ["chest.npz"]
    with pytest.raises(DataError, match=r"data\.layout; One of: chest, path|one of: chest, path"):
        fetched(card(*entries), tmp_path)


def test_offline_nothing_is_asked_for_and_files_brought_by_hand_are_taken(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("MEDVFM_CACHE", str(tmp_path))
    found = card(entry(server, "a.npz", CONTENT))
    with pytest.raises(DataError, match=r"HF_HUB_OFFLINE.*a\.npz.*medvfm data root study DIR"):
        roots.locate(found, None, {}, SILENT)
    (tmp_path / "downloads" / "study").mkdir(parents=True)
    (tmp_path / "downloads" / "study" / "a.npz").write_bytes(CONTENT)
    assert roots.locate(found, None, {}, SILENT) == tmp_path / "downloads" / "study"
    assert server.asked == []


def zipped(names, link=None):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, name)
        if link:
            info = zipfile.ZipInfo(link)
            info.external_attr = 0o120777 << 16
            archive.writestr(info, "/etc/passwd")
    return held.getvalue()


def tarred(names, kind=tarfile.REGTYPE):
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, "/etc/passwd", len(name) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(name.encode()))
    return held.getvalue()


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_an_archive_is_unpacked_once_and_removed(server, tmp_path, pack):
    found = card(entry(server, "set.archive", pack(["set/a.csv", "set/b/c.csv", "__MACOSX/a"]), unpack=True))
    for _ in range(2):
        fetched(found, tmp_path)
    assert (tmp_path / "set" / "b" / "c.csv").read_text() == "set/b/c.csv"
    shown = [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file() and p.name[0] != "."]
    assert sorted(shown) == ["set/a.csv", "set/b/c.csv"]
    assert len(server.asked) == 1


def test_a_gzip_file_is_inflated(tmp_path):
    (tmp_path / "x.h5.gz").write_bytes(gzip.compress(CONTENT))
    assert extract(tmp_path / "x.h5.gz", tmp_path / "out") == [tmp_path / "out" / "x.h5"]
    assert (tmp_path / "out" / "x.h5").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (zipped(["fine.csv", "../evil.csv"]), "leads out"),
        (zipped(["fine.csv", "/evil.csv"]), "leads out"),
        (zipped(["fine.csv"], link="evil.csv"), "a link"),
        (tarred(["fine.csv", "../evil.csv"]), "leads out"),
        (tarred(["evil.csv"], tarfile.SYMTYPE), "a link"),
        (tarred(["evil.csv"], tarfile.FIFOTYPE), "a device"),
        (zipped(["fine.csv"])[:-30], "neither a zip"),
        (b"nothing", "neither a zip"),
        (zipped([]), "without files"),
    ],
    ids=[
        "up",
        "absolute",
        "zip link",
        "tar up",
        "tar link",
        "pipe",
        "cut",
        "no archive",
        "empty",
    ],  # archives hold times
)
def test_bad_archives_leave_nothing(tmp_path, content, said):
    (tmp_path / "bad.archive").write_bytes(content)
    with pytest.raises(DataError, match=said):
        extract(tmp_path / "bad.archive", tmp_path / "out" / "data")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [tmp_path / "bad.archive"]


def test_what_the_disk_cannot_hold_is_refused(tmp_path, monkeypatch):
    (tmp_path / "bomb.zip").write_bytes(zipped(["a" * 50]))
    monkeypatch.setattr("medvfm.io.dataset.archives._KEEP_FREE", 1 << 60)
    with pytest.raises(DataError, match="not enough free disk space"):
        extract(tmp_path / "bomb.zip", tmp_path / "out")
