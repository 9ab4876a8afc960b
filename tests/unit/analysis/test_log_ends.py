"""How a training ended, as its log shows it: one vocabulary with the supervisor's."""

from __future__ import annotations

import json

import pytest

from support.mmcv_logs import mmcv_text
from trainrelay.analysis import analyze, read
from trainrelay.cli import main
from trainrelay.report import analysis_markdown

TRACEBACK = "Traceback (most recent call last):\n"
FRAME = '  File "train.py", line 3, in main\n    step()\n'
COMM = f"{TRACEBACK}{FRAME}RuntimeError: NCCL communicator was aborted on rank 1.\n"
ELASTIC = (
    "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n" + "=" * 60 + "\nRoot Cause:\n"
)
FAILED = (
    "ERROR:torch.distributed.elastic.multiprocessing.api:failed (exitcode: {}) local_rank: 1 (pid: 9) of x\n"
)


@pytest.fixture
def ended(tmp_path):
    """The progress finding of a log that stops in its second epoch, with these lines after it."""

    def judge(lines, after=""):
        path = tmp_path / "train.log"
        path.write_text(mmcv_text(epochs=3, stop=(2, 40)) + lines + after)
        return next(one for one in analyze(read([path])).findings if one.check == "progress")

    return judge


@pytest.mark.parametrize(
    ("lines", "end"),
    [
        (
            "slurmstepd: error: *** JOB 31 ON n1 CANCELLED AT 2024-05-01T12:00:00 DUE TO TIME LIMIT ***\n",
            "time-limit",
        ),
        (
            "slurmstepd: error: *** STEP 31.0 ON n1 CANCELLED AT 2024-05-01T12:00:00 DUE TO PREEMPTION ***\n",
            "preempted",
        ),
        ("slurmstepd: error: *** JOB 31 ON n1 CANCELLED AT 2024-05-01T12:00:00 ***\n", "killed"),
        ("slurmstepd: error: Detected 1 oom-kill event(s) in StepId=31.batch.\n", "oom-host"),
        ("srun: error: n1: task 0: Out Of Memory\n", "oom-host"),
        ("dist_train.sh: line 9: 4711 Killed    python train.py\n", "killed"),
        (
            "[2031-01-02 03:04:05,6] [INFO] [launch.py:328:h] Main process received SIGINT, exiting\n",
            "killed",
        ),
        ("Segmentation fault (core dumped)\n", "trainer-bug"),
        ("Loss is nan, stopping training\n", "diverged"),
        (
            f"{TRACEBACK}{FRAME}RuntimeError: CUDA error: an illegal memory access was encountered\n",
            "trainer-bug",
        ),
        (f"{TRACEBACK}{FRAME}RuntimeError: CUDA error: uncorrectable ECC error encountered\n", "node"),
        (f"{TRACEBACK}{FRAME}torch.cuda.OutOfMemoryError: CUDA out of memory.\n", "oom-gpu"),
        ("RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB\n", "oom-gpu"),
        (
            f"{TRACEBACK}{FRAME}RuntimeError: [../gloo/x.cc:8] Timed out waiting 1800000ms for recv\n",
            "comm",
        ),
        (
            "[rank1]:[E1218 20:27:21.4 ProcessGroupNCCL.cpp:629] [Rank 1] Watchdog caught collective"
            " operation timeout: WorkNCCL(SeqNum=8, OpType=ALLREDUCE) ran for 600081 milliseconds\n",
            "comm",
        ),
        (FAILED.format(-9) + TRACEBACK + FRAME + ELASTIC, "killed"),
        (FAILED.format(1) + TRACEBACK + FRAME + ELASTIC, "trainer-bug"),
        (COMM + f"{TRACEBACK}{FRAME}ValueError: bad sample\n" + ELASTIC, "trainer-bug"),
        (COMM + FAILED.format(-6) + ELASTIC, "comm"),
    ],
)
def test_the_end_of_a_log_has_the_supervisors_name_and_advice(ended, lines, end):
    finding = ended(lines)
    assert finding.evidence["end"] == end
    assert finding.severity == ("critical" if end == "diverged" else "warning")
    assert "the trainer ended with `" in finding.message
    assert "epoch 2 of 3, iter 40/100" in finding.message
    assert "still runs" not in finding.advice


