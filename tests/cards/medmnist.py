"""MedMNIST: an .npz for each set, with three parts."""

from __future__ import annotations

import numpy as np

from tests.cards.files import Arrays
from tests.cards.made import Known, Made

TISSUES = ("adipose", "background", "debris", "lymphocytes", "mucus", "smooth_muscle", "normal_colon_mucosa",
           "cancer_associated_stroma", "colorectal_adenocarcinoma_epithelium")  # fmt: skip
FINDINGS = ("atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia", "pneumothorax",
            "consolidation", "edema", "emphysema", "fibrosis", "pleural", "hernia")  # fmt: skip
SKIN = ("actinic_keratoses_and_intraepithelial_carcinoma", "basal_cell_carcinoma", "benign_keratosis_like_lesions",
        "dermatofibroma", "melanoma", "melanocytic_nevi", "vascular_lesions")  # fmt: skip
BLOOD = ("basophil", "eosinophil", "erythroblast", "immature_granulocytes", "lymphocyte", "monocyte", "neutrophil",
         "platelet")  # fmt: skip
KIDNEY = ("collecting_duct_connecting_tubule", "distal_convoluted_tubule", "glomerular_endothelial_cells",
          "interstitial_endothelial_cells", "leukocytes", "podocytes", "proximal_tubule_segments",
          "thick_ascending_limb")  # fmt: skip
ORGANS = ("bladder", "femur_left", "femur_right", "heart", "kidney_left", "kidney_right", "liver", "lung_left",
          "lung_right", "pancreas", "spleen")  # fmt: skip
ORGANS_3D = ("liver", "kidney_right", "kidney_left", "femur_right", "femur_left", "bladder", "heart", "lung_right",
             "lung_left", "spleen", "pancreas")  # fmt: skip
RETINA = ("choroidal_neovascularization", "diabetic_macular_edema", "drusen", "normal")
GREY, RGB, CUBE = (28, 28), (28, 28, 3), (28, 28, 28)


def one(name: str, shape: tuple[int, ...], classes: tuple[str, ...], *, listed: bool = False) -> Known:
    """One .npz with three parts; the labels are numbers, or one column a class."""
    arrays, made = {}, []
    for number, split in enumerate(("train", "val", "test")):
        count = 2 if split == "train" else 1
        arrays[f"{split}_images"] = np.random.default_rng(number).integers(0, 256, (count, *shape)).astype(np.uint8)
        values = np.arange(count) + number
        labels = np.eye(len(classes), dtype=np.uint8)[values % len(classes)] if listed else values % len(classes)
        arrays[f"{split}_labels"] = labels if listed else labels.reshape(-1, 1).astype(np.uint8)
        made += [
            Made(
                f"{split}_{n:06d}",
                None,
                None,
                split=split,
                targets={classes[v % len(classes)]: 1.0, **_others(classes, v)},
            )
            for n, v in enumerate(values)
        ]
    return Known({f"{name}.npz": Arrays(arrays)}, tuple(made))


def _others(classes: tuple[str, ...], value: int) -> dict[str, float]:
    return {c: 0.0 for n, c in enumerate(classes) if n != value % len(classes)}


def pictures() -> dict[str, Known]:
    """The twelve sets of pictures."""
    return {
        "pathmnist": one("pathmnist", RGB, TISSUES),
        "chestmnist": one("chestmnist", GREY, FINDINGS, listed=True),
        "dermamnist": one("dermamnist", RGB, SKIN),
        "octmnist": one("octmnist", GREY, RETINA),
        "pneumoniamnist": one("pneumoniamnist", GREY, ("normal", "pneumonia")),
        "retinamnist": one("retinamnist", RGB, tuple(f"grade_{n}" for n in range(5))),
        "breastmnist": one("breastmnist", GREY, ("malignant", "normal_or_benign")),
        "bloodmnist": one("bloodmnist", RGB, BLOOD),
        "tissuemnist": one("tissuemnist", GREY, KIDNEY),
        **{f"organ{p}mnist": one(f"organ{p}mnist", GREY, ORGANS) for p in "acs"},
    }


def volumes() -> dict[str, Known]:
    """The six sets of volumes."""
    return {
        "organmnist3d": one("organmnist3d", CUBE, ORGANS_3D),
        "nodulemnist3d": one("nodulemnist3d", CUBE, ("benign", "malignant")),
        "adrenalmnist3d": one("adrenalmnist3d", CUBE, ("normal", "hyperplasia")),
        "fracturemnist3d": one(
            "fracturemnist3d", CUBE, ("buckle_rib_fracture", "nondisplaced_rib_fracture", "displaced_rib_fracture")
        ),
        "vesselmnist3d": one("vesselmnist3d", CUBE, ("vessel", "aneurysm")),
        "synapsemnist3d": one("synapsemnist3d", CUBE, ("inhibitory_synapse", "excitatory_synapse")),
    }
