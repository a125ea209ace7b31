"""CT and MRI as their publishers lay them out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.cards.files import Mask, Series, Volume
from tests.cards.made import Known, Made, csv, pairs


def decathlon(folder: str, stem: str, values: tuple[int, ...], channels: int = 0) -> dict[str, Known]:
    """A task as its archive unpacks; macOS left files that begin with `._` in it."""
    names = (f"{stem}_001", f"{stem}_004")
    extra = {f"{folder}/dataset.json": {"name": folder}, f"{folder}/imagesTr/._{stem}_001.nii.gz": "litter"}
    more = {"content": Volume(channels), "extra": extra}
    return {
        "official": pairs(f"{folder}/imagesTr/*.nii.gz", f"{folder}/labelsTr/*.nii.gz", names, values, **more),
        "images_and_labels": pairs("images/*.nii.gz", "labels/*.nii.gz", names, values, content=Volume(channels)),
    }


def totalsegmentator(structures: tuple[str, ...]) -> Known:
    masks = {n: f"s0001/segmentations/{n}.nii.gz" for n in structures}
    files = {
        "meta.csv": csv(
            "image_id;age;gender;institute;study_type;split;manufacturer", "s0001;74;f;C;ct abdomen;train;siemens"
        ),
        "s0001/ct.nii.gz": None,
        **{path: Mask() for path in masks.values()},
    }
    groups = {"groups": {"sex": "f", "age": 74.0, "institute": "C", "study_type": "ct abdomen"}}
    return Known(files, (Made("s0001", "s0001", "s0001/ct.nii.gz", masks, split="train", more=groups),))


def btcv() -> dict[str, Known]:
    def known(images: str, labels: str) -> Known:
        files = {images.format(n): None for n in ("0001", "0035")}
        files |= {labels.format(n): Mask((1, 6, 13)) for n in ("0001", "0035")}
        return Known(files, tuple(Made(f"img{n}", n, images.format(n), labels.format(n)) for n in ("0001", "0035")))

    return {
        "official": known("RawData/Training/img/img{}.nii.gz", "RawData/Training/label/label{}.nii.gz"),
        "images_tr": known("imagesTr/img{}.nii.gz", "labelsTr/label{}.nii.gz"),
        "images_and_labels": pairs("images/*.nii.gz", "labels/*.nii.gz", ("img0001",)),
    }


def amos(own: tuple[str, str]) -> dict[str, Known]:
    """CT and MRI side by side, of which a card takes its own."""
    places = {"Tr": ("0001", "0507"), "Va": ("0013", "0541")}
    files: dict[str, Any] = {"amos22/dataset.json": {}, "amos22/imagesTs/amos_0002.nii.gz": None}
    for part, numbers in places.items():
        files |= {f"amos22/images{part}/amos_{n}.nii.gz": None for n in numbers}
        files |= {f"amos22/labels{part}/amos_{n}.nii.gz": Mask((1, 15)) for n in numbers}
    made = tuple(
        Made(f"amos_{n}", n, f"amos22/images{part}/amos_{n}.nii.gz", f"amos22/labels{part}/amos_{n}.nii.gz", split)
        for n, part, split in ((own[0], "Tr", "train"), (own[1], "Va", "val"))
    )
    return {
        "official": Known(files, made),
        "images_and_labels": pairs("images/*.nii.gz", "labels/*.nii.gz", ("amos_0001",)),
    }


def kits() -> dict[str, Known]:
    def patient(number: int, malignant: bool | None) -> dict[str, Any]:
        return {
            "case_id": f"case_{number:05d}",
            "gender": "male",
            "age_at_nephrectomy": 49,
            "malignant": malignant,
            "comorbidities": {"copd": False},
            "tumor_histologic_subtype": "clear_cell_rcc",
        }

    def volumes(folder: str) -> dict[str, Any]:
        names = [f"{folder}/case_0000{n}/{file}" for n in (0, 1) for file in ("imaging.nii.gz", "segmentation.nii.gz")]
        return {n: Mask((1, 2)) if "segmentation" in n else None for n in names}

    def cases(folder: str, *targets: Mapping[str, Any]) -> tuple[Made, ...]:
        place = f"{folder}/case_0000{{}}/{{}}.nii.gz"
        return tuple(
            Made(
                f"case_0000{n}", f"case_0000{n}", place.format(n, "imaging"), place.format(n, "segmentation"), targets=t
            )
            for n, t in enumerate(targets)
        )

    table = {"dataset/kits23.json": [patient(0, True), patient(1, None)]}
    return {
        "kits23": Known(table | volumes("dataset"), cases("dataset", {"malignant": 1.0}, {"malignant": None})),
        "kits19": Known(volumes("data"), cases("data", {}, {})),
        "images_and_labels": pairs("images/*.nii.gz", "labels/*.nii.gz", ("case_00000",)),
    }


def lits() -> dict[str, Known]:
    place = "Training Batch {}/{}-{}.nii"
    files, made = {}, []
    for batch, number in ((1, "0"), (2, "28")):
        image, mask = place.format(batch, "volume", number), place.format(batch, "segmentation", number)
        files |= {image: None, mask: Mask((1, 2))}
        made.append(Made(f"volume-{number}", number, image, mask))
    return {
        "official": Known(files, tuple(made)),
        "images_and_labels": pairs("images/*.nii.gz", "labels/*.nii.gz", ("volume-0",)),
    }


def brats(folder: str, name: str, ending: str) -> Known:
    names = {role: f"{folder}{name}/{name}_{role}{ending}" for role in ("t1", "t1ce", "t2", "flair")}
    own = "W39_1998.09.19_Segm" if name.endswith("_355") else f"{name}_seg"
    mask = f"{folder}{name}/{own}{ending}"
    return Known({**dict.fromkeys(names.values()), mask: Mask((1, 2, 4))}, (Made(name, name, names, mask),))


def acdc() -> Known:
    place = "ACDC/database/{}/patient{}/{}"
    files, made = {}, []
    for part, split, patient, group in (("training", "train", "001", "DCM"), ("testing", "test", "101", "NOR")):
        info = f"ED: 1\nES: 12\nGroup: {group}\nHeight: 184.0\nNbFrame: 30\nWeight: 95.0\n"
        files |= {
            place.format(part, patient, "Info.cfg"): info,
            place.format(part, patient, f"patient{patient}_4d.nii.gz"): Volume(2),
        }
        for frame in ("01", "12"):
            image, mask = (
                place.format(part, patient, f"patient{patient}_frame{frame}{end}.nii.gz") for end in ("", "_gt")
            )
            files |= {image: None, mask: Mask((1, 2, 3))}
            made.append(
                Made(
                    f"patient{patient}_frame{frame}",
                    f"patient{patient}",
                    image,
                    mask,
                    split,
                    {"dilated_cardiomyopathy": float(group == "DCM"), "normal": float(group == "NOR")},
                    {"groups": {"height_cm": 184.0, "weight_kg": 95.0}},
                )
            )
    return Known(files, tuple(made))


def lidc() -> Known:
    """A CT with two readers, a CT without nodule, and a radiograph whose file has other sessions."""

    def reading(series: str, nodules: str) -> str:
        return f"""<?xml version="1.0" encoding="UTF-8"?>
