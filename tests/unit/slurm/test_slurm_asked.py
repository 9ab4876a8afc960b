"""One question to Slurm, and how its failure is told; with small programs in the place of Slurm's."""

from __future__ import annotations

import sys

import pytest

from trainrelay.errors import SlurmError
from trainrelay.slurm.ask import ask, sentence
from trainrelay.slurm.environment import for_asking, scrubbed

LOGIN = {"PATH": "/bin", "SLURM_CONF": "/c", "SBATCH_ACCOUNT": "me", "SQUEUE_FORMAT": "%i", "HOME": "/h"}
JOB = {**LOGIN, "SLURM_JOB_ID": "7", "SLURMD_NODENAME": "n1", "SRUN_X": "1", "CUDA_VISIBLE_DEVICES": ""}


@pytest.mark.process
def test_all_that_a_command_prints_is_the_answer() -> None:
    code = "import sys; print('out'); print('to start at', file=sys.stderr)"
    assert ask([sys.executable, "-c", code]) == "out\nto start at\n"


@pytest.mark.process
def test_its_input_is_the_text_given() -> None:
    assert ask([sys.executable, "-c", "print(input())"], text="a b\n") == "a b\n"


@pytest.mark.process
def test_a_failure_is_one_sentence_without_escapes() -> None:
    said = "sbatch: error: \x1b[31mwhy\nallocation failure: what"
    code = f"import sys; sys.exit({said!r})"
    with pytest.raises(SlurmError, match=r": what; sbatch: error:  \[31mwhy$"):
        ask([sys.executable, "-c", code])


@pytest.mark.process
def test_a_command_that_hangs_is_ended() -> None:
    with pytest.raises(SlurmError, match="gave no answer within 0 s"):
        ask([sys.executable, "-c", "import time; time.sleep(600)"], deadline_s=0.2)


@pytest.mark.process
def test_a_command_that_is_not_there_is_named() -> None:
    with pytest.raises(SlurmError, match="no-such-program cannot be started"):
        ask(["no-such-program"])


def test_the_last_line_tells_what_and_those_before_why() -> None:
    said = "sbatch: error: invalid partition specified: x\nsbatch: error: Batch job submission failed: no\n"
    assert sentence("sbatch", said) == "Batch job submission failed: no; invalid partition specified: x"
    assert sentence("sbatch", "\n \n") == "it failed and gave no reason"
    assert len(sentence("sbatch", "x" * 10000)) == 300


def test_nothing_of_an_allocation_is_handed_on_but_where_slurm_is_configured() -> None:
    assert scrubbed(JOB) == {"PATH": "/bin", "SLURM_CONF": "/c", "HOME": "/h"}
    assert for_asking(JOB) == scrubbed(JOB)


def test_outside_of_one_a_users_own_devices_stay_and_defaults_are_asked_with() -> None:
    login = {**LOGIN, "CUDA_VISIBLE_DEVICES": "1"}
    assert scrubbed(login) == {"PATH": "/bin", "SLURM_CONF": "/c", "HOME": "/h", "CUDA_VISIBLE_DEVICES": "1"}
    assert for_asking(login) == {name: value for name, value in login.items() if name != "SQUEUE_FORMAT"}
