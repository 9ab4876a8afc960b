"""The command line as a whole: what its help lists, and that it says what each word of it means."""

from __future__ import annotations

import argparse
import shlex
import subprocess
from pathlib import Path

import pytest
import shtab

from trainrelay import cli
from trainrelay.cli.arguments import parser
from trainrelay.system.hints import use_config

INTERNAL = {"control", "overview", "promote", "train"}


def verbs() -> argparse._SubParsersAction[argparse.ArgumentParser]:
    return next(action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))


def test_every_option_of_every_verb_says_what_it_means() -> None:
    silent = [
        f"{name} {action.metavar or action.option_strings}"
        for name, verb in verbs().choices.items()
        for action in verb._actions
        if not (action.help or "").strip()
    ]
    assert not silent


def test_only_the_list_of_verbs_has_parsers_as_choices() -> None:
    """shtab, by which a shell completes our words, takes every such mapping for one."""
    actions = [action for verb in verbs().choices.values() for action in verb._actions]
    assert not [action for action in actions if isinstance(action.choices, dict)]


def completed(folder: Path, *words: str) -> set[str]:
    """What bash offers for the last of these words, by the script that shtab makes."""
    script = folder / "completion"
    if not script.exists():
        script.write_text(shtab.complete(parser(), "bash"))
    typed = shlex.join(words[:-1]), shlex.quote(words[-1])
    code = f"""
        shopt -s extglob progcomp
        source {shlex.quote(str(script))}
        COMP_WORDS=({typed[0]} {typed[1]}); COMP_CWORD={len(words) - 1}; COMP_LINE="${{COMP_WORDS[*]}}"
        _shtab_trainrelay; printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return {line.strip() for line in done.stdout.splitlines() if line.strip()}


@pytest.mark.process
def test_bash_completes_verbs_options_and_files(tmp_path: Path) -> None:
    """By the command of docs/howto.md, and nothing that nobody types."""
    (tmp_path / "run.log").touch()
    (tmp_path / "runs").mkdir()
    offered = completed(tmp_path, "trainrelay", "")
    assert {"plan", "analyze", "stop"} <= offered
    assert not offered & INTERNAL
    assert completed(tmp_path, "trainrelay", "analyze", "ru") == {"run.log", "runs"}
    assert completed(tmp_path, "trainrelay", "plan", "--configfile", "run.") == {"run.log"}
    assert completed(tmp_path, "trainrelay", "analyze", "--fail-on", "w") == {"warning"}
    assert "--when" in completed(tmp_path, "trainrelay", "plan", "--w")
    assert not completed(tmp_path, "trainrelay", "help", "") & INTERNAL


def test_what_the_workflow_calls_is_not_listed_but_works() -> None:
    """Nobody types these; their own --help explains them."""
    listed = {action.dest for action in verbs()._choices_actions}
    assert verbs().choices.keys() - listed == INTERNAL
    assert not [name for name in INTERNAL if f"\n    {name} " in parser().format_help()]
    assert parser().parse_args(["train", "r/s"]).where == "r/s"
    assert parser().parse_args(["help", "plan"]).about == "plan"


@pytest.mark.parametrize(
    ("verb", "remembers"), [("watch", True), ("report", True), ("export", True), ("plan", False)]
)
def test_verbs_for_what_runs_read_the_config_of_the_last_snakemake(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    verb: str,
    *,
    remembers: bool,
) -> None:
    """Unless you name one; every other verb is about config.yaml."""
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("out: runs\nmine: 1\n")
    use_config(Path("mine.yaml"))
    words = [verb, "r", "--csv"] if verb == "export" else [verb]
    assert cli.main(words) == 2
    assert ("mine.yaml: 2 problems" in capsys.readouterr().err) is remembers
    assert cli.main([*words, "--configfile", "other.yaml"]) == 2
    assert "other.yaml: " in capsys.readouterr().err


def test_without_a_word_it_lists_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert capsys.readouterr() == (parser().format_help(), "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["wach"], "argument VERB: got 'wach'; allowed: help, init, "),
        (["wach"], "; did you mean watch?"),
        (["help", "reprot"], "; did you mean report?"),
        (["init", "--from", "uniad2"], "argument --from: got 'uniad2'; allowed: "),
    ],
)
def test_a_word_that_is_not_known_is_told_with_those_that_are(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(words)
    err = capsys.readouterr().err
    assert said in err
    assert not [name for name in INTERNAL if f" {name}," in err]


@pytest.mark.parametrize(("verb", "said"), [("watch", "Stopped.\n"), ("train", "command again to resume.\n")])
def test_only_what_trains_is_said_to_resume(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str, said: str
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("trainrelay.cli.arguments.import_module", interrupted)
    assert cli.main([verb, *(["r/s"] if verb == "train" else [])]) == 75
    assert capsys.readouterr().err.endswith(said)
