"""Questions and captions as their publishers lay them out."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from tests.cards.files import Frame, picture_bytes
from tests.cards.made import Known, Made, csv


def vqa_rad() -> dict[str, Known]:
    def question(number: int, image: str, organ: str, split: str) -> dict[str, Any]:
        return {
            "qid": number,
            "image_name": image,
            "image_organ": organ,
            "question": "Is it normal?",
            "answer": "No",
            "question_type": "PRES",
            "answer_type": "CLOSED",
            "phrase_type": "test_para" if split == "test" else "freeform",
            "official_split": split,
        }

    rows = [
        question(1, "synpic54610.jpg", "HEAD", "train"),
        question(2, "synpic54610.jpg", "HEAD", "test"),
        question(3, "synpic29265.jpg", "CHEST", "train"),
    ]
    told = {
        "question": "Is it normal?",
        "answer": "No",
        "question_type": "CLOSED",
        "image_id": "synpic54610.jpg",
        "groups": {"organ": "HEAD", "kind": "PRES"},
    }

    def asked(folder: str) -> tuple[Made, ...]:
        return tuple(
            Made(
                str(r["qid"]),
                r["image_name"],
                f"{folder}/{r['image_name']}",
                split=r["official_split"],
                more=told if r["qid"] == 1 else {},
            )
            for r in rows
        )

    open_rows = [
        rows[0],
        rows[1] | {"question": "Which plane?", "answer": "axial", "answer_type": "OPEN"},
        rows[1] | {"qid": 4, "question": "Where is the mass?", "answer": "left lobe", "answer_type": "OPEN "},
        rows[2] | {"question": "What is seen?", "answer": "Lungs", "answer_type": "OPEN"},
    ]
    said = {
        "synpic54610.jpg": "Which plane?: axial. Where is the mass?: left lobe.",
        "synpic29265.jpg": "What is seen?: Lungs.",
    }

    def laid(table: str, folder: str, rows: list[dict[str, Any]] = rows) -> dict[str, Any]:
        return {table: rows, f"{folder}/synpic54610.jpg": None, f"{folder}/synpic29265.jpg": None}

    organs = tuple(
        Made(
            n,
            n,
            f"images/{n}",
            targets={"head": float(organ == "HEAD"), "chest": float(organ == "CHEST"), "abdomen": 0.0},
            more={"text": f"Radiology image, region {organ}"},
        )
        for n, organ in (("synpic54610.jpg", "HEAD"), ("synpic29265.jpg", "CHEST"))
    )
    return {
        "official": Known(laid("VQA_RAD Dataset Public.json", "VQA_RAD Image Folder"), asked("VQA_RAD Image Folder")),
        "questions_and_images": Known(laid("questions.json", "images"), asked("images")),
        "organs": Known(laid("questions.json", "images"), organs),
        "answers": Known(
            laid("questions.json", "images", open_rows),
            tuple(Made(n, n, f"images/{n}", more={"text": text}) for n, text in said.items()),
            passed_over=1,
        ),
    }


def slake(val: str) -> Known:
    def question(number: int, image: int, language: str) -> dict[str, Any]:
        return {
            "img_id": image,
            "img_name": f"xmlab{image}/source.jpg",
            "question": "Is this a CT?",
            "answer": "Yes",
            "q_lang": language,
            "location": "Abdomen",
            "modality": "CT",
            "answer_type": "CLOSED",
            "base_type": "vqa",
            "content_type": "Modality",
            "triple": ["vhead", "_", "_"],
            "qid": number,
        }

    files = {
        "train.json": [question(0, 0, "en"), question(1, 0, "zh")],
        val: [question(2, 1, "en")],
        "test.json": [question(3, 2, "en")],
        **{f"imgs/xmlab{n}/source.jpg": None for n in range(3)},
    }
    told = {
        "question": "Is this a CT?",
        "answer": "Yes",
        "question_type": "CLOSED",
        "image_id": "xmlab0/source.jpg",
        "groups": {"language": "zh", "region": "Abdomen", "modality": "CT", "kind": "Modality"},
    }
    image = "imgs/xmlab{}/source.jpg"
    return Known(
        files,
        (
            Made("train_0", "xmlab0/source.jpg", image.format(0), split="train"),
            Made("train_1", "xmlab0/source.jpg", image.format(0), split="train", more=told),
            Made("val_2", "xmlab1/source.jpg", image.format(1), split="val"),
            Made("test_3", "xmlab2/source.jpg", image.format(2), split="test"),
        ),
    )


def path_vqa(scratch: Path) -> Known:
    """Two questions on one picture, which share it as their patient; parts of one split count on."""
    one, two = picture_bytes(scratch, "one"), picture_bytes(scratch, "two")
    keys = [hashlib.sha256(b).hexdigest()[:32] for b in (one, two)]

    def row(content: bytes, question: str) -> dict[str, Any]:
        return {"image": {"bytes": content, "path": "img.png"}, "question": question, "answer": "yes"}

    files = {
        "data/train-00000-of-00002.parquet": Frame((row(one, "a?"), row(one, "b?"))),
        "data/train-00001-of-00002.parquet": Frame((row(two, "c?"),)),
        "data/validation-00000-of-00001.parquet": Frame((row(two, "d?"),)),
        "data/test-00000-of-00001.parquet": Frame((row(two, "e?"),)),
    }
    made = [
        Made(f"train_{n}", keys[n == 3], None, split="train", more={"question": q, "image_id": keys[n == 3]})
        for n, q in ((1, "a?"), (2, "b?"), (3, "c?"))
    ]
    made += [Made(f"{s}_1", keys[1], None, split=s, more={"answer": "yes"}) for s in ("val", "test")]
    return Known(files, tuple(made))


def roco() -> Known:
    files, made = {}, []
    for split, part, name in (
        ("train", "train", "ROCO_00002"),
        ("val", "validation", "ROCO_00020"),
        ("test", "test", "ROCO_00015"),
    ):
        files[f"data/{part}/radiology/captions.txt"] = f'{name}\t Axial CT of the "pelvis", ({name}).\n'
        files[f"data/{part}/radiology/images/{name}.jpg"] = None
        made.append(
            Made(
                name,
                None,
                f"data/{part}/radiology/images/{name}.jpg",
                split=split,
                more={"text": f'Axial CT of the "pelvis", ({name}).'},
            )
        )
    return Known(files, tuple(made))


def roco_v2() -> Known:
    files, made = {}, []
    for split, part in (("train", "train"), ("val", "valid"), ("test", "test")):
        name = f"ROCOv2_2023_{part}_000001"
        files |= {
            f"{part}_captions.csv": csv("ID,Caption", f'{name},"CT chest, axial view"'),
            f"{part}/{name}.jpg": None,
        }
        made.append(Made(name, None, f"{part}/{name}.jpg", split=split, more={"text": "CT chest, axial view"}))
    return Known(files, tuple(made))
