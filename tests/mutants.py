"""Do the tests find defects? Plants each of support/defects.py in a copy of the tree and runs its named test.

`python tests/mutants.py [NAME...]`. The test must pass in an unmutated copy and fail with the defect. Exits 1
when a defect is missed, cannot be planted, or its test fails without it; 2 for an unknown name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from support.defects import DEFECTS, Defect
from support.supervising import carrying

REPOSITORY = Path(__file__).resolve().parents[1]
AT_ONCE = 2
DEADLINE_S = 300.0  # a defect may make its test wait for ever
Item = TypeVar("Item")
Result = TypeVar("Result")
PASSED, FAILED, HUNG = 0, 1, -1  # pytest's exit statuses; above 1 it could not run the test
MARK = "TRAINRELAY_MUTANT"  # in the environment of everything that a test starts here

WHICH = "import trainrelay; print(trainrelay.__file__, flush=True)"
WHICH_IN_A_CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WHICH!r}], cwd='/')"


@dataclass(frozen=True)
class Ran:
    """One test in one copy; `evidence` is the line that says most."""

    status: int
    evidence: str
    seconds: float


@dataclass(frozen=True)
class Verdict:
    """What became of one defect; `seconds` of its own test run alone."""

    defect: Defect
    word: str  # caught, or why not
    seconds: float = 0.0
    evidence: str = ""


def main(names: Sequence[str]) -> int:
    """Plant the named defects, or all of them; returns the exit status."""
    if unknown := set(names) - {defect.name for defect in DEFECTS}:
        say(f"no defect is called {', '.join(sorted(unknown))}; known: {', '.join(d.name for d in DEFECTS)}")
        return 2
    if not (REPOSITORY / ".git").exists():
        say("this is no clone; only git can tell which files to copy")
        return 2
    chosen = [defect for defect in DEFECTS if not names or defect.name in names]
    with tempfile.TemporaryDirectory(prefix="trainrelay-mutants-") as folder:
        bench = Bench(Path(folder))
        bench.imports_its_own_copy()
        verdicts = list(judged(bench, chosen))
    print_table([next(v for v in verdicts if v.defect is defect) for defect in chosen])
    return 0 if all(verdict.word == "caught" for verdict in verdicts) else 1


def tree() -> Iterator[Path]:
    """Every file that git tracks or would track, relative to the repository."""
    argv = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if os.path.lexists(REPOSITORY / name):
            yield Path(name)


# ---------------------------------------------------------------------- one test in one copy


class Bench:
    """Copies of the tree as it was at the start, so that editing may go on; each is used once and removed."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._pristine = folder, folder / "pristine"
        for file in tree():
            (self._pristine / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / file, self._pristine / file, follow_symlinks=False)

    def imports_its_own_copy(self) -> None:
        """Else a defect would be planted where no test looks; children of a test must see it, too."""
        with self._copy() as copy:
            for code in (WHICH, WHICH_IN_A_CHILD):
                argv = [sys.executable, "-c", code]
                found = subprocess.check_output(argv, env=environment(copy, "-"), cwd=copy, text=True).strip()
                assert found == str(copy / "workflow/src/trainrelay/__init__.py"), found

    def count(self, defect: Defect) -> int:
        """How many times the old text stands in its file."""
        return (self._pristine / defect.file).read_text().count(defect.old)

    def run(self, test: str, defect: Defect | None = None) -> Ran:
        """The test in a copy of its own, with or without a defect."""
        with self._copy() as copy:
            if defect:
                path = copy / defect.file
                path.write_text(path.read_text().replace(defect.old, defect.new))
            return run_test(copy, test)

    @contextmanager
    def _copy(self) -> Iterator[Path]:
        copy = self._folder / uuid.uuid4().hex[:8]
        shutil.copytree(self._pristine, copy, symlinks=True)
        try:
            yield copy
        finally:
            shutil.rmtree(copy)


