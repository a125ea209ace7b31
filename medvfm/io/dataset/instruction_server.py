"""Instruction data by a language model on a server that the user names: off by default, and asked about facts alone.

What is sent of an image is its caption and its labels: no image, no name of a file, case, study or patient, no other
column. The prompt is pinned: its digest stands in the source of each sample.
"""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from medvfm.core.case import Case
from medvfm.core.data_card import DataCard
from medvfm.core.errors import DataError
from medvfm.io.console import Console
from medvfm.io.dataset import case_names
from medvfm.io.dataset.instruction_data import CONVERSATION, IMAGE, Sample, conversation_of, image_name

PROMPT = """You write questions and answers about one medical image that you cannot see. You are given facts about \
it: its report or caption, and labels that hold true or not. Write 3 to 5 questions that a clinician could ask while \
looking at the image, each with a short answer. Every answer must follow from the facts; do not guess, do not mention \
the facts, the report or the caption, and ask nothing about the patient's identity, age or history. \
Answer with JSON alone: [{"question": "...", "answer": "..."}, ...]"""
TRIES = 4
TIMEOUT_S = 120
MOST_BYTES = 2**20  # of an answer
AGAIN = (408, 409, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Server:
    """url of an OpenAI-compatible server, such as http://127.0.0.1:8000, and the model that is asked.

    wait_s  before the second try; each further one waits twice as long
    """

    url: str
    model: str
    wait_s: float = 1.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise DataError(f"no address of a server: {self.url!r}", remedy="give one such as http://127.0.0.1:8000")

    @property
    def is_here(self) -> bool:
        """On this machine, by its address."""
        host = urlsplit(self.url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    def ask(self, facts: str) -> list[tuple[str, str]]:
        """Questions and answers from facts. Raises DataError where the server does not answer, ValueError where what it
        says cannot be used, both after TRIES tries."""
        body = {
            "model": self.model, "temperature": 0, "seed": 0,
            "messages": [{"role": "system", "content": PROMPT}, {"role": "user", "content": facts}],
        }  # fmt: skip
        problem: Exception = ValueError("never asked")
        for attempt in range(TRIES):
            if attempt:
                time.sleep(self.wait_s * 2 ** (attempt - 1))
            try:
                return _pairs(self._posted(body))
            except urllib.error.HTTPError as error:
                if error.code not in AGAIN:
                    raise DataError(f"the server refuses: {error.code} {error.reason}", where=self.url) from error
                problem = error
            except (OSError, http.client.HTTPException, ValueError) as error:
                problem = error
        if isinstance(problem, ValueError):
            raise problem
        raise DataError(
            f"the server did not answer in {TRIES} tries: {problem}",
            where=self.url,
            remedy="the same command goes on where this one stopped",
        ) from problem

    def _posted(self, body: Mapping[str, Any]) -> str:
        base = self.url.rstrip("/")
        address = f"{base}/chat/completions" if base.endswith("/v1") else f"{base}/v1/chat/completions"
        request = urllib.request.Request(
            address, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
        )
        direct = [urllib.request.ProxyHandler({})] if self.is_here else []
        with urllib.request.build_opener(*direct).open(request, timeout=TIMEOUT_S) as told:
            answer = json.loads(told.read(MOST_BYTES))
        try:
            return str(answer["choices"][0]["message"]["content"])
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError("an answer without choices[0].message.content") from error


def samples(
    card: DataCard, cases: Sequence[Case], root: Path, server: Server, out: Path, console: Console
) -> list[Sample]:
    """A conversation for each image that has a caption or labels, in the order of the cases.

    Each is written to `OUT.part` as soon as it is made, so that the same command goes on after an interruption. Images
    for which nothing usable was said are counted and left out. Raises DataError where nothing could be made, and before
    anything is sent where the texts of the card may name a person and the server is another machine.
    """
    if not server.is_here and card.ids != "safe":
        raise DataError(
            f"texts of {card.name} may name a person, and {urlsplit(server.url).hostname} is another machine",
            remedy="run the model on this machine, or say `ids: safe` in the card of data without identities",
        )
    part = out.with_suffix(out.suffix + ".part")
    known = _kept(part)
    named = case_names.names((case.case_id for case in cases), safe=card.ids == "safe")
    asked: dict[str, Case] = {}
    for case in cases:
        asked.setdefault(image_name(case, root), case)
    told = [(image, case, facts_of(case)) for image, case in asked.items()]
    told = [(image, case, facts) for image, case, facts in told if facts]
    found, unusable = [], 0
    for image, case, facts in console.track(told, len(told), f"asked of {server.model}"):
        key = hashlib.sha256(json.dumps([PROMPT, server.model, image, facts]).encode()).hexdigest()
        if key not in known:
            try:
                turns = server.ask(facts)
            except ValueError:
                unusable += 1
                continue
            fields = [*(["text"] if (case.text or "").strip() else []), *(f"classes.{n}" for n in _labels(case))]
            source = {
                "card": card.name, "version": card.version, "case_id": named[case.case_id], "fields": fields,
                "model": server.model, "prompt_sha256": hashlib.sha256(PROMPT.encode()).hexdigest(),
            }  # fmt: skip
            known[key] = {
                "id": f"{named[case.case_id]}-{CONVERSATION}", "image": image, "kind": CONVERSATION,
                "conversations": conversation_of(turns), "source": source,
            }  # fmt: skip
            with part.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, "sample": known[key]}, ensure_ascii=False) + "\n")
        found.append(known[key])
    if unusable:
        console.say(f"  {unusable} images left out: what the model said of them could not be used")
    if not found:
        raise DataError(f"{server.model} made nothing of {len(told)} images with a caption or labels", where=server.url)
    return found


def done(out: Path) -> None:
    """What was kept for an interruption is not needed any more."""
    out.with_suffix(out.suffix + ".part").unlink(missing_ok=True)


def facts_of(case: Case) -> str:
    """All that is sent of a case; nothing for one without caption and labels."""
    labels = _labels(case)
    text = (case.text or "").replace(IMAGE, "").strip()
    said = [f"Report: {text}"] if text else []
    said += [f"{name.replace('_', ' ')}: {'yes' if value else 'no'}" for name, value in labels.items()]
    return "\n".join(said)


def _labels(case: Case) -> dict[str, float]:
    return {name: value for name, value in case.targets.items() if value in (0.0, 1.0)}


def _pairs(content: str) -> list[tuple[str, str]]:
    """Questions and answers in what a model said, which may stand in a block of code. Raises ValueError."""
    begin, end = content.find("["), content.rfind("]")
    listed = json.loads(content[begin : end + 1]) if 0 <= begin < end else None
    if not isinstance(listed, list):
        raise ValueError("no list of questions and answers")
    found = [(_words(entry, "question"), _words(entry, "answer")) for entry in listed]
    if not found or not all(question and answer for question, answer in found):
        raise ValueError("a question without an answer")
    return found


def _words(entry: Any, name: str) -> str:
    return str(entry.get(name) or "").replace(IMAGE, "").strip() if isinstance(entry, Mapping) else ""


def _kept(part: Path) -> dict[str, Sample]:
    """Samples of an earlier call; a last line that was cut off is none."""
    found: dict[str, Sample] = {}
    for line in part.read_text(encoding="utf-8").splitlines() if part.is_file() else []:
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # the line that was being written when the command ended
        found[entry["key"]] = entry["sample"]
    return found
