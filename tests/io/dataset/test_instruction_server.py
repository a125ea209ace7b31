"""Instruction data by a server: a real process on the loopback, what it is sent, tries, and going on after a stop."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as pillow

from medvfm.core.data_card import DataCard
from medvfm.core.errors import DataError
from medvfm.io.console import SILENT
from medvfm.io.dataset import instruction_server
from medvfm.io.dataset.cases import read_cases
from medvfm.io.dataset.instruction_server import PROMPT, Server

SERVER = """
import http.server, json, pathlib, sys
log = pathlib.Path(sys.argv[1])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        with log.open("a") as file:
            file.write(json.dumps({"path": self.path, "body": json.loads(body)}) + "\\n")
        plan = json.loads(log.with_suffix(".plan").read_text())
        step = plan.pop(0) if plan else "good"
        log.with_suffix(".plan").write_text(json.dumps(plan))
        good = '```json [{"question": "What is <image> seen?", "answer": "A shadow."}] ```'
        said = good if step == "good" else "Sorry."
        text = json.dumps({"choices": [{"message": {"content": said}}]}).encode()
        self.send_response(step if isinstance(step, int) else 200)
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *_): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


class Spoken:
    """A server process; `plan` is what it does with the next requests, `requests` what it was sent."""

    def __init__(self, folder: Path) -> None:
        self.log, script = folder / "log.jsonl", folder / "server.py"
        script.write_text(SERVER)
        self.plan([])
        self.process = subprocess.Popen([sys.executable, str(script), str(self.log)], stdout=subprocess.PIPE, text=True)
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def plan(self, steps) -> None:
        self.log.with_suffix(".plan").write_text(json.dumps(steps))

    @property
    def requests(self):
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []


@pytest.fixture
def spoken(tmp_path):
    made = Spoken(tmp_path)
    yield made
    made.process.terminate()
    made.process.wait()


@pytest.fixture
def table(tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    rows = ["case_id,patient_id,image,text,nodule"]
    for n in range(3):
        pillow.fromarray(np.full((4, 4), n, np.uint8)).save(root / f"scan{n}.png")
        rows.append(f"SECRET-CASE-{n},SECRET-PATIENT-{n},scan{n}.png,A shadow {n}.,{n % 2}")
    (root / "table.csv").write_text("\n".join(rows))
    layout = {"table": "table.csv", "text": "{text}", "classes": ["nodule"]}
    card = DataCard.model_validate({"name": "shadows", "title": "t", "layouts": [layout]})
    return card, read_cases(card, root).cases, root


def asked(table, spoken, out):
    card, cases, root = table
    return instruction_server.samples(card, cases, root, Server(spoken.url, "small", wait_s=0.01), out, SILENT)


def test_facts_alone_are_sent_with_the_pinned_prompt(table, spoken, tmp_path):
    made = asked(table, spoken, tmp_path / "out.json")
    assert [s["image"] for s in made] == ["scan0.png", "scan1.png", "scan2.png"]
    assert [m["value"] for m in made[0]["conversations"]] == ["<image>\nWhat is  seen?", "A shadow."]
    assert made[0]["source"]["model"] == "small" and len(made[0]["source"]["prompt_sha256"]) == 64
    requests = spoken.requests
    assert [r["path"] for r in requests] == ["/v1/chat/completions"] * 3
    assert requests[1]["body"]["messages"] == [
        {"role": "system", "content": PROMPT},
        {"role": "user", "content": "Report: A shadow 1.\nnodule: yes"},
    ]
    assert requests[1]["body"]["temperature"] == 0
    sent = json.dumps(requests)
    assert not any(word in sent for word in ("SECRET", "scan", ".png", "base64"))


def test_a_server_that_fails_is_asked_again(table, spoken, tmp_path):
    spoken.plan([503, "bad", "good"])
    assert len(asked(table, spoken, tmp_path / "out.json")) == 3
    assert len(spoken.requests) == 5


def test_the_same_command_goes_on_where_it_stopped(table, spoken, tmp_path):
    out = tmp_path / "out.json"
    spoken.plan(["good", "good", 503, 503, 503, 503])
    with pytest.raises(DataError, match=r"did not answer in 4 tries: HTTP Error 503.*goes on where this one stopped"):
        asked(table, spoken, out)
    with (tmp_path / "out.json.part").open("a") as file:
        file.write('{"key": "cut o')
    assert len(spoken.requests) == 6 and len(asked(table, spoken, out)) == 3
    assert len(spoken.requests) == 7
    instruction_server.done(out)
    assert not (tmp_path / "out.json.part").exists()


def test_what_cannot_be_used_is_left_out_and_a_refusal_stops(table, spoken, tmp_path):
    spoken.plan(["bad"] * 4)
    assert [s["image"] for s in asked(table, spoken, tmp_path / "out.json")] == ["scan1.png", "scan2.png"]
    spoken.plan([401])
    with pytest.raises(DataError, match="the server refuses: 401"):
        asked(table, spoken, tmp_path / "other.json")


def test_texts_that_may_name_a_person_stay_on_this_machine(table, tmp_path):
    card, cases, root = table
    begun = time.monotonic()
    with pytest.raises(DataError, match=r"may name a person, and models\.example is another machine"):
        instruction_server.samples(
            card, cases, root, Server("https://models.example", "m"), tmp_path / "o.json", SILENT
        )
    with pytest.raises(DataError, match="no address of a server"):
        Server("models.example", "m")
    assert time.monotonic() - begun < 5