def run_test(copy: Path, test: str) -> Ran:
    """Runs pytest in a copy; whatever it or the test started is gone afterwards."""
    mark, output = str(uuid.uuid4()), copy / "pytest.txt"
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-p",
        "no:cacheprovider",
        "-m",
        "",  # the long ones, too
        f"--basetemp={copy / 'tmp'}",
        test,
    ]
    began_s = time.monotonic()
    with output.open("wb") as file:
        runs = subprocess.Popen(
            argv, cwd=copy, env=environment(copy, mark), stdout=file, stderr=file, stdin=subprocess.DEVNULL
        )
        try:
            status = runs.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            status = HUNG
        finally:
            end_everything(mark)
            runs.wait()
    return Ran(status, evidence_in(output.read_text(errors="replace")), time.monotonic() - began_s)


def environment(copy: Path, mark: str) -> dict[str, str]:
    """Ours, with the copy's library before the installed one, and pytest as a person would start it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    paths = [
        str(copy / "workflow/src"),
        str(copy / "plugin/src"),
        *filter(None, [os.environ.get("PYTHONPATH")]),
    ]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), MARK: mark}


def end_everything(mark: str) -> None:
    """Kills what is left; a defect may be that processes are not ended."""
    while left := carrying(mark, MARK):
        for pid in left:
            try:
                psutil.Process(pid).kill()
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.1)


def evidence_in(output: str) -> str:
    """pytest's first line on why a test failed."""
    lines = output.splitlines()
    reasons = [line for line in lines if line.startswith("E   ")] or lines[-1:]
    return " ".join(reasons[0].removeprefix("E").split())[:150] if reasons else ""


# ---------------------------------------------------------------------- all of them


def judged(bench: Bench, chosen: Sequence[Defect]) -> Iterator[Verdict]:
    """A verdict for each defect, said as it comes."""
    tests = list(dict.fromkeys(defect.test for defect in chosen))
    say(f"{len(tests)} tests without a defect, {AT_ONCE} at a time")
    sound = dict(at_once(lambda test: (test, bench.run(test)), tests, lambda one: said_baseline(*one)))
    say(f"{len(chosen)} defects, {AT_ONCE} at a time")
    yield from at_once(lambda defect: verdict_on(bench, defect, sound[defect.test]), chosen, said)


def verdict_on(bench: Bench, defect: Defect, without: Ran) -> Verdict:
    """Whether the named test fails because of the defect."""
    if (count := bench.count(defect)) != 1:
        return Verdict(defect, f"its old text stands {count} times in {defect.file}")
    if without.status != PASSED:
        return Verdict(defect, "its test fails without it", without.seconds, without.evidence)
    ran = bench.run(defect.test, defect)
    word = {FAILED: "caught", PASSED: "MISSED", HUNG: f"HUNG for {DEADLINE_S:g} s"}.get(ran.status)
    return Verdict(defect, word or f"pytest exit status {ran.status}", ran.seconds, ran.evidence)


def at_once(
    work: Callable[[Item], Result], items: Iterable[Item], each: Callable[[Result], None]
) -> Iterator[Result]:
    """The results as they come; Ctrl-C starts no more."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            for future in as_completed(futures):
                each(future.result())
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


# ---------------------------------------------------------------------- what is said


def say(text: str) -> None:
    print(f"mutants: {text}", flush=True)


def said_baseline(test: str, ran: Ran) -> None:
    word = "passes" if ran.status == PASSED else f"FAILS ({ran.evidence})"
    say(f"  {ran.seconds:5.1f} s  {word}  {test}")


def said(verdict: Verdict) -> None:
    say(f"  {verdict.seconds:5.1f} s  {verdict.word}  {verdict.defect.name}: {verdict.evidence}")


def print_table(verdicts: Sequence[Verdict]) -> None:
    width = max(len(verdict.defect.name) for verdict in verdicts)
    print()
    for verdict in verdicts:
        test = verdict.defect.test.rpartition("::")[2]
        print(f"{verdict.defect.name:{width}}  {verdict.seconds:6.1f} s  {verdict.word:8}  {test}")
    missed = [verdict.defect for verdict in verdicts if verdict.word != "caught"]
    print(f"\n{len(verdicts) - len(missed)} of {len(verdicts)} defects were caught", flush=True)
    for defect in missed:
        print(f"not caught: {defect.name}: {defect.breaks}\n  {defect.file} -> {defect.test}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
