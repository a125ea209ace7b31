"""`medvfm init`: a card and a recipe proposed from one's own files."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from medvfm.core import recipe as recipes
from medvfm.core.data_card import load_card
from medvfm.core.errors import DataError, MedvfmError, RecipeError, RunError, nearest
from medvfm.core.plurals import plural, some
from medvfm.io.dataset import cases as tables
from medvfm.io.dataset import table_files
from medvfm.io.dataset.file_endings import IMAGES, without_ending
from medvfm.io.run_directory import write_text
from medvfm.pipeline import planning
from medvfm.pipeline.proposing import columns as roles
from medvfm.pipeline.proposing import folders, joining, label, mask_contents, pairs, texts, who
from medvfm.pipeline.proposing.found import Ask, Column, Files, MaskPair, Proposal, Told, unclear
from medvfm.pipeline.proposing.names_of_files import Index, Named
from medvfm.tasks import OF_LABELS, OF_MASKS

SIDES = (96, 256)  # of the pictures that a segmenter sees, from the least to the most


@dataclass(frozen=True)
class Written:
    """The two files, and what was seen and understood, a line each."""

    card: Path
    recipe: Path
    lines: list[str]


@dataclass(frozen=True)
class _Table:
    name: str
    records: list[dict[str, object]]
    columns: list[Column]
    images: Named
    joins: tuple[joining.Link, ...] = ()


def propose(given: Path, told: Told, ask: Ask, out: Path | None = None, *, overwrite: bool = False) -> Written:
    """Look at a folder, or at a table and the folder in which it lies; write card.yaml and recipe.yaml.

    What cannot be seen is asked; where nobody answers, DataError names it and how to say it. A patient is taken from a
    column or from names of files that say so, and never guessed.
    """
    if told.task is not None and told.task not in texts.TASKS:
        raise RecipeError(
            f"no proposal for the task {told.task!r}; {nearest(told.task, texts.TASKS)}", where="--task",
            remedy="`medvfm list recipes` shows recipes of the others to start from",
        )  # fmt: skip
    if not given.exists():
        raise DataError("no such file or folder", where=given)
    files = folders.look(given if given.is_dir() else given.parent)
    only = None if given.is_dir() else given.name
    folder = out or files.root
    for name in ("card.yaml", "recipe.yaml"):
        if (folder / name).exists() and not overwrite:
            raise RunError(
                "is there already", where=folder / name, remedy="--overwrite replaces it, --out goes elsewhere"
            )
    table, mask_pair = _table(files, only), pairs.find(files)
    if not files.images and not files.series:
        raise DataError("holds no image that can be read", where=files.root, remedy="known are DICOM, NIfTI, PNG, ...")
    task = told.task or _task(table, mask_pair, files, ask)
    found = Told(task, told.patient, told.label)
    proposal = _of_masks(files, table, mask_pair, found, ask) if task == OF_MASKS else None
    proposal = proposal or (_of_table(table, found, ask) if table is not None else _of_folders(files, found, ask))
    name = roles.plain_name(files.root.resolve().name, "study")
    name = name if name[0].isalpha() else f"study_{name}"
    folder.mkdir(parents=True, exist_ok=True)
    written = Written(folder / "card.yaml", folder / "recipe.yaml", _seen(files, table, mask_pair, proposal))
    title = unicodedata.normalize("NFC", files.root.resolve().name)
    write_text(written.card, texts.card(proposal, name, title))
    own_root = None if folder.resolve() == files.root.resolve() else files.root.resolve()
    write_text(written.recipe, texts.recipe(proposal, f"{_title(proposal)}: {title}"[:200], own_root))
    written.lines.extend(_checked(written, files.root))
    return written


def _table(files: Files, only: str | None) -> _Table | None:
    """The table whose rows name most images; of the tables of a folder, or the one that was given.

    A table of a folder that cannot be read, or names no image, is none of the study, where masks or folders of classes
    make one without it.
    """
    index, found, read, sheets = Index(files), [], [], []
    for name in (only,) if only is not None else files.tables:
        try:
            table = table_files.read_table(files.root / name)
        except MedvfmError as broken:
            if only is not None:
                raise
            read.append(f"{name} ({broken.what}{f': {broken.remedy}' if broken.remedy else ''})")
            continue
        columns = roles.of_records(table.records, table.columns)
        sheets.append(joining.Sheet(name, table.records, columns))
        read.append(f"{name} ({', '.join(table.columns)})")
        named = [n for c in columns if (n := index.named_by(c, name)) and not roles.mask_like(c)]
        if named:
            best = max(named, key=lambda n: len(n.files))
            found.append(_Table(name, table.records, columns, best))
    without = only is None and (pairs.find(files) is not None or _class_folders(files) is not None)
    if not found and read and index.all and not without:
        raise unclear(
            f"no column names the images below {files.root}, such as {min(index.all)}; tables: {'; '.join(read)}",
            "give the table a column with the names of the files, and let it lie in the folder of its images or above",
        )
    for one in sorted(found, key=lambda t: (-len(t.images.files), -len(t.records))):
        if (whole := _with_joined(one, [sheet for sheet in sheets if sheet.name != one.name])).joins:
            return whole
    best_table = max(found, key=lambda t: len(t.images.files), default=None)
    alike = [t.name for t in found if best_table and len(t.images.files) == len(best_table.images.files)]
    if len(alike) > 1:
        raise unclear(f"{len(alike)} tables name the same images: {some(alike)}", "give one: medvfm init TABLE")
    return best_table


def _with_joined(table: _Table, others: Sequence[joining.Sheet]) -> _Table:
    """The table with what others say of its images or patients, where it lacks the patient or the label."""
    image = table.images.column
    for other in others:
        sheet = joining.Sheet(table.name, table.records, table.columns)
        if (link := joining.link(sheet, image, other)) is not None:
            whole = joining.joined(sheet, other, link)
            table = _Table(
                table.name, list(map(dict, whole.records)), list(whole.columns), table.images, (*table.joins, link)
            )
    return table


def _task(table: _Table | None, mask_pair: MaskPair | None, files: Files, ask: Ask) -> str:
    able = []
    if table is not None:
        if roles.called(table.columns, "question") and roles.called(table.columns, "answer"):
            return "question_answering"
        rest = [c for c in table.columns if c.name != table.images.column and c not in roles.patients(table.columns)]
        able += [OF_LABELS] * bool(roles.labels(rest, len(table.records)))
        able += ["retrieval"] * bool(roles.texts(table.columns))
        masked = any(roles.mask_like(c) and Index(files).named_by(c, table.name) for c in table.columns)
    else:
        masked = False
        able += [OF_LABELS] * bool(mask_pair is None and _class_folders(files))
    able += [OF_MASKS] * (mask_pair is not None or masked)
    if len(able) == 1:
        return able[0]
    answer = ask("What is the question?", able or texts.TASKS)
    if answer is not None:
        return answer
    saw = f"could be {' or '.join(able)}" if able else "there is neither a label nor a mask"
    raise unclear(f"the task is not clear: {saw}", f"say --task, one of: {', '.join(able or texts.TASKS)}", files.root)


def _of_table(table: _Table, told: Told, ask: Ask) -> Proposal:
    """What one reads from a table: classes, words, groups and the split."""
    named, columns = table.images, table.columns
    proposal = Proposal(str(told.task), ("table", table.name), named.template, f"{{{named.column}}}", "")
    for link in table.joins:
        proposal.joins.append((link.table, link.key, f"{{{link.on}}}"))
        proposal.note("join", f"{link.table} says {', '.join(link.columns)} where its {link.key} is our {link.on}")
    proposal.note("images", f"{plural(len(named.files), 'image')} named by the column {named.column}")
    if named.missing:
        proposal.note("images", f"{plural(named.missing, 'name')} of no file: these rows are left out")
    image = next(c for c in columns if c.name == named.column)
    if told.task == "question_answering":
        _questions(proposal, columns)
    elif max(image.counts.values()) > 1:
        proposal.repeated = "any"
        proposal.note("repeated", "some images stand in several rows: a class is positive if it is so in one of them")
    who.of_table(proposal, columns, table.records, told, ask, table.name)
    rest = [c for c in columns if c.name != named.column and f"{{{c.name}}}" != proposal.patient]
    rest = [c for c in rest if c not in roles.patients(columns)]
    if told.task == OF_LABELS:
        label.put(proposal, rest, len(table.records), told, ask, table.name)
    if told.task == "retrieval":
        _words(proposal, columns, told, ask, table.name)
    _groups(proposal, rest)
    if (found := roles.split(rest)) is not None and {"train", "val", "test"} <= set(found[1].values()):
        proposal.split = f"{{{found[0].name}}}", found[1]
        proposal.note("split", f"the column {found[0].name} divides the cases; a patient in two splits stops the run")
    return proposal


def _groups(proposal: Proposal, columns: Sequence[Column]) -> None:
    for column in columns:
        name = roles.group_of(column)
        if name is not None and column.usable and name not in proposal.groups and column.counts:
            number = name == "age" and roles.is_number(column)
            if number or len(column.counts) <= roles.CLASSES_MOST:
                proposal.groups[name] = f"{{{column.name}}}", number
    if proposal.groups:
        proposal.note("groups", "for subgroups in the report, and for a baseline that sees no image")


def _words(proposal: Proposal, columns: Sequence[Column], told: Told, ask: Ask, where: str) -> None:
    found = [c for c in roles.texts(columns) if told.label in (None, c.name)]
    chosen: str | None = found[0].name if len(found) == 1 else None
    chosen = chosen or ask("Which column holds the text?", [c.name for c in found or columns])
    if chosen is None:
        raise unclear("no column, or more than one, holds reports or captions", "say --label COLUMN", where)
    proposal.words["text"] = f"{{{chosen}}}"


def _questions(proposal: Proposal, columns: Sequence[Column]) -> None:
    proposal.case_id = "{row}"
    for key in ("question", "answer"):
        column = roles.called(columns, key)
        if column is None:
            raise unclear(f"no column {key!r}", "name the columns question and answer", proposal.source[1])
        proposal.words[key] = f"{{{column.name}}}"
    kind = roles.called(columns, "question_type", "answer_type", "type")
    proposal.words |= {"question_type": f"{{{kind.name}}}"} if kind else {}
    image = proposal.image
    proposal.words["image_id"] = image[image.index("{") : image.index("}") + 1]


def _of_folders(files: Files, told: Told, ask: Ask) -> Proposal:
    """Folders that are named after classes."""
    above = _class_folders(files)
    if told.task != OF_LABELS or not above:
        raise unclear(f"there is no table, and {told.task} needs one", "medvfm init TABLE", files.root)
    start, names = above
    endings = {p[len(without_ending(p, IMAGES) or p) :] for p in files.images}
    ending = endings.pop() if len(endings) == 1 else ""
    alternatives = "|".join(re.escape(name) for name in names)
    pattern = f"{start}{{verdict:{alternatives}}}/{{file}}{ending}"
    proposal = Proposal(OF_LABELS, ("files", pattern), "{path}", "{path}", "")
    paths = [p for p in files.images if p.startswith(start) and PurePosixPath(p).parent.name in names]
    who.of_files(proposal, paths, told, ask)
    for name in names:
        plain = roles.plain_name(name)
        proposal.classes[plain] = {"column": "verdict", "positive": [name], "other": "negative"}
    proposal.kind = "multi_class"
    proposal.note("classes", "the folders in which the images lie")
    return proposal


def _class_folders(files: Files) -> tuple[str, list[str]] | None:
    """(what lies above, names) of folders beside each other that hold all images."""
    parents = {PurePosixPath(path).parent for path in files.images}
    above = {parent.parent.as_posix() for parent in parents}
    names = sorted(parent.name for parent in parents)
    usable = all(name and not set(name) & set("{}:") for name in names)
    if len(above) != 1 or not 2 <= len(names) <= roles.CLASSES_MOST or not usable:
        return None
    start = above.pop()
    return ("" if start == "." else f"{start}/"), names


def _of_masks(files: Files, table: _Table | None, pair: MaskPair | None, told: Told, ask: Ask) -> Proposal:
    masked = None
    if table is not None:
        named = [n for c in table.columns if roles.mask_like(c) and (n := Index(files).named_by(c, table.name))]
        masked = named[0] if named else None
    if table is not None and (masked or pair):
        proposal = _of_table(table, told, ask)
        if masked is not None:
            proposal.mask = masked.template
            examples = [(mask, mask) for mask in masked.files]
        else:
            assert pair is not None
            cut = pairs.by_stem(pair.images, proposal.image)
            proposal.extract.append((cut["value"], cut["pattern"]))
            proposal.mask = pair.masks
            examples = list(pair.examples)
    elif pair is not None:
        proposal = Proposal(OF_MASKS, ("files", pairs.images_alone(pair)), "{path}", "{case_id}", "")
        proposal.mask = pair.masks.replace("{case}", "{case_id}")
        examples = list(pair.examples)
        proposal.note("source", f"{plural(len(examples), 'image')} with a mask")
        if pair.lonely:
            proposal.note("source", f"{plural(pair.lonely, 'image')} without one: left out")
        who.of_files(proposal, [image for image, _ in examples], told, ask)
    else:
        raise unclear(
            "no masks: neither two folders with the same names, nor names such as x.png and x_mask.png, nor a column",
            "name them so, or write a table with the columns image, mask and patient_id",
            files.root,
        )
    _contents(proposal, mask_contents.look(files, examples), told)
    return proposal


def _contents(proposal: Proposal, found: mask_contents.MaskContents, told: Told) -> None:
    proposal.masks_kind, proposal.is_volume = found.kind, found.is_volume
    low, high = SIDES
    proposal.size_px = min(high, max(low, 32 * round(found.longest_side / 32)))
    if found.kind == "instances":
        proposal.note("masks", "0 is background, and every object has a number of its own")
        return
    if not found.values:
        raise unclear("the masks hold nothing but background", "look at them: medvfm view, or any viewer")
    names = [n.strip() for n in told.label.split(",")] if told.label and proposal.task == OF_MASKS else []
    if names and len(names) != len(found.values):
        values = ", ".join(map(str, found.values))
        raise DataError(f"{len(names)} names for the values {values}", where="--label")
    proposal.labels = dict(zip(found.values, names or [f"structure_{v}" for v in found.values], strict=True))
    read = f"values found in {plural(found.read, 'mask')}"
    bright = "bright pixels of the pictures are the structure" if found.kind == "grey" else read
    proposal.note("masks" if found.kind == "grey" else "labels", bright)
    if not names:
        proposal.note("labels", "what they mean stands in no file: name them here and under `classes` of the recipe")


def _title(proposal: Proposal) -> str:
    named = {
        OF_LABELS: ", ".join(proposal.classes).replace("_", " "),
        OF_MASKS: ", ".join(proposal.labels.values()).replace("_", " ") or "objects",
        "retrieval": "Images and texts",
        "question_answering": "Questions about images",
    }[proposal.task]
    return named[:100]


def _seen(files: Files, table: _Table | None, pair: MaskPair | None, proposal: Proposal) -> list[str]:
    by_file = table is not None and not {*table.images.files} <= {*files.images, *files.series}
    images = len(files.images) + len(files.within if by_file else files.series)
    passed = f", {plural(files.passed_by, 'other file')} passed by" if files.passed_by else ""
    lines = [
        f"{files.root}: {plural(images, 'image')}, {plural(len(files.tables), 'table')}{passed}",
        f"task: {proposal.task}",
    ]
    if table is not None:
        lines.append(
            f"table: {table.name}, {plural(len(table.records), 'row')}; images by the column {table.images.column}"
        )
    if proposal.mask is not None:
        lines.append(f"masks: {proposal.mask}, {', '.join(proposal.labels.values()) or 'numbered objects'}")
    lines.append(f"patient: {proposal.patient.strip('{}')}")
    if proposal.classes:
        lines.append(f"classes: {', '.join(proposal.classes)}")
    if proposal.groups:
        lines.append(f"groups: {', '.join(proposal.groups)}")
    lines += [
        f"  {text}"
        for key in ("join", "patient_id", "patients", "images", "source", "labels")
        for text in proposal.notes.get(key, [])
    ]
    return lines


def _checked(written: Written, root: Path) -> list[str]:
    """The proposal read back as `medvfm check` would, and the cases that it gives."""
    planning.plan(recipes.load(written.recipe))
    found = tables.read_cases(load_card(written.card), root)
    patients = {case.patient_id for case in found.cases if case.patient_id is not None}
    whose = f" of {plural(len(patients), 'patient')}" if patients else ", of unknown patients"
    lines = [f"cases: {plural(len(found.cases), 'case')}{whose}"]
    return lines + [f"  left out: {name}: {reason}" for name, reason in found.left_out[:5]]
