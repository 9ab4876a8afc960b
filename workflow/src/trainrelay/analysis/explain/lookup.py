"""What a metric, or a field of a progress line, means in every knowledge file, without a log."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

from trainrelay.analysis.explain.groups import about, zero_words
from trainrelay.analysis.knowledge import every
from trainrelay.analysis.knowledge.model import Knowledge, KnownSign, Meaning, PrintedField, matching
from trainrelay.analysis.naming import split
from trainrelay.errors import UserError
from trainrelay.records import Explained, Explanation, Section

EXAMPLES = ("loss_ce", "loss_coords", "track.frame_0_loss_cls_5", "eta", "lr", "'max mem'")
LONGEST = 60  # of what is repeated of an unknown word


def explain_words(words: Sequence[str]) -> Explanation:
    """A section per word and file. Raises UserError for a word that no file knows, with the nearest ones."""
    found = [(word, list(_sections(word)) or list(_sections(word.lower()))) for word in words]
    for word, sections in found:
        if not sections:
            raise UserError(_unknown(word))
    names = dict.fromkeys(name for _, sections in found for name, _ in sections)
    alone = f"{', '.join(names)}; a name alone does not tell which model logs it"
    return Explanation(alone, tuple(section for _, sections in found for _, section in sections))


def _sections(word: str) -> Iterator[tuple[str, Section]]:
    """The name of a file, and its section."""
    for knowledge in every():
        fields = [Explained(field.name, field.text) for field in knowledge.progress if _asked(field, word)]
        items = (*_metric(knowledge, word), *fields)
        if items:
            title = f"{word} ({knowledge.name})"
            yield knowledge.name, Section(title, _heading(knowledge, word), items)


def _heading(knowledge: Knowledge, word: str) -> str:
    meaning = knowledge.known(word)
    group = knowledge.groups.get(meaning.group) if meaning else None
    return group.text if group else ""


def _asked(field: PrintedField, word: str) -> bool:
    return any(matching(f"(?i:{pattern})", word.strip()) for pattern in field.words)


def _metric(knowledge: Knowledge, word: str) -> Iterator[Explained]:
    meaning = knowledge.known(word)
    if meaning is None:
        return
    facts = [*about(knowledge, word), *_coefficient(knowledge, word), *_place(word, meaning)]
    if zero := zero_words(meaning):
        facts.append(("zero", zero))
    facts += [(f"{sign.kind} sign", sign.text) for sign in knowledge.signs if _concerns(sign, word)]
    text = ": ".join(filter(None, (meaning.label, meaning.meaning)))
    yield Explained(word, text, tuple(facts))


def _coefficient(knowledge: Knowledge, word: str) -> Iterator[tuple[str, str]]:
    if argument := knowledge.coefficients.get(split(word).base):
        yield "coefficient", f"the trainer's argument {argument}"


def _place(word: str, meaning: Meaning) -> Iterator[tuple[str, str]]:
    """Which layer, and on which side of the coefficient, where the name tells it."""
    parts = split(word)
    if parts.layer is not None and meaning.family.endswith(("_*", "_unscaled")):
        counted = f"decoder layer {parts.layer}, counted from 0"
        yield "layer", f"{counted}; an auxiliary loss, which should decrease too"
    if parts.unscaled:
        yield "unscaled", "the raw value, shown for debugging; no part of the total"


def _concerns(sign: KnownSign, word: str) -> bool:
    return any(pattern and matching(pattern, word) for pattern in (*sign.falls, sign.about))


def _unknown(word: str) -> str:
    shown = word if len(word) <= LONGEST else word[: LONGEST - 1] + "…"
    near = _with_group(word) or difflib.get_close_matches(word.lower(), _names(), n=3, cutoff=0.5)
    meant = f"Did you mean {' or '.join(near)}? " if near else ""
    return (
        f"{shown!r}: no such file and no known metric. {meant}Run `trainrelay explain LOG`"
        " with a training log for all its metrics, or one of: " + ", ".join(EXAMPLES)
    )


def _with_group(word: str) -> list[str]:
    """The names that lack nothing but their group: `track.frame_0_loss_cls_0` of `frame_0_loss_cls_0`."""
    return [
        name
        for knowledge in every()
        for group in knowledge.groups
        if knowledge.known(name := f"{group}.{word.lower()}")
    ]


def _names() -> list[str]:
    """What may have been meant: names of metrics and of fields."""
    fields = [field.name for knowledge in every() for field in knowledge.progress]
    metrics = [meaning for knowledge in every() for meaning in knowledge.metrics]
    names = [name for meaning in metrics for name in meaning.examples or [meaning.pattern]]
    return list(dict.fromkeys([*names, *fields]))
