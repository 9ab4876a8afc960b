"""A plain shell rule's command on the node, without a second Snakemake, which misses nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from test_command import Node, end_of, node, trainer
from test_executor_here import Here, here

from snakemake_executor_plugin_submitit.direct import Direct

__all__ = ["here", "node"]

# A rule whose command says who started it; the rules below it need what only a Snakemake does.
SNAKEFILE = """\
who = "tr '\\\\0' ' ' </proc/$PPID/cmdline"
envvars: "DECLARED"
rule all:
    input: expand("{name}.out", name=["plain", "place", "timed", "folder"])
rule plain:
    output: "plain.out"
    log: "logs/of/plain.log"
    threads: 3
    shell: who + " >{output}; echo $OMP_NUM_THREADS $TMPDIR $DECLARED >{log};"
        " false | true || echo piped >>{log}"
rule place:
    output: "place.out"
    shell: who + " >{output}; echo {resources.tmpdir} >>{output}"
rule timed:
    output: "timed.out"
    benchmark: "timed.tsv"
    shell: who + " >{output}"
rule folder:
    output: "folder.out", directory("made")
    shell: who + " >{output[0]}; mkdir -p {output[1]}"
rule half:
    output: "half.out"
    shell: "echo half >{output}; exit 3"
rule needs:
    input: "plain.out"
    output: "needs.out"
    shell: "rm {input}; touch {output}"
"""


def direct(folder: Path, line: str = "true", latency_s: int = 0, keep_incomplete: bool = False) -> Direct:
    inputs, outputs, logs, marks = (
        (str(folder / name),) for name in ("in/in", "out/out", "logs/log", "marks/mark")
    )
    return Direct(line, {}, 1, inputs, outputs, logs, marks, latency_s, keep_incomplete)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One in which an earlier run was killed."""
    for name in ("in/in", "out/out", "logs/log", "marks/mark"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    return tmp_path


def test_plain_rules_run_without_a_second_snakemake_and_the_others_with_one(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DECLARED", "a value")
    (here.folder / "Snakefile").write_text(SNAKEFILE, encoding="utf-8")
    status, said = here.run("--submitit-direct")
    assert status == 0, said
    with_one = {
        name: "snakemake" in (here.folder / f"{name}.out").read_text()
        for name in ("plain", "place", "timed", "folder")
    }
    assert with_one == {"plain": False, "place": True, "timed": True, "folder": True}
    log = (here.folder / "logs/of/plain.log").read_text().splitlines()
    assert log == [f"3 {os.environ.get('TMPDIR', '/tmp')} a value", "piped"]
    assert not list((here.folder / ".snakemake/incomplete").iterdir())


def test_a_failed_command_leaves_no_output_and_tells_its_own_status(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DECLARED", "a value")
    (here.folder / "Snakefile").write_text(SNAKEFILE, encoding="utf-8")
    status, said = here.run("--submitit-direct", "half.out")
    assert status == 1
    assert "its command ended with exit status 3" in said
    assert not (here.folder / "half.out").exists()


def test_a_run_starts_without_what_the_last_one_left(folder: Path) -> None:
    direct(folder).prepare()
    assert not (folder / "out/out").exists()
    assert not (folder / "logs/log").exists()
    assert (folder / "marks/mark").exists()


def test_where_no_controller_is_left_the_next_finds_what_is_true(folder: Path) -> None:
    """An output that is done is not marked as incomplete; that of a failed command is gone."""
    direct(folder).finish(0)
    assert (folder / "out/out").exists()
    assert not (folder / "marks/mark").exists()
    direct(folder, keep_incomplete=True).finish(1)
    assert (folder / "out/out").exists()
    direct(folder).finish(1)
    assert not (folder / "out/out").exists()


def test_a_missing_input_and_a_protected_output_start_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "in/in").unlink()
    with pytest.raises(OSError, match=r"no .*/in/in after 0 s"):
        direct(folder).prepare()
    (folder / "in/in").touch()
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(OSError, match=r"its output .*/out/out is write-protected"):
        direct(folder).prepare()
    assert (folder / "out/out").exists()


@pytest.mark.parametrize("rule", [f"bash -c '{trainer()}'", f"bash -c '{trainer()}; exit 1'"])
def test_a_warning_reaches_a_trainer_that_no_snakemake_started(node: Node, rule: str) -> None:
    """Also where no shell is left between ours and the trainer."""
    process = node.trains(rule, bare=True)
    process.send_signal(15)
    assert end_of(process) == ("left", "1")
    assert node.events() == ["ready", "saved", "requeued"]
