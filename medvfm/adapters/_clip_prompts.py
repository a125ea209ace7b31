"""What a class is called when a model is asked in words: synonyms in templates, or sentences for and against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from medvfm.core.errors import RecipeError, nearest
from medvfm.models.text.sentences import spelled
from medvfm.models.text.templates import templates_of

WORDING, PARAPHRASED = "wording=", "paraphrased"


class Sentences(BaseModel):
    """Whole sentences that are asked as they are: for a class, and against it (CheXzero's pairs, Tiu et al. 2022)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    positive: tuple[str, ...]
    negative: tuple[str, ...] = ()


Words = str | tuple[str, ...] | Sentences


@dataclass(frozen=True)
class Asked:
    """Prompts for a class, and against it (none where classes exclude each other)."""

    positive: tuple[str, ...]
    negative: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClassPrompts:
    """Prompts of every class.

    templates    `{}` is the class's name or synonym
    words        class to its names, or sentences; a class without an entry is called by its own name
    paraphrases  the same in other words, for the rows `paraphrased`
    exclusive    exactly one class is right, so that classes are asked against each other and not against their absence
    """

    classes: tuple[str, ...]
    templates: tuple[str, ...]
    words: Mapping[str, Words]
    paraphrases: Mapping[str, Words]
    exclusive: bool

    @classmethod
    def of(
        cls,
        classes: Sequence[str],
        templates: str | Sequence[str] | None,
        words: Mapping[str, Words],
        paraphrases: Mapping[str, Words],
        *,
        exclusive: bool,
    ) -> ClassPrompts:
        """Checked: every entry is of a class, says something, and no two classes are asked in the same words."""
        found = cls(
            tuple(classes),
            templates_of(templates, "adapter.options.templates"),
            dict(words),
            dict(paraphrases),
            exclusive,
        )
        for key, given in (("prompts", words), ("paraphrases", paraphrases)):
            for name, said in given.items():
                if name not in classes:
                    raise RecipeError(
                        f"the task has no class {name!r}; {nearest(name, classes)}", where=f"adapter.options.{key}"
                    )
                if not _positive(said) or not all(map(str.strip, _listed(said))):
                    raise RecipeError(f"an empty prompt for {name}", where=f"adapter.options.{key}.{name}")
        for key, variant in (("prompts", None), *([("paraphrases", PARAPHRASED)] if paraphrases else [])):
            found._refuse_same_words(variant, f"adapter.options.{key}")
        return found

    def _refuse_same_words(self, variant: str | None, where: str) -> None:
        taken: dict[str, str] = {}
        for name, asked in self.asked(variant).items():
            against = set(map(spelled, asked.negative))
            for prompt in asked.positive:
                other = taken.setdefault(spelled(prompt), name)
                if other != name:
                    raise RecipeError(
                        f"the classes {other} and {name} are asked in the same words: {prompt!r}",
                        where=where,
                        remedy="give each its own",
                    )
                if spelled(prompt) in against:
                    raise RecipeError(f"{name} is asked for and against in the same words: {prompt!r}", where=where)

    def asked(self, variant: str | None = None) -> dict[str, Asked]:
        """Class to its prompts; of the variant `paraphrased`, or of one wording alone."""
        if variant == PARAPHRASED:
            return {c: self._of(c, self.paraphrases.get(c, self.words.get(c, c)), self.templates) for c in self.classes}
        if variant is not None and variant.startswith(WORDING):
            wording = variant.removeprefix(WORDING)
            if wording in self.templates:
                return {c: self._of(c, self.words.get(c, c), (wording,)) for c in self.classes}
            place = self._sentences().index(wording)
            return {c: _only(self._of(c, self.words.get(c, c), self.templates), place) for c in self.classes}
        return {c: self._of(c, self.words.get(c, c), self.templates) for c in self.classes}

    def wordings(self) -> list[str]:
        """Templates one by one; where whole sentences are asked, the sentences of the first class."""
        single = self.templates if self._in_templates() else self._sentences()
        return [f"{WORDING}{wording}" for wording in single] if len(single) > 1 else []

    def variants(self) -> list[str]:
        return [PARAPHRASED] if self.paraphrases else []

    def names(self, variant: str | None = None) -> dict[str, str]:
        """Class to the one name that a learned context stands before, and `no NAME` against it."""
        said = {**self.words, **(self.paraphrases if variant == PARAPHRASED else {})}
        return {c: _plain(_positive(said.get(c, c))[0]) for c in self.classes}

    def _of(self, name: str, words: Words, templates: Sequence[str]) -> Asked:
        if isinstance(words, Sentences):
            negative = words.negative or (() if self.exclusive else _filled([f"no {_plain(name)}"], templates))
            return Asked(words.positive, negative)
        called = [_plain(word) for word in _listed(words)]
        against = () if self.exclusive else _filled([f"no {word}" for word in called], templates)
        return Asked(_filled(called, templates), against)

    def _in_templates(self) -> bool:
        return not all(isinstance(self.words.get(c), Sentences) for c in self.classes)

    def _sentences(self) -> tuple[str, ...]:
        found = self.words.get(self.classes[0])
        return found.positive if isinstance(found, Sentences) else ()


def _filled(names: Sequence[str], templates: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(template.replace("{}", name) for name in names for template in templates))


def _only(asked: Asked, place: int) -> Asked:
    """The one prompt at a place, or the last where there are fewer."""
    pick = asked.positive[min(place, len(asked.positive) - 1)]
    return Asked((pick,), asked.negative[:1] if len(asked.negative) <= place else (asked.negative[place],))


def _listed(words: Words) -> tuple[str, ...]:
    if isinstance(words, Sentences):
        return (*words.positive, *words.negative)
    return (words,) if isinstance(words, str) else tuple(words)


def _positive(words: Words) -> tuple[str, ...]:
    return words.positive if isinstance(words, Sentences) else _listed(words)


def _plain(name: str) -> str:
    """`pleural_effusion` as people say it."""
    return name.replace("_", " ")