def test_the_cause_counts_before_what_follows_from_it(ended):
    assert "`ValueError: bad sample`" in ended(COMM + f"{TRACEBACK}{FRAME}ValueError: bad sample\n").message
    assert "NCCL_P2P_DISABLE=1" in ended(COMM).advice


@pytest.mark.parametrize(
    "line", ["Python: 3.9.12 | packaged by conda-forge\n", "Iteration: 5\n", "CUDA: True\n"]
)
def test_an_open_traceback_adopts_no_line_that_follows(ended, line):
    assert "error" not in ended(TRACEBACK + FRAME + line).evidence
    assert "error" not in ended(TRACEBACK + FRAME + "other: text\n" + line).evidence


@pytest.mark.parametrize(
    "line", ["FileNotFoundError: a.jpg, skipped", "Terminated early stopping", "Aborted 3 samples"]
)
def test_a_line_that_may_be_anything_is_no_end(ended, line):
    assert "error" not in ended(line + "\n").evidence


def test_an_error_after_which_training_continued_did_not_end_it(tmp_path):
    lines = mmcv_text(epochs=3, stop=(2, 40)).splitlines(True)
    at = next(number for number, line in enumerate(lines) if "Epoch [2][10/" in line)
    path = tmp_path / "train.log"
    path.write_text("".join([*lines[:at], TRACEBACK, FRAME, "OSError: worker\n", *lines[at:]]))
    finding = next(one for one in analyze(read([path])).findings if one.check == "progress")
    assert (finding.severity, "error" in finding.evidence) == ("info", False)


def test_a_failure_after_the_last_epoch_is_a_warning(tmp_path):
    path = tmp_path / "train.log"
    path.write_text(mmcv_text(epochs=2) + TRACEBACK + FRAME + "KeyError: 'bbox'\n")
    finding = next(one for one in analyze(read([path])).findings if one.check == "progress")
    assert finding.severity == "warning"
    assert finding.message == "All 2 epochs were trained; the trainer ended with `KeyError: 'bbox'`."


def test_a_training_that_counts_iterations_has_no_epochs_in_its_words(tmp_path):
    row = "2024-05-01 12:00:00,{:03d} - mmseg - INFO - Iter [{}/40]\tlr: 1.0e-03, loss: {:.4f}\n"
    path = tmp_path / "train.log"
    path.write_text("".join(row.format(at, at, 3 - at / 20) for at in range(1, 41)))
    analysis = analyze(read([path]))
    text = analysis_markdown("r/s", analysis)
    assert (analysis.by_iteration, analysis.progress.epochs) == (True, None)
    assert "40 iterations total" in text
    assert "Finished: 40 iterations" in text
    assert "epoch" not in text.lower().replace("warm-up", "")


def test_starts_that_died_are_no_segments(tmp_path):
    crash = mmcv_text(epochs=2, stop=(1, 0), error="OSError: x")
    paths = []
    for number, text in enumerate((crash, mmcv_text(epochs=2, stop=(2, 40)), crash)):
        paths.append(tmp_path / f"{number}.log")
        paths[-1].write_text(text)
    analysis = analyze(read(paths))
    assert (analysis.segments, analysis.restarts, analysis.untrained) == (1, 0, 2)
    assert "2 more starts ended before training" in analysis_markdown("r/s", analysis)


def test_two_runs_of_one_epoch_are_no_copies_of_ranks(tmp_path):
    path = tmp_path / "log.txt"
    path.write_text('{"train_loss": 24.53, "epoch": 0}\n{"train_loss": 24.62, "epoch": 0}\n')
    log = read([path])
    assert (log.superseded, [row.values["loss"] for row in log.rows]) == (1, [24.62])
    path.write_text('{"train_loss": 24.53, "epoch": 0}\n' * 2)
    assert read([path]).superseded == 0


