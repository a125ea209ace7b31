"""Every layout of every shipped card with two or three cases, and what they must become.

Names of files and columns are those of the sets themselves; contents are made up.
"""

from __future__ import annotations

from pathlib import Path

from tests.cards import chest, medmnist, photographs, volumes, words
from tests.cards.made import Known


def known(structures: tuple[str, ...], scratch: Path) -> dict[str, dict[str, Known]]:
    """Card to its layouts. `structures` are TotalSegmentator's; `scratch` a folder for pictures inside tables."""
    return {
        "acdc": {"official": volumes.acdc()},
        "amos_ct": volumes.amos(("0001", "0013")),
        "amos_mr": volumes.amos(("0507", "0541")),
        "aptos_2019": {"official": photographs.aptos()},
        "bccd": {"official": photographs.bccd()},
        "brats": {
            "brats2021": volumes.brats("", "BraTS2021_00000", ".nii.gz"),
            "brats2020": volumes.brats("MICCAI_BraTS2020_TrainingData/", "BraTS20_Training_001", ".nii.gz"),
            "brats2020_unpacked": volumes.brats("MICCAI_BraTS2020_TrainingData/", "BraTS20_Training_355", ".nii"),
        },
        "breakhis": {"official": photographs.breakhis()},
        "btcv": volumes.btcv(),
        "busi": {"official": photographs.busi()},
        "chexpert": {"official": chest.chexpert()},
        "data_science_bowl_2018": photographs.nuclei(),
        "ham10000": {"official": photographs.ham10000()},
        "isic_2018_diagnosis": {"official": photographs.isic_diagnosis()},
        "isic_2018_lesions": photographs.isic_lesions(),
        "kits": volumes.kits(),
        "kvasir_seg": photographs.kvasir(),
        "lidc_idri": {"official": volumes.lidc()},
        "lits": volumes.lits(),
        "medmnist_2d": medmnist.pictures(),
        "medmnist_3d": medmnist.volumes(),
        "messidor_2": {"official": photographs.messidor()},
        "mimic_cxr": {"official": chest.mimic(False), "with_reports": chest.mimic(True)},
        "msd_brain_tumour": volumes.decathlon("Task01_BrainTumour", "BRATS", (1, 2, 3), channels=4),
        "msd_colon": volumes.decathlon("Task10_Colon", "colon", (1,)),
        "msd_heart": volumes.decathlon("Task02_Heart", "la", (1,)),
        "msd_hepatic_vessel": volumes.decathlon("Task08_HepaticVessel", "hepaticvessel", (1, 2)),
        "msd_hippocampus": volumes.decathlon("Task04_Hippocampus", "hippocampus", (1, 2)),
        "msd_liver": volumes.decathlon("Task03_Liver", "liver", (1, 2)),
        "msd_lung": volumes.decathlon("Task06_Lung", "lung", (1,)),
        "msd_pancreas": volumes.decathlon("Task07_Pancreas", "pancreas", (1, 2)),
        "msd_prostate": volumes.decathlon("Task05_Prostate", "prostate", (1, 2), channels=2),
        "msd_spleen": volumes.decathlon("Task09_Spleen", "spleen", (1,)),
        "nct_crc_he": {"official": photographs.nct()},
        "nih_chestxray14": {"official": chest.nih("Patient Gender"), "official_sex": chest.nih("Patient Sex")},
        "nih_cxr_pneumonia": chest.nih_pneumonia(),
        "openi": {"official": chest.openi()},
        "path_vqa": {"hub": words.path_vqa(scratch)},
        "pcam": {"official": photographs.pcam()},
        "roco": {"official": words.roco()},
        "roco_v2": {"official": words.roco_v2()},
        "rsna_pneumonia": {"official": chest.rsna()},
        "siim_acr": chest.siim(),
        "slake": {"official": words.slake("validate.json"), "hub": words.slake("validation.json")},
        "totalsegmentator": {"official": volumes.totalsegmentator(structures)},
        "vindr_cxr": {"official": chest.vindr()},
        "vqa_rad": words.vqa_rad(),
    }
