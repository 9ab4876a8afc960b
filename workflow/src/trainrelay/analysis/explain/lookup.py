"""What a metric, or a field of a progress line, means in every knowledge file, without a log."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

from trainrelay.analysis.explain.groups import about, zero_words
from trainrelay.analysis.knowledge import every
from trainrelay.analysis.knowledge.model import Knowledge, KnownSign, Meaning, PrintedField, matching
from trainrelay.analysis.naming import split
from trainrelay.errors import UserError
from trainrelay.progress_lines.names import named, trained_and_evaluated
from trainrelay.records import Explained, Explanation, Section

EXAMPLES = ("loss_ce", "loss_coords", "track.frame_0_loss_cls_5", "eta", "lr", "'max mem'")
LONGEST = 60  # of what is repeated of an unknown word


def explain_words(words: Sequence[str]) -> Explanation:
    """A section per word and file. Raises UserError for a word that no file knows, with the nearest ones."""
    names, sections = dict[str, None](), list[Section]()
    for word in words:
        known = next(filter(_said, _spellings(word)), None)
        if known is None:
            raise UserError(_unknown(word))
        for (text, items), files in _said(known).items():
            names |= dict.fromkeys(files)
            sections.append(Section(f"{known} ({', '.join(files)})", text, items))
    alone = f"{', '.join(names)}; a name alone does not tell which model logs it"
    return Explanation(alone, tuple(sections))


def _spellings(word: str) -> Iterator[str]:
    """The word, without capitals, and without what says of which phase it is (`eval_loss`)."""
    yield from (word, word.lower())
    for phase in trained_and_evaluated({word: 0.0}):
        yield from map(named, phase)


def _said(word: str) -> dict[tuple[str, tuple[Explained, ...]], list[str]]:
    """What the files say of it, a heading and items, with the names of those that say the same."""
    found: dict[tuple[str, tuple[Explained, ...]], list[str]] = {}
    for knowledge in every():
        fields = [Explained(field.name, field.text) for field in knowledge.progress if _asked(field, word)]
        if items := (*_metric(knowledge, word), *fields):
            found.setdefault((_heading(knowledge, word), items), []).append(knowledge.name)
    return found


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
