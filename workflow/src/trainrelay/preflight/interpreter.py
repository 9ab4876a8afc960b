"""Whether the trainer's Python has what the trainer imports, in versions that work together."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainrelay.preflight.check_result import CheckResult, fix, note, ok
from trainrelay.preflight.interpreter_script import MARK
from trainrelay.trainers import Launch, LaunchRequest, Trainer, environment, prefixed, whole_load

_SCRIPT = Path(__file__).with_name("interpreter_script.py")
_MOST_TIMES = 5.0  # what hangs on a file system counts as load, too
_LONGEST_SAID_BYTES = 256 * 1024  # more than the answers and many warnings of imports


@dataclass(frozen=True, slots=True)
class PythonAnswers:
    """What the trainer's Python said. `importing` names the import that it did not come back from."""

    versions: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    there: Mapping[str, bool] = field(default_factory=dict)
    importing: str | None = None
    ended: bool = False
    last_line: str = ""  # of what it printed beside that


def interpreter_check(request: LaunchRequest, trainer: Trainer, deadline_s: float) -> CheckResult:
    """Asks the trainer's own Python, in one process that is ended after `deadline_s`, later where the machine
    has too much to do; its root exists."""
    name = _typed(request)
    deadline_s *= min(max(os.getloadavg()[0] / (os.cpu_count() or 1), 1.0), _MOST_TIMES)
    if shutil.which(request.prefix[0] if request.prefix else name) is None:
        key, what = ("prefix", request.prefix[0]) if request.prefix else ("interpreter", name)
        return fix(
            f"the {key} {what} was not found", f"set trainer.{key} to what starts the trainer's Python"
        )
    try:
        status, said = _ask(request, trainer, deadline_s)
    except OSError as error:
        return fix(f"{name} cannot be started: {error.strerror or error}", "set trainer.interpreter")
    answers = read_answers(said)
    found = judge_answers(request, trainer, answers, status, deadline_s)
    remark = whole_load(request, answers.versions.get("torch", "")) if found.kind == "ok" else None
    return note(f"{found.what}; {remark}") if remark else found


def _typed(request: LaunchRequest) -> str:
    """The trainer's Python, as you would start it."""
    return shlex.join((*request.prefix, request.interpreter)) if request.prefix else request.interpreter


def _ask(request: LaunchRequest, trainer: Trainer, deadline_s: float) -> tuple[int | None, str]:
    """Exit status, None where it had to be ended, and all that it printed."""
    modules = [*trainer.imports, "--", request.launch_module, *trainer.compiled]
    argv = (request.interpreter, "-c", _SCRIPT.read_text(encoding="utf-8"), *modules)
    added = {**environment(request, os.environ), "PYTHONDONTWRITEBYTECODE": "1"}
    launch = prefixed(Launch(argv, added, request.root), request)
    with tempfile.TemporaryFile() as output:  # a file: what it starts may hold a pipe open indefinitely
        child = subprocess.Popen(
            launch.argv,
            cwd=launch.cwd,
            env={**os.environ, **launch.env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        status = _exit_status(child, deadline_s)
        output.seek(0)
        return status, output.read(_LONGEST_SAID_BYTES).decode(errors="replace")


def _exit_status(child: subprocess.Popen[bytes], deadline_s: float) -> int | None:
    try:
        return child.wait(deadline_s)
    except subprocess.TimeoutExpired:
        return None
    finally:  # also after Ctrl-C
        if child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def read_answers(said: str) -> PythonAnswers:
    """From all that the process printed; lines that only look like answers are left out."""
    found: dict[str, dict[str, Any]] = {
        kind: {} for kind in ("importing", "version", "error", "there", "end")
    }
    last_line = ""
    for line in said.splitlines():
        if line.startswith(MARK):
            with contextlib.suppress(ValueError, TypeError, KeyError):
                kind, name, answer = json.loads(line.removeprefix(MARK))
                found[kind][str(name)] = answer
        else:
            last_line = line.strip() or last_line
    told = {*found["version"], *found["error"]}
    return PythonAnswers(
        versions={name: str(version) for name, version in found["version"].items()},
        errors={name: str(error) for name, error in found["error"].items()},
        there={name: there is True for name, there in found["there"].items()},
        importing=next((name for name in reversed(found["importing"]) if name not in told), None),
        ended=bool(found["end"]),
        last_line=last_line,
    )


def judge_answers(
    request: LaunchRequest, trainer: Trainer, answers: PythonAnswers, status: int | None, deadline_s: float
) -> CheckResult:
    """What the answers amount to; `status` None: it did not end within `deadline_s`."""
    name = _typed(request)
    if not answers.ended:
        return _hung_or_died(name, answers, status, deadline_s)
    if answers.errors:
        module, error = next(iter(answers.errors.items()))
        typed = f"install it for {name}, or set trainer.interpreter; try: {name} -c 'import {module}'"
        return fix(f"{name} does not import {module} ({error})", typed)
    if problems := [*_torch_problems(request, answers), *trainer.incompatible(answers.versions)]:
        return fix(f"{name}: {'; '.join(problems)}", "set trainer.interpreter to a Python that fits")
    return ok(
        f"{name}: Python {answers.versions['python']} with {', '.join(_versions_found(trainer, answers))}"
    )


def _hung_or_died(name: str, answers: PythonAnswers, status: int | None, deadline_s: float) -> CheckResult:
    doing = f"import {answers.importing}" if answers.importing else "its start"
    said = f"; it said: {answers.last_line[:200]}" if answers.last_line else ""
    if status is None:
        try_it = f"try it yourself: {name} -c '{doing if answers.importing else 'pass'}'"
        return fix(f"{name}: {doing} has not come back after {deadline_s:.0f} s{said}", try_it)
    how = f"signal {-status}" if status < 0 else f"exit status {status}"
    return fix(f"{name} ended in {doing} with {how}{said}", "set trainer.interpreter to a Python that works")


def _torch_problems(request: LaunchRequest, answers: PythonAnswers) -> Sequence[str]:
    problems = []
    if not answers.there.get(request.launch_module, False):
        problems.append(f"its torch {answers.versions.get('torch', '?')} has no {request.launch_module}")
    if request.device == "cuda" and not answers.versions.get("cuda"):
        problems.append("its torch is built for the CPU alone, and device cuda needs one that has CUDA")
    return problems


def _versions_found(trainer: Trainer, answers: PythonAnswers) -> list[str]:
    cuda = answers.versions.get("cuda")
    shown = [f"torch {answers.versions['torch']}{f' (CUDA {cuda})' if cuda else ''}"]
    shown += [f"{name} {answers.versions[name]}".rstrip() for name in trainer.imports if name != "torch"]
    missing = [name for name in trainer.compiled if not answers.there.get(name)]
    return [*shown, *(f"no compiled {name}" for name in missing)]
