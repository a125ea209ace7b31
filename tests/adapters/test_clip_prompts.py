"""What a class is called: templates, synonyms, sentences for and against, and what is refused."""

from __future__ import annotations

import pytest

from medvfm.adapters._clip_prompts import Asked, ClassPrompts, Sentences
from medvfm.core.errors import RecipeError
from medvfm.models.text.templates import TEMPLATES, templates_of


def prompts(classes=("heart", "lung"), templates=("{}", "a scan of {}"), words=None, paraphrases=None, exclusive=True):
    return ClassPrompts.of(classes, templates, words or {}, paraphrases or {}, exclusive=exclusive)


def test_every_synonym_goes_into_every_template():
    found = prompts(words={"heart": ("heart", "cardiac shadow")}).asked()
    assert found["heart"] == Asked(("heart", "a scan of heart", "cardiac shadow", "a scan of cardiac shadow"))
    assert found["lung"] == Asked(("lung", "a scan of lung"))  # a class without an entry has its own name


def test_a_class_that_excludes_no_other_is_asked_against_its_absence():
    found = prompts(exclusive=False, words={"lung": ("lung", "air")}).asked()
    assert found["heart"].negative == ("no heart", "a scan of no heart")
    assert found["lung"].negative == ("no lung", "a scan of no lung", "no air", "a scan of no air")


def test_underscores_are_spoken_as_spaces():
    found = prompts(("pleural_effusion",), exclusive=False)
    assert found.asked()["pleural_effusion"] == Asked(
        ("pleural effusion", "a scan of pleural effusion"), ("no pleural effusion", "a scan of no pleural effusion")
    )
    assert found.names() == {"pleural_effusion": "pleural effusion"}


def test_sentences_are_asked_as_they_are():
    words = {"heart": Sentences(positive=("A big heart.",), negative=("No big heart.",))}
    found = prompts(words=words, exclusive=False).asked()
    assert found["heart"] == Asked(("A big heart.",), ("No big heart.",))
    without = {"heart": Sentences(positive=("A big heart.",))}
    assert prompts(words=without, exclusive=False).asked()["heart"].negative == ("no heart", "a scan of no heart")
    assert prompts(words=without).asked()["heart"].negative == ()


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_shipped_sets_take_a_class_in_each_template(name):
    found = prompts(templates=name).asked()["heart"].positive
    assert len(found) == len(set(found)) == len(TEMPLATES[name]) >= 4
    assert all("heart" in prompt and "{" not in prompt for prompt in found)
    assert templates_of(None, "here") == TEMPLATES["general"]


def test_templates_one_by_one_are_the_wordings():
    found = prompts(words={"heart": ("heart", "cor")})
    assert found.wordings() == ["wording={}", "wording=a scan of {}"]
    assert found.asked("wording=a scan of {}")["heart"].positive == ("a scan of heart", "a scan of cor")
    assert prompts(templates=("{}",)).wordings() == []  # nothing to compare


def test_sentences_one_by_one_are_the_wordings_where_nothing_goes_into_templates():
    words = {
        "heart": Sentences(positive=("A big heart.", "The heart is big."), negative=("No big heart.",)),
        "lung": Sentences(positive=("Wide lungs.",), negative=("Small lungs.", "No wide lungs.")),
    }
    found = prompts(words=words, exclusive=False)
    assert found.wordings() == ["wording=A big heart.", "wording=The heart is big."]
    assert found.asked("wording=The heart is big.") == {
        "heart": Asked(("The heart is big.",), ("No big heart.",)),
        "lung": Asked(("Wide lungs.",), ("No wide lungs.",)),
    }


def test_paraphrases_stand_in_for_the_classes_that_have_some():
    found = prompts(words={"lung": ("lung",)}, paraphrases={"heart": ("cor", "cardiac shadow")})
    assert found.variants() == ["paraphrased"]
    again = found.asked("paraphrased")
    assert again["heart"].positive == ("cor", "a scan of cor", "cardiac shadow", "a scan of cardiac shadow")
    assert again["lung"] == found.asked()["lung"]
    assert found.names("paraphrased") == {"heart": "cor", "lung": "lung"}
    assert prompts().variants() == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"templates": ("a scan",)}, r"does not have \{\} once"),
        ({"templates": ("{} and {}",)}, r"does not have \{\} once"),
        ({"templates": ()}, "an empty list of templates"),
        ({"templates": "chest_xry"}, "did you mean 'chest_xray'"),
        ({"words": {"hart": "cor"}}, r"adapter\.options\.prompts.*'hart'.*did you mean 'heart'"),
        ({"paraphrases": {"lungs": "air"}}, r"adapter\.options\.paraphrases.*did you mean 'lung'"),
        ({"words": {"heart": " "}}, "an empty prompt for heart"),
        ({"words": {"heart": ("cor", "")}}, "an empty prompt for heart"),
        ({"words": {"heart": ()}}, "an empty prompt for heart"),
        ({"words": {"heart": Sentences(positive=())}}, "an empty prompt for heart"),
        ({"words": {"heart": Sentences(positive=(), negative=("No heart.",))}}, "an empty prompt for heart"),
        ({"words": {"heart": Sentences(positive=("A heart.",), negative=("",))}}, "an empty prompt for heart"),
        ({"words": {"heart": "LUNG "}}, "heart and lung are asked in the same words"),
        ({"classes": ("pleural_effusion", "pleural effusion")}, "are asked in the same words"),
        ({"paraphrases": {"heart": "lung"}}, "heart and lung are asked in the same words"),
        ({"words": {"heart": Sentences(positive=("One.",), negative=("one. ",))}}, "for and against in the same words"),
    ],
)
def test_what_cannot_be_asked_is_refused(given, said):
    with pytest.raises(RecipeError, match=said):
        prompts(**given)
