"""`~`, `$NAME` and `${NAME}` in the paths of a config: expanded once, where your config is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from trainrelay.config import load_config, parse, save_snapshot, stage_paths, trainer_root
from trainrelay.errors import ConfigError
from trainrelay.training.submitted import of_this_job, submit


def config_with(value: str, *where: str) -> dict[str, Any]:
    """A config whose key at this place is `value`."""
    trainer = {"kind": "mmcv", "nproc_per_node": 2, "device": "cpu"}
    stage: dict[str, Any] = {
        "config": "a.py",
        "epochs": 2,
        "backends": ["gloo"],
        "promotion": {"target": "t"},
    }
    data: dict[str, Any] = {"runs": {"r": {"trainer": trainer, "stages": {"a": stage}}}}
    section = data
    for key in where[:-1]:
        section = section.setdefault(key, {})
    section[where[-1]] = value
    return data


TRAINER, STAGE = ("runs", "r", "trainer"), ("runs", "r", "stages", "a")
PATHS = [
    ("out",),
    *((*TRAINER, key) for key in ("root", "interpreter", "entry")),
    *((*STAGE, key) for key in ("config", "work_dir")),
    (*STAGE, "promotion", "target"),
]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/p")
    monkeypatch.setenv("DATA", "/data/$x")
    monkeypatch.delenv("NO_SUCH", raising=False)


def read_back(value: str, where: tuple[str, ...]) -> str:
    """What a key of the config is read as, also from a snapshot that is read elsewhere."""
    config = parse(config_with(value, *where))
    with pytest.MonkeyPatch.context() as elsewhere:
        elsewhere.setenv("HOME", "/home/other")
        assert parse(json.loads(config.model_dump_json(by_alias=True))) == config
    found: Any = config
    for key in where:
        found = found[key] if isinstance(found, Mapping) else getattr(found, key)
    return str(found)


@pytest.mark.parametrize("where", PATHS, ids=lambda where: where[-1])
def test_every_path_is_expanded(where: tuple[str, ...]) -> None:
    assert read_back("~/a", where) == "/home/p/a"
    assert read_back("$HOME/a", where) == "/home/p/a"
    assert read_back("${HOME}_b/$DATA", where) == "/home/p_b//data/$x"
    assert read_back("./~/a~b", where) == "./~/a~b"


@pytest.mark.parametrize("where", PATHS, ids=lambda where: where[-1])
@pytest.mark.parametrize(
    "path",
    ["x" * 256, "ä" * 128 + "/a", "$HOME/a/" + "x" * 256, "a/" * 1001],
    ids=["name", "bytes", "expanded", "all"],
)
def test_a_path_that_no_file_system_takes_is_refused(where: tuple[str, ...], path: str) -> None:
    with pytest.raises(ConfigError, match=rf"{where[-1]}: got .*; a path has at most 2000 bytes"):
        parse(config_with(path, *where))


@pytest.mark.parametrize("where", PATHS, ids=lambda where: where[-1])
def test_a_plain_dollar_is_written_twice(where: tuple[str, ...]) -> None:
    assert read_back("a$$HOME/b$$/$$1", where) == "a$HOME/b$/$1"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("$NO_SUCH/a", "the environment variable NO_SUCH is not set; a plain $ is $$"),
        ("a/${NO_SUCH}", "the environment variable NO_SUCH is not set; a plain $ is $$"),
        ("${HOME:-x}", "a plain $ is written $$"),
        ("a$/b", "a plain $ is written $$"),
        ("~no-such-user/a", "there is no such user; write ./~ for a folder of that name"),
    ],
)
@pytest.mark.parametrize("where", PATHS, ids=lambda where: where[-1])
def test_what_stands_for_nothing_is_one_sentence_that_names_the_key(
    where: tuple[str, ...], value: str, why: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(config_with(value, *where))
    assert len(refused.value.problems) == 1
    assert refused.value.problems[0].startswith(f"{'.'.join(where)}: got {value!r}; {why}")


def test_a_variable_that_is_empty_does_not_make_a_path_of_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCH", "")
    with pytest.raises(ConfigError, match="SCRATCH is not set"):
        parse(config_with("$SCRATCH/runs", "out"))


def test_braces_that_a_variable_brings_into_out_are_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCH", "/a{b}")
    with pytest.raises(ConfigError, match=r"out: got '/a\{b\}'"):
        parse(config_with("$SCRATCH", "out"))


@pytest.mark.parametrize("where", [(*STAGE, "options", "load_list"), (*TRAINER, "env", "X")])
def test_what_the_trainer_is_given_is_left_as_it_is(where: tuple[str, ...]) -> None:
    assert read_back("~/$HOME/${NO_SUCH}$$", where) == "~/$HOME/${NO_SUCH}$$"


def test_a_node_with_another_home_finds_the_same_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRAINRELAY_SUBMITTED", raising=False)
    typed = tmp_path / "config.yaml"
    typed.write_text(json.dumps(config_with("~/deep/$$HOME/$DATA", *STAGE, "work_dir")))
    config = load_config(typed)
    snapshot = save_snapshot(config)
    monkeypatch.setenv("TRAINRELAY_SUBMITTED", "")
    submit(config, {})
    monkeypatch.setenv("HOME", "/home/other")
    monkeypatch.delenv("DATA")
    assert load_config(snapshot) == config
    submitted = of_this_job()
    assert submitted is not None
    assert parse(submitted.config) == config
    assert str(stage_paths(config, "r", "a").work_dir) == "/home/p/deep/$HOME/data/$x"


def test_the_checkout_in_your_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert trainer_root(parse(config_with("~/UniAD", *TRAINER, "root")), "r", "a") == tmp_path / "UniAD"


@pytest.mark.parametrize("where", PATHS, ids=lambda where: where[-1])
def test_the_text_of_a_variable_is_not_expanded_again(
    monkeypatch: pytest.MonkeyPatch, where: tuple[str, ...]
) -> None:
    """As a shell reads it: neither a ~ of it, nor, in a home, a $; also when it is read back."""
    monkeypatch.setenv("X", "~")
    monkeypatch.setenv("HOME", "/home/$X")
    assert read_back("$X/a", where) == "./~/a"
    assert read_back("~/a", where) == "/home/$X/a"
