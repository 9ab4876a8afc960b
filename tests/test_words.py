"""The words that nothing a person reads may use: messages, help texts, docstrings, comments and docs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# What must not be written, as a regular expression in which a space is any gap, and what to write instead.
INSTEAD = {
    r"mend(s|ed|ing|able)?": "fix",
    r"types? the same": "run the same command again",
    r"(go|goes|going|went|gone) on": "continues, resumes, retries, runs",
    r"anew|once more": "again, from scratch, retry",
    r"stands?(?! for\b|-)": "is",
    r"(where|what)[^.;:]{0,24} lies?(?! (within|between|above|below))|lies? (on|there|beside|here)": "is",
    r"(is|are|was|were) (said|told(?! apart))": "is set by, is shown",
    r"a person('s)?|somebody('s)?": "you, the user, an override",
    r"(un)?sound": "valid, invalid",
    r"(?<!epoch\s)hand(s|ed|ing)? on": "promotes, is promoted",  # but for a param, which Snakemake compares
    r"sets? aside|setting aside": "archived",
    r"(take|takes|taken|taking) back|took back": "reverted",
    r"foreign (work|check|train|file|folder|target)\w*": "not created by trainrelay",
    r"what (a|the|each|every) (training|stage) is(?! \w)": "the training's identity",
    r"(bring|brings|brought|bringing) (no|a|any)( new)? checkpoint|brought none": "saved no new checkpoint",
    r"(the )?finite (numbers|world)": "the loss became NaN or Inf",
    r"mistakes? before the first step": "startup error",
    r"(stand|stood)s? still": "no progress, no output",
    r"asked to end|wanted: (an?|at|the)": "stop requested; expected",
    r"in vain|barren": "without a new checkpoint",
    r"nothing speaks against|speaks? against": "(drop it)",
    r"a (line|sentence|paragraph) each": "one line per check",
    r"all the same|in spite of": "anyway, despite",
    r"where there (is|are|was|were) none": "if there is none",
    r"of (its|their) own": "its own, separate",
    r"for ever|without end": "indefinitely",
    r"at one glance": "at a glance",
    r"reference user('s)?": "(drop it)",
    r"the plan says": "the plan shows",
    r"nothing has measured": "unknown until the first attempt has run",
    r"by hand": "yourself, manually",
    r"(never|is) trained again": "retrained",
    r"(stand|stood)s? (there )?twice": "is listed twice, duplicate key",
    r"do(es)? not end even": "survived",
    r"word (that lets|on each)": "an override, a result",
    r"asking on|keeps? asking on": "retrying",
    r"another leg": "a follow-up job",
}  # fmt: skip
GAP = r"""(?:[\s#|]|"\s*\n\s*f?")+"""  # also from one line of a comment or a message to its next
BANNED = {
    re.compile(rf"(?<![\w-])(?:{words.replace(' ', GAP)})(?![\w-])", re.I): better
    for words, better in INSTEAD.items()
}


def texts() -> Iterator[Path]:
    for pattern in (
        *(
            "workflow/src/**/*.py",
            "plugin/src/**/*.py",
            "plugin/*.md",
            "workflow/src/**/*.yaml",
            "workflow/src/**/*.html*",
            "workflow/rules/*.smk",
        ),
        *(
            "workflow/report/*",
            "workflow/schemas/*",
            "workflow/demo/*.yaml",
            "profiles/*/*.yaml",
            "scripts/*.*",
        ),
        *("*.yaml", "README.md", "CONTRIBUTING.md", "docs/**/*.md", "workflow/Snakefile"),
        *("Makefile", ".ci/run", "config/README.md"),
    ):
        yield from ROOT.glob(pattern)


def found(text: str) -> Iterator[tuple[int, str, str]]:
    """Line, words and what to write instead."""
    for words, better in BANNED.items():
        for match in words.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, " ".join(match[0].split()), better


def test_no_text_that_is_read_uses_a_word_of_our_own() -> None:
    files = list(texts())
    assert len(files) > 100, "the table of files leaves too little"
    hits = [
        f"{path.relative_to(ROOT)}:{line}: {words!r}: write {better}"
        for path in files
        for line, words, better in sorted(found(path.read_text(encoding="utf-8")))
    ]
    assert not hits, "\n".join(["", *hits])


@pytest.mark.parametrize(
    "text",
    [
        'say("3 to mend")',
        '"then type the"\n        " same again"',
        'f"it goes"\n    f" on from"',
        "# what it is\n# said by a person\n# and is\n#   told",
        "All the\nsame",
        "where the checkpoints lie",
    ],
)
def test_the_words_are_seen_over_the_ends_of_lines(text: str) -> None:
    assert list(found(text))


@pytest.mark.parametrize(
    "text",
    [
        "amend",
        "where the loss lies above the other",
        "cannot be told apart",
        "stands for",
        "a stand-in",
        "personal",
        "hands_on",
        "newest_sound",
        "applies",
        "a personal",
    ],
)
def test_words_that_only_look_like_them_are_left_alone(text: str) -> None:
    assert not list(found(text))
