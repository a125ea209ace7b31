"""Extractors: Inception against pytorch-fid with the same weights, encoders against their own features, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medvfm.core.errors import PredictionError, RecipeError, WeightsError
from medvfm.models.encoders.load import load_encoder
from medvfm.models.extractors import inception
from medvfm.models.extractors.load import check_name, load_extractor
from medvfm.models.image_text.load import load_pair
from medvfm.models.weights import sha256_of


@pytest.fixture(scope="module")
def inception_state() -> dict[str, torch.Tensor]:
    """Random weights in the layout of pytorch-fid's file, with a classifier; statistics unlike a new network's."""
    module = inception.InceptionFeatures().network
    rng = torch.Generator().manual_seed(0)
    state = {}
    for key, value in module.state_dict().items():
        if key.endswith("num_batches_tracked"):
            continue
        if key.endswith(("running_var", "bn.weight")):
            state[key] = torch.rand(value.shape, generator=rng) + 0.5
        elif key.endswith("conv.weight"):
            state[key] = torch.randn(value.shape, generator=rng) * (2 / value[0].numel()) ** 0.5
        else:
            state[key] = 0.1 * torch.randn(value.shape, generator=rng)
    return state | {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}


@pytest.fixture(scope="module")
def inception_file(inception_state, tmp_path_factory):
    file = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(inception_state, file)
    return file


@pytest.fixture
def pictures(photograph, radiograph) -> torch.Tensor:
    """(3, 3, 200, 180): parts of real photographs."""
    parts = [photograph[:200, :180], photograph[200:400, 300:480]]
    parts.append(np.repeat(radiograph[:200, :180, None], 3, axis=2))
    return torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2).float() / 255


def test_inception_is_that_of_pytorch_fid(inception_state, inception_file, pictures, monkeypatch):
    from pytorch_fid import inception as theirs

    monkeypatch.setattr(theirs, "load_state_dict_from_url", lambda *_, **__: inception_state)
    peer = theirs.InceptionV3().eval()
    with torch.no_grad():
        expected = peer(pictures)[0][:, :, 0, 0]
    extractor = load_extractor(f"inception:{inception_file}")
    found = extractor.features(pictures)
    assert found.shape == (3, 2048)
    assert expected.std(0).mean() > 1e-3  # pictures that differ have features that do
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())
    record = extractor.record
    assert record["sha256"] == sha256_of([inception_file])
    assert record["features"] == 2048 and record["size_px"] == [299, 299]
    assert not record["comparable"] and "not the weights of published" in record["said"]


def test_the_weights_of_pytorch_fid_are_known_by_their_hash(inception_file, monkeypatch):
    head = sha256_of([inception_file])[:8]
    monkeypatch.setattr(inception, "FILE", f"pt_inception-2015-12-05-{head}.pth")
    record = load_extractor("inception", weights=str(inception_file)).record
    assert record["comparable"] and record["said"] is None


def test_inception_takes_what_torch_keeps_of_pytorch_fid(inception_file, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(WeightsError, match=r"not on this machine.*6726825d.*embedded"):
        load_extractor("inception")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / inception.FILE).symlink_to(inception_file)
    assert load_extractor("inception").width == 2048


def test_weights_of_another_network_are_refused(inception_state, tmp_path):
    torch.save({k: v for k, v in inception_state.items() if "Mixed_7c" not in k}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="missing"):
        load_extractor(f"inception:{tmp_path / 'w.pth'}")
    with pytest.raises(WeightsError, match="holds none of"):
        load_extractor(f"inception:{tmp_path}")
    with pytest.raises(WeightsError, match="no such file"):
        load_extractor(f"inception:{tmp_path / 'absent.pth'}")
    with pytest.raises(WeightsError, match="hub"):
        load_extractor("inception:somebody/inception-that-is-not-here")
    with pytest.raises(RecipeError, match="299 px"):
        load_extractor(f"inception:{tmp_path / 'w.pth'}", size_px=64)


def test_the_embedded_extractor_sees_the_whole_picture(pictures):
    extractor = load_extractor("embedded", size_px=96)
    encoder = load_encoder("embedded", size_px=96)
    pixels = encoder.contract.with_resize("squash").apply(pictures)
    with torch.inference_mode():
        expected = encoder(pixels).pooled
    torch.testing.assert_close(extractor.features(pictures), expected)
    framed = pictures.clone()
    framed[..., :8] = 1  # where the central crop of ImageNet does not look
    assert not torch.allclose(extractor.features(framed), expected, atol=1e-3)
    record = extractor.record
    assert record["name"] == "embedded" and record["features"] == 1280 and record["size_px"] == [96, 96]
    assert record["sha256"].startswith("57934424")
    assert not record["comparable"] and "not comparable with Inception FID" in record["said"]
    assert load_extractor("embedded").record["size_px"] == [224, 224]


def test_dinov2_gives_its_own_summary(published, pictures):
    extractor = load_extractor(f"dinov2:{published['dinov2']}")
    encoder = load_encoder(str(published["dinov2"]))
    with torch.inference_mode():
        expected = encoder(encoder.contract.with_resize("squash").apply(pictures)).cls
    torch.testing.assert_close(extractor.features(pictures), expected)
    assert extractor.record["weights"] == str(published["dinov2"])
    assert extractor.record["features"] == encoder.width


def test_clip_gives_image_embeddings(pictures):
    extractor = load_extractor("clip:tiny")
    pair = load_pair("tiny")
    with torch.inference_mode():
        pixels = pair.image.contract.with_resize("squash").apply(pictures)
        expected = pair.image_vectors(pair.image(pixels))
    torch.testing.assert_close(extractor.features(pictures), expected)
    assert extractor.width == expected.shape[1] == extractor.record["features"]
    assert extractor.record["name"] == "clip" and "image embeddings of tiny" in extractor.record["said"]


def test_batches_grey_and_half_precision_change_nothing(pictures):
    extractor = load_extractor("embedded", size_px=64)
    whole = extractor.features(pictures)
    extractor.batch = 2
    torch.testing.assert_close(extractor.features(pictures), whole, rtol=1e-4, atol=1e-5)
    grey = pictures.mean(1, keepdim=True)
    torch.testing.assert_close(extractor.features(grey), extractor.features(grey.expand(-1, 3, -1, -1)))
    eighth = (pictures * 8).round() / 8  # the same in bfloat16
    torch.testing.assert_close(extractor.features(eighth.bfloat16()), extractor.features(eighth))
    assert extractor.features(pictures[:0]).shape == (0, 1280)
    assert not extractor.features(pictures).requires_grad and not extractor.module.training


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_the_accelerator(pictures):
    extractor = load_extractor("embedded", size_px=64)
    expected = extractor.features(pictures)
    found = extractor.to("cuda").features(pictures)
    assert found.is_cuda
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    "images",
    [torch.rand(2, 2, 8, 8), torch.rand(3, 8, 8), torch.ones(1, 3, 8, 8, dtype=torch.uint8), 2 * torch.ones(1, 1, 8, 8),
     torch.full((1, 1, 8, 8), torch.nan)],
)  # fmt: skip
def test_what_is_no_picture_is_refused(images):
    with pytest.raises(PredictionError, match=r"from 0 to 1|must lie"):
        load_extractor("embedded", size_px=64).features(images)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("incepton", "no extractor 'incepton'; did you mean 'inception'"),
        ("", "no extractor ''"),
        ("dinov2", "the extractor 'dinov2' names no weights; as in dinov2:"),
        ("clip:", "names no weights"),
        ("embedded:efficientnet", "has weights of its own"),
        ("Inception", "did you mean 'inception'"),
    ],
)
def test_names_are_checked_before_anything_is_loaded(name, said):
    with pytest.raises(RecipeError, match="extractor") as refused:
        check_name(name, where="task.options.extractor")
    assert said in str(refused.value) and str(refused.value).startswith("task.options.extractor: ")
    with pytest.raises(RecipeError):
        load_extractor(name)


def test_names_with_weights():
    assert check_name("embedded") == ("embedded", None)
    assert check_name("dinov2:facebook/dinov2-base") == ("dinov2", "facebook/dinov2-base")
    assert check_name("clip", "hf-hub:a/b") == ("clip", "hf-hub:a/b")
    assert check_name("clip:hf-hub:a/b") == ("clip", "hf-hub:a/b")
    with pytest.raises(RecipeError, match="are named as well"):
        check_name("clip:a/b", "c/d")


def test_a_name_is_checked_without_torch():
    import subprocess
    import sys

    code = "import sys; from medvfm.models.extractors.load import check_name; check_name('embedded'); "
    code += "print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
