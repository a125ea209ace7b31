"""Every code block of the pages and the example of the README are run, line by line, in a folder with what they name.

What needs a network, weights of a hub, a GPU, another server or hours is in NOT_RUN with its reason, and what of it is
a recipe is checked in its place. Runs that are shown are made with fewer patients (SMALL).
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.samples import dicom
from tests.samples.command import command

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)
SMALL = ["data.options.patients=24", "evaluate.confidence.resamples=100"]
NOT_RUN = {  # the beginning of a line, without `uv run`, to the reason; and the recipe that is checked in its place
    "pip install": ("installs packages", None),
    "uv build": ("builds a wheel", None),
    "UV_TORCH_BACKEND": ("installs packages", None),
    "medvfm contract dinov2-base": ("weights of a hub", "quickstart adapter.weights=dinov2-base"),
    "medvfm contract embedded --data": ("minutes; tests/pipeline/test_contract_costs.py runs it small", None),
    "medvfm test ": ("data of another hospital; tests/engine/test_external.py runs it", None),
    "medvfm run quickstart adapter.weights": ("weights of a hub", "quickstart adapter.weights=facebook/dinov2-base"),
    "medvfm run hippocampus": ("data to be downloaded", "hippocampus"),
    "medvfm data export msd_hippocampus": (
        "data to be downloaded; tests/io/dataset/test_nnunet_export.py runs it",
        None,
    ),
    "medvfm evaluate segmentation --truth nnUNet_raw": ("what the export above made", None),
    "medvfm run recipes/quickstart_clip": ("minutes", "recipes/quickstart_clip.yaml"),
    "medvfm predict runs/reports": ("the run above", None),
    "medvfm run recipes/quickstart_synthesis": ("minutes", "recipes/quickstart_synthesis.yaml"),
    "medvfm predict runs/synthesis": ("the run above", None),
    "medvfm run recipes/synthesis_unseen_pairs": ("minutes", "recipes/synthesis_unseen_pairs.yaml"),
    "medvfm run recipes/brain_volume_synthesis": ("minutes", "recipes/brain_volume_synthesis.yaml"),
    "medvfm predict runs/volumes": ("the run above", None),
    "medvfm run recipes/sweep_brain": ("minutes; tests/engine/test_sweep.py runs one", "recipes/sweep_brain.yaml"),
    "medvfm run recipes/mr_denoising": ("minutes", "recipes/mr_denoising.yaml"),
    "medvfm predict runs/denoising": ("the run above", None),
    "medvfm run recipes/mr_super_resolution": ("minutes", "recipes/mr_super_resolution.yaml"),
    "medvfm evaluate generation": ("minutes; tests/tasks/generation runs it", None),
    "medvfm run my_scans": ("minutes; notebooks/masks.ipynb runs it", None),
    "medvfm predict runs/organs": ("the run above", None),
    "medvfm run recipe.yaml": ("hours", "recipe.yaml"),
    "srun medvfm run recipe.yaml": ("hours, and a cluster", "recipe.yaml"),
    "medvfm data instruct openi": ("data to be downloaded, and a server", None),
}
NOT_RUN_PYTHON = {"/path/to/autoencoder": "weights that the reader has"}
SLOW = ("medvfm run", "medvfm compare runs", "medvfm.run(", "load_adapter", "FoundationEncoder")


def blocks(kind):
    return [
        (page.stem, number, text)
        for page in PAGES
        for number, (name, text) in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")))
        if name == kind
    ]


def lines(text):
    """The commands of a block; what a job asks of its cluster and its environment are none."""
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if line.startswith(("#", "export ")):
            continue
        for part in line.partition("  #")[0].split("&&"):
            if part.strip():
                yield re.sub(r"^uv run (?=medvfm)", "", part.strip())


def reason(line):
    return next((why for start, why in NOT_RUN.items() if line.startswith(start)), None)


def picture(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 120, (48, 48), dtype=np.uint8)
    pixels[10:30, 10:30] += np.uint8(100 * (seed % 2))
    Image.fromarray(pixels).save(path)


def scan(path, seed, label=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(seed).integers(0, 400, (20, 18, 6)).astype(np.int16)
    if label:
        voxels = np.zeros((20, 18, 6), np.uint8)
        voxels[4:10, 4:10], voxels[12:16, 6:12] = 1, 2
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.0, 1.0, 3.0, 1.0])), path)


def study(folder, masks):
    """A folder as own_data.md has it: a table beside pictures, or scans with masks."""
    shutil.rmtree(folder, ignore_errors=True)
    if masks:
        for n in range(6):
            scan(folder / f"scans/pt{n:02d}.nii.gz", n)
            scan(folder / f"truth/pt{n:02d}.nii.gz", n, label=True)
        return
    head = ["File", "MRN", "Fallnummer", "Befund Pneumonie", "effusion", "nodule"]
    rows = [(f"case_{n:02d}.png", n // 2, n // 2, "ja" if n % 2 else "nein", n % 2, n // 2 % 2) for n in range(32)]
    for n, row in enumerate(rows):
        picture(folder / str(row[0]), n)
    pd.DataFrame(rows, columns=head).to_csv(folder / "table.csv", index=False)


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A folder with what the pages name; settings of the user lie in it too."""
    monkeypatch.chdir(tmp_path)
    for name in ("CONFIG", "DATA"):  # prepared images and simulated brains are shared
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / "user" / name.lower()))
    for name in ("recipes", "data_cards"):
        (tmp_path / name).symlink_to(ROOT / name)
    ids, truth = [f"c{n:02d}" for n in range(40)], np.arange(40) % 2
    rng = np.random.default_rng(0)
    scores = {
        name: 1 / (1 + np.exp(rng.normal(0, 1, 40) - skill * truth)) for name, skill in (("mine", 2), ("theirs", 1))
    }
    pd.DataFrame({"case_id": ids, "patient_id": ids, "disease": truth}).to_csv("truth.csv", index=False)
    for name, values in (*scores.items(), ("scores", scores["mine"])):
        pd.DataFrame({"case_id": ids, "disease": values}).to_csv(f"{name}.csv", index=False)
    for n in range(4):
        scan(tmp_path / f"labels/s{n}.nii.gz", n, label=True)
        scan(tmp_path / f"drawn/s{n}.nii.gz", n, label=True)
    dicom.write_series(tmp_path / "scans/one")
    (tmp_path / "nih").mkdir()
    shutil.copy(ROOT / "recipes/quickstart.yaml", "recipe.yaml")
    return tmp_path


