"""Skin, eye, microscope, ultrasound and endoscope as their publishers lay them out."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.cards.files import Arrays, Mask
from tests.cards.made import Known, Made, csv, pairs


def isic_lesions() -> dict[str, Known]:
    files, made = {}, []
    for part, split, name in (
        ("Training", "train", "ISIC_0000000"),
        ("Validation", "val", "ISIC_0012255"),
        ("Test", "test", "ISIC_0012169"),
    ):
        image, mask = (
            f"ISIC2018_Task1-2_{part}_Input/{name}.jpg",
            f"ISIC2018_Task1_{part}_GroundTruth/{name}_segmentation.png",
        )
        files |= {image: None, mask: Mask()}
        made.append(Made(name, None, image, mask, split))
    return {
        "official": Known(files, tuple(made)),
        "images_and_labels": pairs("images/*.jpg", "labels/*.png", ("ISIC_0000000",), patients=False),
    }


def isic_diagnosis() -> Known:
    head = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC"
    rows = {
        "Training": ("ISIC_0024306,0.0,1.0,0.0,0.0,0.0,0.0,0.0", "ISIC_0024307,0.0,1.0,0.0,0.0,0.0,0.0,0.0"),
        "Validation": ("ISIC_0034321,0.0,0.0,0.0,0.0,1.0,0.0,0.0",),
        "Test": ("ISIC_0034524,1.0,0.0,0.0,0.0,0.0,0.0,0.0",),
    }
    files: dict[str, Any] = {
        "ISIC2018_Task3_Training_LesionGroupings.csv": csv(
            "image,lesion_id,diagnosis_confirm_type",
            "ISIC_0024306,HAM_0000550,serial imaging showing no change",
            "ISIC_0024307,HAM_0000550,serial imaging showing no change",
        )
    }
    for part, lines in rows.items():
        files[f"ISIC2018_Task3_{part}_GroundTruth/ISIC2018_Task3_{part}_GroundTruth.csv"] = csv(head, *lines)
        files |= {f"ISIC2018_Task3_{part}_Input/{line[:12]}.jpg": None for line in lines}
    place = "ISIC2018_Task3_{}_Input/{}.jpg"
    return Known(
        files,
        (
            Made(
                "ISIC_0024306",
                "HAM_0000550",
                place.format("Training", "ISIC_0024306"),
                split="train",
                targets={"nevus": 1.0, "melanoma": 0.0},
                more={"groups": {"confirmed_by": "serial imaging showing no change"}},
            ),
            Made(
                "ISIC_0024307",
                "HAM_0000550",
                place.format("Training", "ISIC_0024307"),
                split="train",
                targets={"nevus": 1.0},
            ),
            Made(
                "ISIC_0034321",
                "ISIC_0034321",
                place.format("Validation", "ISIC_0034321"),
                split="val",
                targets={"benign_keratosis": 1.0},
            ),
            Made(
                "ISIC_0034524",
                "ISIC_0034524",
                place.format("Test", "ISIC_0034524"),
                split="test",
                targets={"melanoma": 1.0},
            ),
        ),
    )


def ham10000() -> Known:
    files = {
        "HAM10000_metadata.csv": csv(
            "lesion_id,image_id,dx,dx_type,age,sex,localization",
            "HAM_0000118,ISIC_0027419,bkl,histo,80.0,male,scalp",
            "HAM_0000118,ISIC_0025030,bkl,histo,80.0,male,scalp",
            "HAM_0000871,ISIC_0025964,mel,histo,,unknown,unknown",
        ),
        "HAM10000_images_part_1/ISIC_0027419.jpg": None,
        "HAM10000_images_part_1/ISIC_0025030.jpg": None,
        "HAM10000_images_part_2/ISIC_0025964.jpg": None,
    }
    groups = {"groups": {"sex": "male", "age": 80.0, "site": "scalp", "confirmed_by": "histo"}}
    return Known(
        files,
        (
            Made(
                "ISIC_0027419",
                "HAM_0000118",
                "HAM10000_images_part_1/ISIC_0027419.jpg",
                targets={"benign_keratosis": 1.0, "nevus": 0.0},
                more=groups,
            ),
            Made(
                "ISIC_0025030",
                "HAM_0000118",
                "HAM10000_images_part_1/ISIC_0025030.jpg",
                targets={"benign_keratosis": 1.0},
            ),
            Made("ISIC_0025964", "HAM_0000871", "HAM10000_images_part_2/ISIC_0025964.jpg", targets={"melanoma": 1.0}),
        ),
    )


def aptos() -> Known:
    files = {
        "train.csv": csv("id_code,diagnosis", "000c1434d8d7,2", "001639a390f0,0"),
        "train_images/000c1434d8d7.png": None,
        "train_images/001639a390f0.png": None,
    }
    return Known(
        files,
        (
            Made(
                "000c1434d8d7",
                None,
                "train_images/000c1434d8d7.png",
                targets={"grade_2": 1.0, "grade_0": 0.0, "referable": 1.0},
            ),
            Made("001639a390f0", None, "train_images/001639a390f0.png", targets={"grade_0": 1.0, "referable": 0.0}),
        ),
    )


def messidor() -> Known:
    names = ("20051020_43808_0100_PP.png", "IM000004.jpg")
    table = csv(
        "image_id,adjudicated_dr_grade,adjudicated_dme,adjudicated_gradable", f"{names[0]},3,1,1", f"{names[1]},,,0"
    )
    return Known(
        {"messidor_data.csv": table, **{f"IMAGES/{n}": None for n in names}},
        (
            Made(
                names[0],
                None,
                f"IMAGES/{names[0]}",
                targets={"grade_3": 1.0, "referable": 1.0, "macular_edema": 1.0, "gradable": 1.0},
            ),
            Made(names[1], None, f"IMAGES/{names[1]}", targets={"grade_3": None, "referable": None, "gradable": 0.0}),
        ),
    )


def pcam() -> Known:
    files, made = {}, []
    for split, name, truth in (("train", "train", (1, 0)), ("val", "valid", (0,)), ("test", "test", (1,))):
        pixels = np.random.default_rng(len(split)).integers(0, 256, (len(truth), 96, 96, 3)).astype(np.uint8)
        labels = np.array(truth, np.uint8).reshape(-1, 1, 1, 1)
        files |= {
            f"camelyonpatch_level_2_split_{name}_x.h5": Arrays({"x": pixels}),
            f"camelyonpatch_level_2_split_{name}_y.h5": Arrays({"y": labels}),
        }
        made += [
            Made(f"{split}_{n:06d}", None, None, split=split, targets={"tumour": float(t)}) for n, t in enumerate(truth)
        ]
    return Known(files, tuple(made))


def nct() -> Known:
    first, second = "NCT-CRC-HE-100K/ADI/ADI-AAAFLCLY.tif", "CRC-VAL-HE-7K/TUM/TUM-TCGA-AAICEQFN.tif"
    return Known(
        {first: None, second: None},
        (
            Made("NCT-CRC-HE-100K/ADI-AAAFLCLY", None, first, split="train", targets={"adipose": 1.0, "tumour": 0.0}),
            Made(
                "CRC-VAL-HE-7K/TUM-TCGA-AAICEQFN", None, second, split="test", targets={"adipose": 0.0, "tumour": 1.0}
            ),
        ),
    )


def breakhis() -> Known:
    place = "BreaKHis_v1/histology_slides/breast/{}/SOB/{}/{}/{}/{}.png"
    benign = place.format("benign", "adenosis", "SOB_B_A_14-22549AB", "40X", "SOB_B_A-14-22549AB-40-001")
    malignant = place.format("malignant", "papillary_carcinoma", "SOB_M_PC_14-9146", "400X", "SOB_M_PC-14-9146-400-001")
    return Known(
        {benign: None, malignant: None},
        (
            Made(
                "adenosis/SOB_B_A-14-22549AB-40-001",
                "22549AB",
                benign,
                targets={"malignant": 0.0, "adenosis": 1.0},
                more={"groups": {"magnification": "40X"}},
            ),
            Made(
                "papillary_carcinoma/SOB_M_PC-14-9146-400-001",
                "9146",
                malignant,
                targets={"malignant": 1.0, "papillary_carcinoma": 1.0, "adenosis": 0.0},
            ),
        ),
    )


def bccd() -> Known:
    def boxes(*names: str) -> str:
        inside = "".join(f"<object><name>{n}</name><bndbox><xmin>1</xmin></bndbox></object>" for n in names)
        return f"<annotation><filename>BloodImage_00000.jpg</filename>{inside}</annotation>"

    names = [f"BloodImage_0000{n}" for n in range(3)]
    files: dict[str, Any] = {f"JPEGImages/{n}.jpg": None for n in names}
    files |= {
        f"Annotations/{n}.xml": boxes("RBC", "WBC") if n == names[0] else boxes("RBC", "Platelets") for n in names
    }
    files |= {f"ImageSets/Main/{s}.txt": f"{n}\n" for s, n in zip(("train", "val", "test"), names, strict=True)}
    made = tuple(
        Made(
            n,
            None,
            f"JPEGImages/{n}.jpg",
            split=s,
            targets={"red_cells": 1.0, "white_cells": float(n == names[0]), "platelets": float(n != names[0])},
        )
        for n, s in zip(names, ("train", "val", "test"), strict=True)
    )
    return Known(files, made)


def nuclei() -> dict[str, Known]:
    name = "00071198d059ba7f5914a526d124d28e6d010c92466da21d4a04cd5413362552"
    place = f"stage1_train/{name}"
    files = {f"{place}/images/{name}.png": None, f"{place}/masks/a.png": Mask(), f"{place}/masks/b.png": Mask()}
    official = Known(files, (Made(name, None, f"{place}/images/{name}.png", f"{place}/masks"),))
    plain = {"images/a.png": None, "labels/a.png": Mask(grey=False)}
    return {
        "official": official,
        "images_and_labels": Known(plain, (Made("a", None, "images/a.png", "labels/a.png"),)),
    }


def busi() -> Known:
    place = "Dataset_BUSI_with_GT/{0}/{0} ({1}){2}.png"
    files = {
        place.format(v, 1, end): Mask() if end else None
        for v in ("benign", "malignant", "normal")
        for end in ("", "_mask")
    }
    files |= {
        place.format("benign", 4, ""): None,
        place.format("benign", 4, "_mask"): Mask(),
        place.format("benign", 4, "_mask_1"): Mask(),
    }
    made = tuple(
        Made(
            f"{v} (1)",
            None,
            place.format(v, 1, ""),
            place.format(v, 1, "_mask"),
            targets={v: 1.0, **{o: 0.0 for o in ("benign", "malignant", "normal") if o != v}},
        )
        for v in ("benign", "malignant", "normal")
    )
    several = (place.format("benign", 4, "_mask"), place.format("benign", 4, "_mask_1"))
    targets = {"benign": 1.0, "malignant": 0.0, "normal": 0.0}
    return Known(files, (*made, Made("benign (4)", None, place.format("benign", 4, ""), several, targets=targets)))


def kvasir() -> dict[str, Known]:
    names = ("cju0qkwl35piu0993l0dewei2", "cju0qoxqj9q6s0835b43399p4")
    official = pairs(
        "Kvasir-SEG/images/*.jpg",
        "Kvasir-SEG/masks/*.jpg",
        names,
        patients=False,
        extra={"Kvasir-SEG/kavsir_bboxes.json": {}},
    )
    return {"official": official, "images_and_labels": pairs("images/*.jpg", "labels/*.png", names, patients=False)}
