"""The planted defects still fit the code: each can be planted, and its test is there."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest

from support.defects import DEFECTS, Defect

REPOSITORY = Path(__file__).resolve().parents[2]
each_defect = pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)


@each_defect
def test_the_old_text_stands_once_and_the_new_one_is_another(defect: Defect) -> None:
    assert (REPOSITORY / defect.file).read_text().count(defect.old) == 1
    assert defect.new != defect.old


@each_defect
def test_a_planted_defect_is_still_python(defect: Defect) -> None:
    """Else its test would fail for nothing but the syntax."""
    if defect.file.endswith(".py"):
        ast.parse((REPOSITORY / defect.file).read_text().replace(defect.old, defect.new))


@functools.cache
def statements(path: str) -> list[ast.stmt]:
    return ast.parse((REPOSITORY / path).read_text()).body


@each_defect
def test_the_named_test_exists(defect: Defect) -> None:
    path, *names = defect.test.split("::")
    body = statements(path)
    for name in names:
        body = next((node.body for node in body if getattr(node, "name", None) == name), [])
    assert body, f"{defect.test} does not exist"


def test_no_two_defects_have_one_name() -> None:
    assert len({defect.name for defect in DEFECTS}) == len(DEFECTS)