@pytest.mark.parametrize("by_epoch", ["", ", by_epoch=True"])
def test_the_schedule_of_a_training_by_iterations_counts_those(tmp_path, by_epoch):
    """As its runner has it unless the config says epochs, which are those of the data: nobody knows them."""
    config = "\n".join(
        [
            "2024-05-01 12:00:00,000 - mmseg - INFO - Config:",
            "optimizer = dict(type='SGD', lr=0.01)",
            f"lr_config = dict(policy='poly', power=1.0, min_lr=0.0{by_epoch})",
            "runner = dict(type='IterBasedRunner', max_iters=40)",
        ]
    )
    row = "2024-05-01 12:00:00,{:03d} - mmseg - INFO - Iter [{}/40]\tlr: {:.3e}, loss: {:.4f}"
    rows = [row.format(at, at, 0.01 * (1 - (at - 1) / 40), 3 - at / 20) for at in range(1, 41)]
    path = tmp_path / "train.log"

    def rate() -> str:
        path.write_text("\n".join([config, *rows, ""]))
        return next(one.severity for one in analyze(read([path])).findings if one.check == "learning-rate")

    assert rate() == "info"
    rows[20:] = [line.replace("lr: ", "lr: 9") for line in rows[20:]]
    assert rate() == ("info" if by_epoch else "warning")


@pytest.mark.parametrize(
    ("lines", "end"),
    [
        (f"{TRACEBACK}{FRAME}Exception: no sample is left\n", "trainer-bug"),
        (
            f"{TRACEBACK}{FRAME}Exception: Current loss scale already at minimum - cannot decrease it.\n",
            "diverged",
        ),
        (
            "/var/slurm_script: line 28:  8156 Killed      python3 main.py\n"
            "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=191.batch cgroup.\n",
            "oom-host",
        ),
        ("slurmstepd-gpu20-15: error: Detected 1 oom-kill event(s) in StepId=94.0.\n", "oom-host"),
        (
            "slurmstepd-a1: error: *** STEP 94.0 ON a1 CANCELLED AT 2022-05-17 DUE TO TIME LIMIT ***\n",
            "time-limit",
        ),
    ],
)
def test_ends_as_strangers_logs_spell_them(ended, lines, end):
    assert ended(lines).evidence["end"] == end


def test_of_one_row_no_course_is_told(tmp_path):
    path = tmp_path / "train.log"
    row = next(line for line in mmcv_text(epochs=1).splitlines() if "loss: " in line)
    path.write_text(row + "\n")
    text = analysis_markdown("x", analyze(read([path])))
    assert "only 1 point to judge by" in text
    assert "reduction" not in text


CONDA = (
    '  File "/opt/conda/lib/python3.10/site-packages/torch/nn/modules/module.py", line 3, in _call\n    x()\n'
)
CUDA = "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n"


