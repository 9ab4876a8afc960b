"""What the numbers of a log mean, in words: as Markdown, and the words and colours that the page shares."""

from __future__ import annotations

from collections.abc import Iterator

from trainrelay.records import Explained, Explanation, Section, Sign
from trainrelay.report.card import Tone
from trainrelay.report.escape import code, text
from trainrelay.report.formatting import sentence

SEEN: dict[bool | None, str] = {True: "seen", False: "not seen", None: "unclear"}
MARKS: dict[Tone, str] = {"ok": "✓", "warn": "!"}
KINDS = {"good": "Good signs", "warning": "Warning signs"}


def explanation_markdown(title: str, explanation: Explanation) -> str:
    """An explanation as Markdown, ending in a newline."""
    blocks = [f"## {text(title)}", text(known_as(explanation))]
    for section in explanation.sections:
        blocks += _section(section)
    return "\n\n".join(blocks) + "\n"


def known_as(explanation: Explanation) -> str:
    """Which knowledge files the explanation comes from."""
    if explanation.model:
        return f"Explained with what is known of {sentence(explanation.model)}"
    return "No knowledge file fits these metrics; this applies to any training."


def by_kind(section: Section) -> list[tuple[str, list[Sign]]]:
    """A section's signs under their headings, the good ones first."""
    found = [(title, [sign for sign in section.signs if sign.kind == kind]) for kind, title in KINDS.items()]
    return [(title, signs) for title, signs in found if signs]


def sign_tone(sign: Sign) -> Tone:
    """A warning if a warning sign is seen, else at most a tick."""
    if sign.seen is None:
        return "idle"
    if sign.kind == "warning":
        return "warn" if sign.seen else "ok"
    return "ok" if sign.seen else "idle"


def sign_mark(sign: Sign) -> str:
    """What the eye finds before it reads: a tick where all is well, whichever kind of sign it is."""
    return "?" if sign.seen is None else MARKS.get(sign_tone(sign), "✗")


def _section(section: Section) -> Iterator[str]:
    yield f"### {text(section.title)}"
    yield from (text(part) for part in section.text.split("\n\n") if part.strip())
    if section.items:
        yield "\n".join(map(_item, section.items))
    for title, signs in by_kind(section):
        yield f"**{title}**"
        yield "\n".join(map(_sign, signs))


def _item(item: Explained) -> str:
    said = f": {text(sentence(item.text))}" if item.text else ""
    facts = [f"  - {text(word)}: {text(fact)}" for word, fact in item.facts]
    return "\n".join([f"- {code(item.name)}{said}", *facts])


def _sign(sign: Sign) -> str:
    said = f"{text(sentence(sign.text))} {text(sentence(sign.evidence))}".rstrip()
    return f"- {sign_mark(sign)} **{SEEN[sign.seen]}**: {said}"