def questions(folder):
    """The tables of question_answering.md."""
    asked = [(f"q{n}", f"p{n // 2}", "CLOSED", "Is there a lesion?", ("yes", "no")[n % 2]) for n in range(8)]
    names = ["case_id", "patient_id", "question_type", "question", "answer"]
    table = pd.DataFrame(asked, columns=names)
    table.to_csv(folder / "truth.csv", index=False)
    table[["case_id", "answer"]].to_csv(folder / "answers.csv", index=False)


def told(line):
    done = command(*shlex.split(line)[1:])
    assert done.returncode == 0, f"{line}: {done.stderr[-600:]}"


def run_line(line, world):
    words = shlex.split(line)
    if (why := reason(line)) is not None:
        if why[1] is not None:
            told(f"medvfm check {why[1]}")
        return
    line = line.replace("/data/nih", str(world / "nih"))
    if words[:2] == ["medvfm", "init"]:
        folder = world / Path(words[2]).parts[0]
        study(folder, masks="segmentation" in words or "liver,spleen" in words)
    elif re.search(r"my_study/(card|recipe)\.yaml", line) and not (world / "my_study/card.yaml").exists():
        study(world / "my_study", masks=False)
        told("medvfm init my_study --label effusion,nodule")
    elif "reconcile answers.csv" in line:
        questions(world)
        table = pd.read_csv("truth.csv").rename(columns={"answer": "truth"})
        table.assign(answer=table["truth"]).to_csv("answers.csv", index=False)
    elif "evaluate question_answering" in line:
        questions(world)
    elif "evaluate retrieval" in line:
        ids = [f"i{n}" for n in range(6)]
        pd.DataFrame({"case_id": ids, "patient_id": ids, "text": [f"report {n}" for n in range(6)]}).to_csv(
            "texts.csv", index=False
        )
        table = pd.DataFrame(np.eye(6), columns=ids)
        table.insert(0, "case_id", ids)
        table.to_csv("similarities.csv", index=False)
    if (words[:2] == ["medvfm", "run"] and "my_study" not in line) or ("--ready" in words and "quickstart" in words):
        line = f"{line} {' '.join(SMALL)}"
    if "data instruct virtual_brain" in line and "patients=" not in line:
        line += " patients=24"
    told(line)


