"""Chest X-rays as their publishers lay them out."""

from __future__ import annotations

from pathlib import Path

from tests.cards.files import Mask, Radiograph
from tests.cards.made import Known, Made, csv

NIH_HEAD = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
CHEXPERT_NAMES = (
    "No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,"
    "Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)


def nih(sex: str) -> Known:
    rows = (
        "00000001_000.png,Cardiomegaly|Emphysema,0,1,058Y,M,PA,2682,2749,0.143,0.143",
        "00000001_001.png,No Finding,1,1,58,M,AP,2894,2729,0.143,0.143",
        "00000002_000.png,Pleural_Thickening,0,2,81,F,PA,2500,2048,0.171,0.171",
    )
    files = {
        "Data_Entry_2017.csv": csv(NIH_HEAD.replace("Patient Gender", sex), *rows),
        "train_val_list.txt": "00000001_000.png\n00000001_001.png\n",
        "test_list.txt": "00000002_000.png\n",
        **{
            f"images_00{n}/images/{name}": None
            for n, name in ((1, "00000001_000.png"), (1, "00000001_001.png"), (2, "00000002_000.png"))
        },
    }
    groups = {"groups": {"sex": "M", "age": 58.0, "view": "PA"}}
    first, second = "images_001/images/00000001_00{}.png", "images_002/images/00000002_000.png"
    return Known(
        files,
        (
            Made(
                "00000001_000.png",
                "1",
                first.format(0),
                split="train",
                targets={"cardiomegaly": 1.0, "emphysema": 1.0, "mass": 0.0},
                more=groups,
            ),
            Made("00000001_001.png", "1", first.format(1), split="train", targets={"cardiomegaly": 0.0, "hernia": 0.0}),
            Made("00000002_000.png", "2", second, split="test", targets={"pleural_thickening": 1.0, "effusion": 0.0}),
        ),
    )


def nih_pneumonia() -> dict[str, Known]:
    rows = (
        "00000010_000.png,Pneumonia|Edema,0,10,030,F,AP,2500,2048,0.168,0.168",
        "00000011_000.png,No Finding,0,11,41,M,PA,2500,2048,0.168,0.168",
        "00000012_000.png,Mass,0,12,41,M,PA,2500,2048,0.168,0.168",
    )
    official = {
        "Data_Entry_2017_v2020.csv": csv(NIH_HEAD, *rows),
        "train_val_list.txt": "00000010_000.png\n00000012_000.png\n",
        "test_list.txt": "00000011_000.png\n",
        **{f"images/{row.partition(',')[0]}": None for row in rows},
    }
    own = {
        "labels.csv": csv("path,pneumonia,patient_id,age,sex,view", "a/1.png,1,7,61,F,AP", "a/2.png,0,8,30,M,PA"),
        "a/1.png": None,
        "a/2.png": None,
    }
    return {
        "official": Known(
            official,
            (
                Made("00000010_000.png", "10", "images/00000010_000.png", split="train", targets={"pneumonia": 1.0}),
                Made("00000011_000.png", "11", "images/00000011_000.png", split="test", targets={"pneumonia": 0.0}),
            ),
            passed_over=1,
        ),
        "pneumonia_subset": Known(
            own,
            (
                Made(
                    "a/1.png",
                    "7",
                    "a/1.png",
                    targets={"pneumonia": 1.0},
                    more={"groups": {"sex": "F", "age": 61.0, "view": "AP"}},
                ),
                Made("a/2.png", "8", "a/2.png", targets={"pneumonia": 0.0}),
            ),
        ),
    }


def chexpert() -> Known:
    head = f"Path,Sex,Age,Frontal/Lateral,AP/PA,{CHEXPERT_NAMES}"
    frontal, lateral = "train/patient00001/study1/view1_frontal.jpg", "train/patient00001/study1/view2_lateral.jpg"
    valid = "valid/patient64541/study1/view1_frontal.jpg"
    files = {
        "train.csv": csv(
            head,
            f"CheXpert-v1.0-small/{frontal},Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0",
            f"CheXpert-v1.0-small/{lateral},Female,68,Lateral,,,,-1.0,1.0,,-1.0,,,,,,,,",
        ),
        "valid.csv": csv(
            head,
            f"CheXpert-v1.0-small/{valid},Male,73,Frontal,AP,0.0,1.0,1.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0",
        ),
        frontal: None,
        lateral: None,
        valid: None,
    }
    return Known(
        files,
        (
            Made(
                "patient00001/study1/view1_frontal",
                "patient00001",
                frontal,
                split="train",
                targets={"no_finding": 1.0, "pneumothorax": 0.0, "edema": None, "support_devices": 1.0},
                more={
                    "study_id": "patient00001/study1",
                    "groups": {"sex": "Female", "age": 68.0, "side": "Frontal", "view": "AP"},
                },
            ),
            Made(
                "patient00001/study1/view2_lateral",
                "patient00001",
                lateral,
                split="train",
                targets={"cardiomegaly": None, "lung_opacity": 1.0},
            ),  # -1 is ignored
            Made(
                "patient64541/study1/view1_frontal",
                "patient64541",
                valid,
                split="val",
                targets={"cardiomegaly": 1.0, "fracture": 0.0},
            ),
        ),
    )


def mimic(reports: bool) -> Known:
    image = "files/p10/p10000032/s50414267/02aa804e-bde0afdd-112c0b34-7bc16630-4e384014.jpg"
    other = "files/p11/p11000011/s51029426/abea5eb9-b7c32823-3a14c5ca-77868030-69c83139.jpg"
    first, second = Path(image).stem, Path(other).stem
    files = {
        "mimic-cxr-2.0.0-split.csv.gz": csv(
            "dicom_id,study_id,subject_id,split",
            f"{first},50414267,10000032,train",
            f"{second},51029426,11000011,validate",
        ),
        "mimic-cxr-2.0.0-metadata.csv.gz": csv(
            "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime",
            f"{first},10000032,50414267,CHEST (PA AND LAT),PA,3056,2544,21800506,213014.531",
            f"{second},11000011,51029426,CHEST (PORTABLE AP),AP,3056,2544,21750221,010101.0",
        ),
        "mimic-cxr-2.0.0-chexpert.csv.gz": csv(
            f"subject_id,study_id,{','.join(sorted(CHEXPERT_NAMES.split(',')))}",
            "10000032,50414267,,,,,,,,,1.0,,,,,",
            "11000011,51029426,-1.0,0.0,,,,,,,,1.0,,,,",
        ),
        image: None,
        other: None,
    }
    if reports:
        files["mimic-cxr-reports/files/p10/p10000032/s50414267.txt"] = "FINDINGS: No change."
    made = (
        Made(
            first,
            "10000032",
            image,
            split="train",
            targets={"no_finding": 1.0, "edema": None},
            more={
                "study_id": "50414267",
                "study_date": "2180-05-06",
                "groups": {"view": "PA"},
                "text": "FINDINGS: No change." if reports else None,
            },
        ),
        Made(
            second,
            "11000011",
            other,
            split="val",
            targets={"atelectasis": None, "cardiomegaly": 0.0, "pleural_effusion": 1.0},
        ),
    )
    return Known(files, made)


def vindr() -> Known:
    names = (
        "Aortic enlargement,Atelectasis,Calcification,Cardiomegaly,Clavicle fracture,Consolidation,Edema,Emphysema,"
        "Enlarged PA,ILD,Infiltration,Lung Opacity,Lung cavity,Lung cyst,Mediastinal shift,Nodule/Mass,"
        "Pleural effusion,Pleural thickening,Pneumothorax,Pulmonary fibrosis,Rib fracture,Other lesion,COPD,Lung tumor,"
        "Pneumonia,Tuberculosis,{},No finding"
    )

    def line(start: str, *positive: str) -> str:
        return ",".join([start, *("1" if n in positive else "0" for n in names.split(","))])

    train = csv(
        f"image_id,rad_id,{names.format('Other diseases')}",
        line("000434271f63a053c4128a0ba6352c7f,R2", "Cardiomegaly", "ILD"),
        line("000434271f63a053c4128a0ba6352c7f,R3", "Cardiomegaly"),
        line("000434271f63a053c4128a0ba6352c7f,R6", "No finding"),
    )
    test = csv(f"image_id,{names.format('Other disease')}", line("002a34c58c5b758217ed1f584ccbcfe9", "Tuberculosis"))
    image, other = "train/000434271f63a053c4128a0ba6352c7f.dicom", "test/002a34c58c5b758217ed1f584ccbcfe9.dicom"
    return Known(
        {
            "annotations/image_labels_train.csv": train,
            "annotations/image_labels_test.csv": test,
            image: None,
            other: None,
        },
        (
            Made(
                Path(image).stem,
                None,
                image,
                split="train",
                targets={"cardiomegaly": 1.0, "interstitial_lung_disease": 0.0, "no_finding": 0.0},
            ),
            Made(Path(other).stem, None, other, split="test", targets={"tuberculosis": 1.0, "cardiomegaly": 0.0}),
        ),
    )


def rsna() -> Known:
    ill, well = "00436515-870c-4b36-a041-de91049b9ab4", "0004cfab-14fd-4e49-80ba-63a80b6bddd6"
    files = {
        "stage_2_train_labels.csv": csv(
            "patientId,x,y,width,height,Target",
            f"{well},,,,,0",
            f"{ill},264.0,152.0,213.0,379.0,1",
            f"{ill},562.0,152.0,256.0,453.0,1",
        ),
        "stage_2_detailed_class_info.csv": csv(
            "patientId,class", f"{well},No Lung Opacity / Not Normal", f"{ill},Lung Opacity", f"{ill},Lung Opacity"
        ),
        f"stage_2_train_images/{well}.dcm": None,
        f"stage_2_train_images/{ill}.dcm": None,
    }
    return Known(
        files,
        (
            Made(well, well, f"stage_2_train_images/{well}.dcm", targets={"opacity": 0.0, "normal": 0.0}),
            Made(ill, ill, f"stage_2_train_images/{ill}.dcm", targets={"opacity": 1.0, "normal": 0.0}),
        ),
    )


def siim() -> dict[str, Known]:
    stem = "1.2.276.0.7230010.3.1.{}.8323329.{}.1517875201.850819"
    ids = [stem.format(4, n) for n in (6904, 13666)]
    images = [f"dicom-images-train/{stem.format(2, n)}/{stem.format(3, n)}/{i}.dcm" for n, i in enumerate(ids)]
    table = csv("ImageId, EncodedPixels", f"{ids[0]},557374 2 1015 8", f"{ids[1]},-1", f"{ids[0]},557400 3")
    official = Known(
        {"train-rle.csv": table, **dict.fromkeys(images, Radiograph((1024, 1024)))},
        tuple(
            Made(i, i, image, None, targets={"pneumothorax": 1.0 - n})
            for n, (i, image) in enumerate(zip(ids, images, strict=True))
        ),
    )
    names = ("0_train_1_.png", "1_test_0_.png")
    pictures = {f"png_images/{n}": None for n in names} | {f"png_masks/{n}": Mask() for n in names}
    return {
        "official": official,
        "images_and_masks": Known(
            pictures,
            (
                Made(
                    "train_0",
                    "train_0",
                    f"png_images/{names[0]}",
                    f"png_masks/{names[0]}",
                    "train",
                    {"pneumothorax": 1.0},
                ),
                Made(
                    "test_1", "test_1", f"png_images/{names[1]}", f"png_masks/{names[1]}", "test", {"pneumothorax": 0.0}
                ),
            ),
        ),
    }


def openi() -> Known:
    def report(number: int, findings: str, mesh: str) -> str:
        return f"""<?xml version="1.0" encoding="utf-8"?>
<eCitation>
  <uId id="CXR{number}"/>
  <MedlineCitation Owner="Indiana University"><Article><Abstract>
    <AbstractText Label="COMPARISON">None.</AbstractText>
    <AbstractText Label="FINDINGS">{findings}</AbstractText>
    <AbstractText Label="IMPRESSION">Stable.</AbstractText>
  </Abstract></Article></MedlineCitation>
  <MeSH>{mesh}</MeSH>
  <parentImage id="CXR{number}_IM-0001-3001"/>
</eCitation>"""

    ill = "<major>Cardiomegaly/borderline</major><automatic>Cardiomegaly</automatic><automatic>effusion</automatic>"
    images = (
        "NLMCXR_png/CXR1_1_IM-0001-3001.png",
        "NLMCXR_png/CXR1_1_IM-0001-4001.png",
        "NLMCXR_png/CXR2_IM-0652-1001.png",
    )
    files = {
        "ecgen-radiology/1.xml": report(1, "Clear.", "<major>normal</major>"),
        "ecgen-radiology/2.xml": report(2, "Large heart.", ill),
        **dict.fromkeys(images),
    }
    healthy = {"normal": 1.0, "cardiomegaly": 0.0, "pneumonia": 0.0}
    return Known(
        files,
        (
            Made(
                "CXR1_1_IM-0001-3001", "1", images[0], targets=healthy, more={"text": "Clear. Stable.", "study_id": "1"}
            ),
            Made("CXR1_1_IM-0001-4001", "1", images[1], targets=healthy),
            Made(
                "CXR2_IM-0652-1001",
                "2",
                images[2],
                targets={"normal": 0.0, "cardiomegaly": 1.0, "pleural_effusion": 1.0, "nodule": 0.0},
            ),
        ),
    )