@pytest.mark.parametrize(
    ("lines", "end"),
    [
        (f"model built\n{TRACEBACK}{FRAME}{CUDA}", "oom-gpu"),
        (f"{COMM}{FAILED.format(-6)}{ELASTIC}", "comm"),
        (f"it 3 goes on\n{TRACEBACK}{FRAME}KeyError: 'img_metas'\n", "trainer-bug"),
        (
            "slurmstepd: error: *** JOB 31 ON n1 CANCELLED AT 2024-05-01T12:00:00 DUE TO TIME LIMIT ***\n",
            "time-limit",
        ),
        ("slurmstepd: error: *** JOB 31 ON n1 CANCELLED AT 2024-05-01T12:00:00 ***\n", "killed"),
        (f"{TRACEBACK}{FRAME}KeyboardInterrupt\n", "killed"),
        (f"{TRACEBACK}{CONDA}RuntimeError: shapes differ\n", "trainer-bug"),
        (f"{TRACEBACK}{FRAME}{CUDA}" + "wandb: a line of the summary\n" * 30, "oom-gpu"),
        (f"{CUDA}\nEnd of the job\n", "oom-gpu"),
    ],
)
def test_of_a_log_without_a_known_line_the_end_is_told(tmp_path, capsys, lines, end):
    (tmp_path / "train.log").write_text(lines)
    assert main(["analyze", str(tmp_path / "train.log"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    finding = next(one for one in found["findings"] if one["check"] == "progress")
    stopped = end == "time-limit"  # which may have come to a training that went well
    assert (found["verdict"], finding["evidence"]["end"]) == ("warning" if stopped else "failed", end)
    assert finding["blocking"] is not stopped
    assert finding["message"].startswith("No line of the log is known; the trainer ended with `")
    if end == "comm":
        assert "NCCL_P2P_DISABLE=1" in finding["advice"]
    assert main(["analyze", str(tmp_path / "train.log"), "--fail-on", "failed"]) == (0 if stopped else 5)


PIP = (
    '  File "/env/lib/python3.11/site-packages/pip/_internal/cli/base_command.py", line 3, in run\n    x()\n'
)


@pytest.mark.parametrize(
    "lines",
    [
        f"Collecting torch\n{TRACEBACK}{PIP}OSError: [Errno 28] No space left on device\n",
        f'{TRACEBACK}  File "/srv/app.py", line 3, in main\n    serve()\nKeyError: 1\n',
        f"# How to train\n{TRACEBACK}{FRAME}{CUDA}" + "Use a smaller batch.\n" * 60,
        "step 1 -> 0.75\nRuntimeError: tried again\nstep 2 -> 0.5\n",
        "[ 12.0] Out of memory: Killed process 4711 (python)\n",
        f"{CUDA[:-1]}; skipping batch\n" + "a batch is done\n" * 40 + "Training finished, model saved\n",
        f'{TRACEBACK}  File "/srv/app.py", line 3, in main\n    serve()\nKeyboardInterrupt\n',
        "Terminated\n",
    ],
)
def test_what_failed_otherwise_or_is_no_end_is_refused_as_ever(tmp_path, capsys, lines):
    (tmp_path / "some.log").write_text(lines)
    assert main(["analyze", str(tmp_path / "some.log")]) == 2
    assert "has no line of a known format" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        (f"{TRACEBACK}{FRAME}KeyError: 1\nmodule loaded\n{TRACEBACK}{FRAME}TypeError: 2\n", "TypeError: 2"),
        (
            f"{FRAME}[rank0] {TRACEBACK}{FRAME}KeyError: 1\n[rank1] {TRACEBACK}{FRAME}TypeError: 2\n",
            "KeyError: 1",
        ),
        (
            f"[rank0] {TRACEBACK}{FRAME}KeyError: 1\n"
            "slurmstepd: error: *** JOB 31 ON n1 CANCELLED AT 2031 ***\na next job\n"
            "slurmstepd: error: *** JOB 32 ON n1 CANCELLED AT 2031 ***\n",
            "slurmstepd: error: *** JOB 32 ON n1 CANCELLED AT 2031 ***",
        ),
    ],
)
def test_a_log_without_a_known_line_ends_as_its_last_start_did(tmp_path, capsys, lines, error):
    (tmp_path / "train.log").write_text(lines)
    assert main(["analyze", str(tmp_path / "train.log"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert next(one for one in found["findings"] if one["check"] == "progress")["evidence"]["error"] == error


@pytest.mark.parametrize(
    ("error", "output"), [("slurm-1.err", "slurm-1.out"), ("0/stderr.log", "0/stdout.log")]
)
def test_the_end_is_in_the_one_or_the_other_of_a_jobs_two_files(tmp_path, capsys, error, output):
    (tmp_path / "0").mkdir()
    both = [tmp_path / error, tmp_path / output]
    both[0].write_text(f"{TRACEBACK}{FRAME}{CUDA}")
    both[1].write_text("model built\n")
    for logs in (both, both[::-1], [tmp_path]):
        assert main(["analyze", *map(str, logs), "--fail-on", "failed"]) == 5, logs
        assert "CUDA out of memory" in capsys.readouterr().out


def test_what_ended_an_earlier_start_ended_no_later_one(tmp_path):
    (tmp_path / "slurm-1.out").write_text(f"{TRACEBACK}{FRAME}{CUDA}")
    (tmp_path / "slurm-2.out").write_text("model built\n")
    assert main(["analyze", str(tmp_path)]) == 2


@pytest.mark.parametrize("line", ["step {}/30 loss: {}\n", "Epoch {}/30 loss: {}\n"])
@pytest.mark.parametrize(
    ("steps", "last", "end"), [(20, "RuntimeError: CUDA out of memory.\n", "oom-gpu"), (30, "", None)]
)
def test_an_error_that_the_training_survived_is_not_what_ended_it(tmp_path, line, steps, last, end):
    """A corrupt image, say, of which the trainer prints the traceback; nor does it hide the one that did."""
    path = tmp_path / "train.log"
    lines = [line.format(at, round(3 / at, 4)) for at in range(1, steps + 1)]
    path.write_text("".join([*lines[:5], TRACEBACK, FRAME, "ValueError: corrupt jpeg\n", *lines[5:], last]))
    findings = analyze(read([path])).findings
    assert next(one for one in findings if one.check == "progress").evidence.get("end") == end