<LidcReadMessage uid="1.3.6" xmlns="http://www.nih.gov">
<ResponseHeader><Version>1.8.1</Version><SeriesInstanceUid>{series}</SeriesInstanceUid></ResponseHeader>
<readingSession><annotationVersion>3.12</annotationVersion>
<servicingRadiologistID>540461523</servicingRadiologistID>{nodules}</readingSession>
<readingSession><annotationVersion>3.12</annotationVersion>
<servicingRadiologistID>anonymous</servicingRadiologistID></readingSession>
</LidcReadMessage>"""

    nodule = (
        "<unblindedReadNodule><noduleID>1</noduleID><characteristics><malignancy>{}</malignancy></characteristics>"
        "</unblindedReadNodule>"
    )
    radiograph = """<IdriReadMessage xmlns="http://www.nih.gov"><ResponseHeader><SeriesInstanceUid>1.9</SeriesInstanceUid>
</ResponseHeader><CXRreadingSession/></IdriReadMessage>"""
    ct, clear = "LIDC-IDRI/LIDC-IDRI-0001/1.1/1.1.1", "LIDC-IDRI/LIDC-IDRI-0002/1.2/1.2.1"
    files = {
        ct: Series(),
        f"{ct}/069.xml": reading(
            "1.1.1", nodule.format(5) + "<unblindedReadNodule><noduleID>2</noduleID></unblindedReadNodule>"
        ),
        clear: Series(),
        f"{clear}/070.xml": reading("1.2.1", ""),
        "LIDC-IDRI/LIDC-IDRI-0001/1.3/1.3.1/068.xml": radiograph,
    }
    return Known(
        files,
        (
            Made(
                "1.1.1",
                "LIDC-IDRI-0001",
                ct,
                targets={"nodule_3mm": 1.0, "suspicious_nodule": 1.0},
                more={"study_id": "1.1"},
            ),
            Made("1.2.1", "LIDC-IDRI-0002", clear, targets={"nodule_3mm": 0.0, "suspicious_nodule": 0.0}),
        ),
        passed_over=1,
    )
