"""What a checkpoint belongs to: the cases with their truth and their files, the card, the weights, the split as drawn.

Training that goes on with other data would train on cases that it is tested on, or mix two studies. So everything is
written down before training starts, and --resume compares. Cases stand there by their names, as everywhere in a run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from medvfm.core.case import Case
from medvfm.core.errors import RunError
from medvfm.core.plurals import plural, some
from medvfm.core.protocols import Record
from medvfm.engine import checkpoint
from medvfm.engine.learners import Learner
from medvfm.engine.loop_learner import LoopLearner
from medvfm.engine.plan import Plan
from medvfm.io import run_directory
from medvfm.io.dataset import case_names, content_hash, splits

FILE = "data.json"
_PATIENT = ("patient_id", "study_id", "image_id", "laterality")
_TRUTH = ("targets", "text", "question", "answer", "question_type", "turns")
_WORDS = {
    "files": "other images or masks",
    "patient": "another patient or study",
    "truth": "another label or text",
    "groups": "other group columns",
}


def hold(folder: Path, plan: Plan, learner: Learner, folds: Sequence[splits.Fold]) -> None:
    """Write down the data of a run that starts; raises RunError, which says what changed, where a checkpoint is there
    and belongs to other data."""
    ids = [case.case_id for case in learner.store.cases]
    named = case_names.names(ids, safe=plan.safe_ids)
    now = _facts(plan, learner, folds, named)
    path = folder / FILE
    if checkpoint.exists(folder):
        then = _read(path)
        changes = _changes(then, now, {name: case_id for case_id, name in named.items()})
        if changes:
            raise RunError(
                f"the data are not those that the checkpoint was trained on: {'; '.join(changes)}",
                where=folder,
                remedy="put the data back as they were, or start afresh with another --out",
            )
    run_directory.write_json(path, now)


def _read(path: Path) -> Record:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as broken:
        raise RunError(
            "the checkpoint does not say which data it belongs to", where=path, remedy="start afresh with another --out"
        ) from broken


def _facts(plan: Plan, learner: Learner, folds: Sequence[splits.Fold], named: Mapping[str, str]) -> Record:
    """Digests only: neither labels nor names of files can be read from them."""
    stages = learner.stage_stores if isinstance(learner, LoopLearner) else {}
    prompts = plan.recipe.adapter.prompts
    file = plan.recipe.located("adapter", "prompts", "file") if prompts is not None and prompts.file else None
    return {
        "card": _digest(plan.card.as_data()),
        "weights": str(learner.adapter.record().get("sha256")),
        "prompts": None if file is None else str(content_hash.content_keys([[Path(file)]])[0]),
        "cases": {named[case.case_id]: _case(case, key) for case, key in learner.store.keyed},
        "stages": {
            str(number): _digest(sorted((case.case_id, *_case(case, key).values()) for case, key in store.keyed))
            for number, store in stages.items()
        },
        "splits": [{named[c]: split for c, split in sorted(fold.assigned.items()) if c in named} for fold in folds],
    }


def _case(case: Case, content: str) -> dict[str, str]:
    return {
        "files": content,
        "patient": _digest([getattr(case, name) for name in _PATIENT]),
        "truth": _digest([_plain(getattr(case, name)) for name in _TRUTH]),
        "groups": _digest(_plain(case.groups)),
    }


def _plain(value: object) -> object:
    return sorted((str(k), str(v)) for k, v in value.items()) if isinstance(value, Mapping) else value


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _changes(then: Record, now: Record, ids: Mapping[str, str]) -> list[str]:
    """What changed, in words."""
    found = []
    old, new = then.get("cases", {}), now["cases"]
    if added := [ids[name] for name in new if name not in old]:
        found.append(f"{plural(len(added), 'case')} came in ({some(sorted(added))})")
    if gone := [name for name in old if name not in new]:
        found.append(f"{plural(len(gone), 'case')} went missing")
    for part, words in _WORDS.items():
        if other := [ids[name] for name in new if name in old and old[name].get(part) != new[name][part]]:
            found.append(f"{plural(len(other), 'case')} with {words} ({some(sorted(other))})")
    for part, words in (("card", "the data card"), ("weights", "the weights"), ("prompts", "the file of prompts")):
        if then.get(part) != now[part]:
            found.append(f"{words} changed")
    if then.get("stages") != now["stages"]:
        found.append("the data of a stage changed")
    if not found and then.get("splits") != now["splits"]:
        found.append("the split is drawn in another way")
    return found
