"""Locating, hashing and reading weights; nothing that can run code is read, and nothing goes by unsaid."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from medvfm.core.errors import WeightsError
from medvfm.models.encoders.load import load_encoder
from medvfm.models.weights import account, locate, read_state_dict, sha256_of


class Harm:
    def __reduce__(self):
        return exec, ("raise SystemExit('code ran')",)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_that_would_run_code_is_refused(protocol, tmp_path):
    torch.save({"weight": torch.zeros(1), "harm": Harm()}, tmp_path / "zip.pth", pickle_protocol=protocol)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Harm(), protocol))
    for name in ("zip.pth", "plain.pth"):
        with pytest.raises(WeightsError, match="weights_only"):
            read_state_dict(tmp_path / name)


def test_a_pickled_checkpoint_that_would_run_code_is_refused(published, tmp_path):
    shutil.copytree(published["vit"], tmp_path / "vit")
    state = load_file(tmp_path / "vit" / "model.safetensors")
    (tmp_path / "vit" / "model.safetensors").unlink()
    torch.save(state, tmp_path / "vit" / "pytorch_model.bin")
    assert load_encoder(str(tmp_path / "vit")).width == 48  # a harmless one is read
    torch.save({**state, "harm": Harm()}, tmp_path / "vit" / "pytorch_model.bin")
    with pytest.raises(WeightsError):
        load_encoder(str(tmp_path / "vit"))


@pytest.mark.parametrize("damage", ["empty", "cut", "text"])
def test_damaged_files_are_refused(damage, published, tmp_path):
    shutil.copytree(published["dinov2"], tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "text": b"version https://git-lfs"}[damage])
    with pytest.raises(WeightsError):
        load_encoder(str(tmp_path / "model"))
    with pytest.raises(WeightsError):
        read_state_dict(file)


def test_sha256_is_that_of_the_file_and_of_all_shards(tmp_path):
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode() * 9)
    digest = {name: hashlib.sha256(name.encode() * 9).hexdigest() for name in "ab"}
    assert sha256_of([tmp_path / "a"]) == digest["a"]
    lines = f"{digest['a']}  a\n{digest['b']}  b\n"
    assert sha256_of([tmp_path / "b", tmp_path / "a"]) == hashlib.sha256(lines.encode()).hexdigest()


def test_shards_are_read_and_may_not_lead_out_of_the_folder(tmp_path):
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(hidden_size=64, num_hidden_layers=4, num_attention_heads=4, image_size=28)
    Dinov2Model(config).save_pretrained(tmp_path, max_shard_size="100KB")
    assert len(locate(str(tmp_path)).files) > 1
    assert load_encoder(str(tmp_path)).width == 64
    index = tmp_path / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["layernorm.weight"] = "../elsewhere.safetensors"
    index.write_text(json.dumps(content))
    with pytest.raises(WeightsError, match="outside"):
        locate(str(tmp_path))


def test_keys_are_declared_or_refused():
    assert account("x", unexpected=["head.weight"], may_leave=[r"head\."]) == ["head.weight"]
    with pytest.raises(WeightsError, match="1 missing"):
        account("x", missing=["a"], may_leave=["a"])
    with pytest.raises(WeightsError, match="1 not used"):
        account("x", unexpected=["my_head.weight"], may_leave=[r"head\."])
    with pytest.raises(WeightsError, match="another shape"):
        account("x", mismatched=["a"])


def test_what_does_not_exist_says_what_does(tmp_path):
    with pytest.raises(WeightsError, match="embedded"):
        locate("no-such-thing")
    with pytest.raises(WeightsError, match=r"config\.json"):
        locate(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match="no weights"):
        locate(str(tmp_path))
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="model_type"):
        load_encoder(str(tmp_path))
    with pytest.raises(WeightsError, match="model_type"):
        load_encoder(str(tmp_path / "model.safetensors"))


OFFLINE = """
import sys
from medvfm.core.errors import WeightsError
from medvfm.models.encoders.load import load_encoder
for name in sys.argv[1:]:
    try:
        encoder = load_encoder(name)
    except WeightsError as error:
        print("refused:", error)
    else:
        print("loaded:", encoder.weights_record["revision"], encoder.weights_record["licence"])
"""


@pytest.mark.slow
def test_offline_a_hub_id_loads_from_the_cache_or_says_what_to_do(published, tmp_path, monkeypatch):
    """A cache as huggingface_hub lays it out; in a process of its own, because it reads its settings only once."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--someone--small-dino"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    snapshot = repository / "snapshots" / commit
    shutil.copytree(published["dinov2"], snapshot)
    (snapshot / "README.md").write_text("---\nlanguage: en\nlicense: mit\n---\n# A model\n")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    names = ["someone/small-dino", f"someone/small-dino@{commit}", "someone/absent", "timm:resnet10t.c3_in1k"]
    done = subprocess.run([sys.executable, "-c", OFFLINE, *names], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    first, second, absent, of_timm = done.stdout.strip().splitlines()
    assert first == second == f"loaded: {commit} mit"
    assert "someone/absent" in absent and "hf download someone/absent" in absent and "embedded" in absent
    assert "timm/resnet10t.c3_in1k" in of_timm and "hf download" in of_timm