def is_slow(text):
    return any(sign in line for line in lines(text) if reason(line) is None for sign in SLOW)


def marked(kind):
    return [
        pytest.param(text, id=f"{page}-{number}", marks=[pytest.mark.slow] if is_slow(text) else [])
        for page, number, text in blocks(kind)
    ]


@pytest.mark.parametrize("text", [*marked("sh"), *marked("slurm")])
def test_commands_run_as_they_stand(text, world):
    if "compare runs/" in text:
        for name, method in zip(re.findall(r"runs/(\w+)", text)[:2], ("linear_probe", "knn"), strict=True):
            run = f"medvfm run quickstart adapter.method={method} --out runs/{name} {' '.join(SMALL)}"
            told(run)
    for line in lines(text):
        run_line(line, world)


@pytest.mark.parametrize("text", marked("python"))
def test_python_runs_as_it_stands(text, world):
    if any(sign in text for sign in NOT_RUN_PYTHON):
        compile(text, "a page", "exec")
        return
    picture(world / "a.png", 1)
    scan(world / "b.nii.gz", 2)
    scan(world / "new.nii.gz", 3)
    dicom.write_series(world / "series_folder")
    study(world / "my_study", masks=False)
    vectors = [list(row) for row in np.eye(4)]
    (world / "vectors").mkdir()
    pd.DataFrame({"vector": vectors}).to_parquet("vectors/embeddings.parquet")
    table = pd.read_csv("my_study/table.csv")
    truth = np.arange(40) % 2
    names = {
        "paths": [f"my_study/{file}" for file in table["File"]], "labels": table["effusion"], "patients": table["MRN"],
        "truth": truth, "scores": np.linspace(0, 1, 40),
    }  # fmt: skip
    if "medvfm.run(" in text:
        text = text.replace('overrides=["adapter.method=knn"]', f'overrides=["adapter.method=knn", *{SMALL!r}]')
    exec(compile(text, "a page", "exec"), names)


@pytest.mark.slow
def test_the_example_of_the_readme_runs(world, capsys):
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S).group(1)
    exec(compile(code, "README.md", "exec"), {})
    said = capsys.readouterr().out
    assert "auroc" in said and re.search(r"\(1, \d+\)", said)


def test_every_block_is_of_a_kind_that_is_tested():
    """YAML is read as a recipe or card by tests/test_docs.py."""
    kinds = {name for page in PAGES for name, _ in BLOCK.findall(page.read_text(encoding="utf-8"))}
    assert kinds == {"sh", "python", "yaml", "slurm"}


def test_what_is_not_run_is_still_on_a_page():
    """No reason outlives its line."""
    every = [line for kind in ("sh", "slurm") for _, _, text in blocks(kind) for line in lines(text)]
    assert [start for start in NOT_RUN if not any(line.startswith(start) for line in every)] == []
    code = "\n".join(text for _, _, text in blocks("python"))
    assert [sign for sign in NOT_RUN_PYTHON if sign not in code] == []
