"""`latent_diffusion` with `tiny`: conditions, training examples, answers, what is refused, saved and said."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from medvfm.adapters import latent_diffusion
from medvfm.adapters._diffusion.conditions import Conditions
from medvfm.core.capabilities import MakingAdapter, StartingAdapter, TowerAdapter
from medvfm.core.case import Case
from medvfm.core.errors import DataError, RecipeError
from medvfm.core.item import Item
from medvfm.core.recipe_sections import AdapterSettings, Prepare, Train
from medvfm.engine import train
from medvfm.nn import state

TASK = SimpleNamespace(
    name="generation", classes=("lesion", "large_ventricles"), images=2, answers="images", kind="images"
)


def case(n: int) -> Case:
    targets = {"lesion": float(n % 2), "large_ventricles": float(n % 3 == 0)}
    text = f"{'a' if n % 2 else 'no'} lesion"
    return Case(f"case-{n}", f"p{n}", {}, targets=targets, text=text, groups={"age": 40.0 + n, "sex": "FM"[n % 2]})


@pytest.fixture(scope="module")
def items():
    rng = np.random.default_rng(0)
    found = []
    for n in range(48):
        pixels = rng.random((1, 8, 8), np.float32) * 0.1
        pixels[:, 2:6, 2:6] += 0.7 if n % 2 else 0.2
        found.append(Item(case(n), {"pixels": pixels}))
    return found


def built(task=TASK, method="full", weights="tiny", **options):
    settings = AdapterSettings(name="latent_diffusion", weights=weights, method=method, options={"steps": 8, **options})
    prepare = Prepare(size=8 if weights == "tiny" or "width" not in options else 16)
    latent_diffusion.refuse(settings, [method], prepare, task)
    return latent_diffusion.build(settings, task, method, prepare, windows={}, read={}, train=Train(), seed=3)


def stored(adapter, items):
    """The items as training sees them: outputs of frozen towers in place of pixels."""
    towers = {tower: adapter.embed_tower(tower, items) for tower in latent_diffusion.METHODS["full"].frozen}
    return [
        Item(item.case, towers={t: {n: v[k].numpy() for n, v in out.items()} for t, out in towers.items()})
        for k, item in enumerate(items)
    ]


def unchanged(pixels, labels):
    return pixels, labels


def batch_of(adapter, items, seed=0):
    return adapter.collate(
        [adapter.example(i, np.random.default_rng([seed, k]), unchanged) for k, i in enumerate(items)]
    )


@pytest.fixture(scope="module")
def trained(items, tmp_path_factory):
    adapter = built()
    adapter.start_from(items)
    ready = stored(adapter, items)
    settings = train.Settings(epochs=2, learning_rate=1e-3, weight_decay=0.0, ema=0.9)

    def batches(epoch):
        order = np.random.default_rng(epoch).permutation(np.tile(np.arange(len(ready)), 4))
        for start in range(0, len(order), 32):
            yield batch_of(adapter, [ready[i] for i in order[start : start + 32]], [epoch, start]), 32

    history = train.fit(
        adapter, batches, 6, dict, settings, select="loss", better="lower", seed=0, device="cpu",
        folder=tmp_path_factory.mktemp("checkpoint"), say=lambda text: None,
    )  # fmt: skip
    return adapter, history


def test_it_is_what_the_engine_looks_for(items):
    assert all(isinstance(built(), kind) for kind in (MakingAdapter, StartingAdapter, TowerAdapter))


@pytest.mark.parametrize("options", [{}, {"attributes": ["age", "sex"]}, {"condition": "text"}, {"condition": "none"}])
def test_every_trained_weight_moves_and_no_other(items, options, tmp_path):
    adapter = built(**options)
    adapter.start_from(items)
    ready = stored(adapter, items)
    before = {n: w.clone() for n, w in adapter.module.state_dict().items()}
    settings = train.Settings(epochs=1, learning_rate=1e-3)
    history = train.fit(
        adapter, lambda epoch: [(batch_of(adapter, ready, k), len(ready)) for k in range(4)], 4, dict, settings,
        select="loss", better="lower", seed=0, device="cpu", folder=tmp_path, say=lambda text: None,
    )  # fmt: skip
    assert history.audit["still_tensors"] == 0 and history.audit["frozen_moved"] == 0
    after = adapter.module.state_dict()
    for name in before:
        assert torch.equal(before[name], after[name]) == name.startswith("components."), name


def test_training_lowers_the_loss_of_cases(trained, items):
    adapter, _history = trained
    fresh = built()
    fresh.start_from(items)
    losses = []
    for one in (fresh, adapter):
        one.module.eval()
        losses.append(float(one.loss(batch_of(one, stored(one, items))).detach()))
    assert losses[1] < 0.8 * losses[0]


def test_a_step_on_stored_latents_is_the_step_on_pixels(trained, items):
    adapter, _ = trained
    adapter.module.train()
    for mode in (True, False):
        adapter.module.train(mode)
        on_pixels, on_latents = batch_of(adapter, items[:5]), batch_of(adapter, stored(adapter, items[:5]))
        assert "pictures" in on_pixels and "mean" in on_latents
        found = [float(adapter.loss(batch).detach()) for batch in (on_pixels, on_latents)]
        assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_half_precision_gives_nearly_the_same_loss(trained, items):
    adapter, _ = trained
    batch = batch_of(adapter, stored(adapter, items[:8]))
    full = adapter.loss(batch)
    with torch.autocast("cpu", torch.bfloat16):
        half = adapter.loss(batch)
    half.backward()
    adapter.module.zero_grad()
    assert half.dtype == torch.float32 and float(half.detach()) == pytest.approx(float(full.detach()), rel=0.05)


def test_the_validation_loss_of_a_case_does_not_depend_on_its_batch(trained, items):
    adapter, _ = trained
    adapter.module.eval()
    ready = stored(adapter, items[:4])
    together = float(adapter.loss(batch_of(adapter, ready)).detach())
    alone = [
        float(adapter.loss(adapter.collate([adapter.example(i, np.random.default_rng([0, k]), unchanged)])).detach())
        for k, i in enumerate(ready)
    ]
    assert together == pytest.approx(np.mean(alone), rel=1e-4)


def test_answers_are_images_that_depend_on_seed_case_and_place_alone(trained):
    adapter, _ = trained
    asked = [Item(case(n)) for n in range(3)]
    together, alone = adapter.answer(asked), adapter.answer(asked[1:2])[0]
    assert [answer.pixels.shape for answer in together] == [(2, 8, 8, 1)] * 3
    assert all(a.pixels.dtype == np.float32 and a.pixels.min() >= 0 and a.pixels.max() <= 1 for a in together)
    np.testing.assert_allclose(together[1].pixels, alone.pixels, atol=1e-4)
    assert together[1].seeds == alone.seeds and not np.allclose(alone.pixels[0], alone.pixels[1], atol=1e-3)
    assert together[1].asked == "lesion, no large ventricles" and "guidance 2" in together[1].how


def test_what_is_asked_in_words_is_made_as_for_the_case(trained):
    adapter, _ = trained
    words = adapter.condition_words(case(1))
    of_case, of_words = adapter.make([Item(case(1)), Item(adapter.asked(words))], [[5], [5]])
    np.testing.assert_allclose(of_case.pixels, of_words.pixels, atol=1e-5)
    other = adapter.make([Item(adapter.asked("no lesion"))], [[5]])[0]
    assert not np.allclose(other.pixels, of_case.pixels, atol=1e-3)


def test_variants_change_guidance_and_steps(items):
    adapter = built(sweep={"guidance": [1.0, 4.0], "steps": [2.0]})
    adapter.start_from(items)
    assert adapter.variants() == ["guidance=1", "guidance=4", "steps=2"]
    made = {v: adapter.answer([Item(case(1))], v)[0] for v in adapter.variants()}
    assert "guidance 4" in made["guidance=4"].how and "2 steps" in made["steps=2"].how
    assert not np.allclose(made["guidance=1"].pixels, made["guidance=4"].pixels, atol=1e-4)


def test_what_was_trained_is_saved_and_loaded(trained, tmp_path):
    adapter, _ = trained
    adapter.save(tmp_path)
    again = built()
    again.load(tmp_path)
    first, second = (a.answer([Item(case(2))])[0] for a in (adapter, again))
    np.testing.assert_allclose(first.pixels, second.pixels, atol=1e-6)


def test_the_weights_of_the_start_can_be_put_back(items):
    adapter = built()
    adapter.start_from(items)
    start, before = state.trained(adapter.module), adapter.answer([Item(case(1))])[0].pixels
    with torch.no_grad():
        for parameter in adapter.module.parameters():
            parameter.add_(0.01)
    assert not np.allclose(adapter.answer([Item(case(1))])[0].pixels, before, atol=1e-3)
    state.put_trained(adapter.module, start)
    np.testing.assert_allclose(adapter.answer([Item(case(1))])[0].pixels, before, atol=1e-6)


@pytest.mark.parametrize(
    ("weights", "method", "options", "latents"),
    [
        ("tiny-spatial", "full", {}, [16, 4, 4]),
        ("tiny-spatial", "full", {"condition": "text"}, [16, 4, 4]),
        ("pixels", "unconditional", {}, [1, 16, 16]),
        ("pixels", "full", {"attributes": ["age"]}, [1, 16, 16]),
    ],
)
def test_small_u_nets_from_scratch_are_trained_saved_and_asked(items, weights, method, options, latents, tmp_path):
    larger = [replace(i, arrays={"pixels": np.repeat(np.repeat(i.pixels, 2, 1), 2, 2)}) for i in items[:12]]
    noise = np.random.default_rng(0).normal(0, 0.01, (12, 1, 16, 16)).astype(np.float32)
    larger = [replace(i, arrays={"pixels": (i.pixels + n).clip(0, 1)}) for i, n in zip(larger, noise, strict=True)]
    adapter = built(method=method, weights=weights, width=16, **options)
    adapter.start_from(larger)
    assert list(adapter.module.latent_shape) == latents
    mean = adapter.embed_tower("autoencoder", larger)["mean"]
    back = adapter.module.decode(mean).numpy()
    np.testing.assert_allclose(back, np.stack([i.pixels for i in larger]), atol=1e-4)  # nothing is lost
    ready = stored(adapter, larger)
    history = train.fit(
        adapter, lambda epoch: [(batch_of(adapter, ready, k), 12) for k in range(3)], 3, dict,
        train.Settings(epochs=1, learning_rate=1e-3), select="loss", better="lower", seed=0, device="cpu",
        folder=tmp_path / "checkpoint", say=lambda text: None,
    )  # fmt: skip
    assert history.audit["still_tensors"] == 0 and history.audit["frozen_moved"] == 0
    adapter.save(tmp_path)
    again = built(method=method, weights=weights, width=16, **options)
    again.load(tmp_path)
    asked = [Item(case(1)), Item(case(2))]
    first, second = (a.make(asked, [[1], [2]]) for a in (adapter, again))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one.pixels, other.pixels, atol=1e-5)
    assert first[0].pixels.shape == (1, 16, 16, 1) and (first[0].asked == "") == (method == "unconditional")


@pytest.mark.parametrize(
    ("prompt", "targets"),
    [
        ("lesion, no large ventricles", {"lesion": 1.0, "large_ventricles": 0.0}),
        ("Large_ventricles=1", {"large_ventricles": 1.0}),
        ("no lesion", {"lesion": 0.0}),
        ("a lesion", {"lesion": 1.0}),
        ("", {}),
    ],
)
def test_words_of_classes_are_read(prompt, targets):
    assert Conditions("classes", TASK.classes).asked(prompt).targets == targets


def test_words_that_the_model_does_not_know_are_refused_with_those_it_does():
    for conditions, prompt, known in (
        (Conditions("classes", TASK.classes, ("age",)), "a stroke", "lesion, large ventricles, age VALUE"),
        (Conditions("none"), "lesion", "without conditions"),
    ):
        with pytest.raises(RecipeError, match=known):
            conditions.asked(prompt)


def test_attributes_are_numbers_in_their_range_and_words_by_value():
    conditions = Conditions("classes", ("lesion",), ("age", "sex"))
    conditions.fit([case(n) for n in range(11)])
    assert conditions.columns == [("lesion",), ("age", 40.0, 50.0), ("sex", "F"), ("sex", "M")]
    np.testing.assert_allclose(conditions.values(case(5)), [1, 0.5, 0, 1])
    assert np.isnan(conditions.values(Case("x", None, {}))).all()
    words = conditions.words(case(5))
    assert words == "lesion, age 45, sex M"
    np.testing.assert_allclose(conditions.values(conditions.asked(words)), conditions.values(case(5)))


def test_one_class_of_several_is_asked_for_by_its_name():
    conditions = Conditions("classes", ("tumor", "stroma"))
    conditions.fit([Case(str(n), None, {}, targets={"tumor": n % 2, "stroma": 1 - n % 2}) for n in range(4)])
    assert conditions.exclusive and conditions.words(Case("x", None, {}, targets={"tumor": 1, "stroma": 0})) == "tumor"
    assert conditions.asked("stroma").targets == {"tumor": 0.0, "stroma": 1.0}


def test_texts_are_needed_where_they_ask(items):
    with pytest.raises(DataError, match=r"adapter.options.condition"):
        built(condition="text").start_from([replace(i, case=replace(i.case, text=None)) for i in items])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sampler": "ddmi"}, r"options.sampler.*did you mean 'ddim'"),
        ({"sweep": {"seed": [1.0]}}, "options.sweep"),
        ({"sweep": {"steps": [2.5]}}, "options.sweep.steps"),
        ({"condition": "text", "attributes": ["age"]}, "options.attributes"),
        ({"guidence": 3}, "did you mean 'guidance'"),
    ],
)
def test_options_that_cannot_be_are_refused(options, said):
    with pytest.raises(RecipeError, match=said):
        built(**options)


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(RecipeError, match=r"adapter.method.*take full"):
        built(method="zero_shot")
    with pytest.raises(RecipeError, match=r"options.condition"):
        built(method="unconditional", weights="pixels", condition="text")
    with pytest.raises(RecipeError, match=r"prepare.size.*multiple of 16"):
        built(weights="tiny-spatial").start_from(())
    with pytest.raises(RecipeError, match=r"task\.classes"):
        built(replace_classes(()), condition="classes")


@pytest.mark.parametrize("weights", [None, "org/diffusion", "tiny", "tiny-spatial", "pixels"])
def test_every_method_has_settings_of_its_loop(weights):
    for name, method in latent_diffusion.METHODS.items():
        if method.fits == "weights":
            own = latent_diffusion.training(name, weights, Train(epochs=3))
            assert train.Settings(**{k: v for k, v in own.items() if k not in ("batch_size", "steps")}).epochs == 3
            assert own["batch_size"] > 0
    with pytest.raises(RecipeError, match=r"pixels or tiny"):
        built(method="unconditional", weights="org/diffusion")


def replace_classes(classes):
    return SimpleNamespace(**{**vars(TASK), "classes": classes})


def test_the_record_says_what_made_the_images(trained):
    record = trained[0].record()
    assert record["latent_shape"] == [47] and record["prediction"] == "v_prediction" and record["steps"] == 8
    assert record["condition"]["by"] == "classes" and record["parameters"]["trainable"] > 0
    said = record["said"]
    sentences = [*said["input"], *said["sampling"]]
    assert "guidance of 2" in " ".join(sentences)
    assert all(s[0].isupper() and s.endswith(".") and "None" not in s and "{" not in s for s in sentences)
    assert said["subject"] == "A small latent diffusion model, trained from scratch,"


def test_a_prompt_that_contradicts_itself_or_the_range_of_a_number_is_refused(items):
    adapter = built(attributes=["age", "sex"])
    adapter.start_from(items)
    assert adapter.asked("lesion, age 50").groups == {"age": 50.0}
    with pytest.raises(RecipeError, match=r"age is a number, and 'old' is none; the model was trained on 40 to 87"):
        adapter.asked("lesion, age old")
    with pytest.raises(RecipeError, match="'no lesion' says something else of lesion"):
        adapter.asked("lesion, age 50, no lesion")
    assert adapter.asked("lesion, lesion").targets == {"lesion": 1.0}
