"""What came from an initial checkpoint, with models of torch that load it in the ways of real trainers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from trainrelay.records import InitialWeights
from trainrelay.supervise import InitialCheckpoint
from trainrelay.supervise.hangs import with_stack_dumps
from trainrelay.supervise.hook import Hook
from trainrelay_hook import files
from trainrelay_hook.initial_weights import _by_module

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("hook")]

LOADER = Path(__file__).parents[2] / "support" / "initial_loads.py"
ALL = "100 % of the model's parameters; img_backbone: 9 of 9; seg_head: 2 of 2"
NEW = "occ_head, motion_head, planning_head: new, 12 keys"
PARTLY = f"37.69 % of the model's parameters; {NEW}; img_backbone: 9 of 9; seg_head: 2 of 2"
SHAPES = (
    "img_backbone: 9 of 9; of another shape: seg_head.weight (4x8 in the file, 6x8 in the model),"
    " seg_head.bias (4 in the file, 6 in the model)"
)
UNKNOWN = "not known: the trainer loads it by its own code, in parts, or not at all"
NONE = (
    "0 % of the model's parameters; img_backbone, seg_head: new, 11 keys; img_backbone, seg_head: only in"
    " the file, 11 keys"
)
SAID = {
    "full": ALL,
    "partly": PARTLY,
    "assigned": ALL,
    "wrapped": re.sub(r"(\w+_(head|backbone))", r"module.\1", PARTLY),
    "mmcv": PARTLY,
    "mmcv-shape": f"74.77 % of the model's parameters; seg_head: new, 2 keys; {SHAPES}",
    "merged": f"74.77 % of the model's parameters; seg_head: new, 2 keys; {SHAPES}",
    "filtered": f"27.03 % of the model's parameters; seg_head, {NEW.replace('12', '14')}; {SHAPES}",
    "backbone": PARTLY,
    "backbone-alone": UNKNOWN,
    "another-file": UNKNOWN,
    "parts": UNKNOWN,
    "own-code": UNKNOWN,
    "older": ALL,
    "made": ALL,
    "caught": PARTLY,
    "copied": PARTLY,
    "half": UNKNOWN,
    "left-over": (
        "100 % of the model's parameters; 0: 2 of 2; 1: 5 of 5; 2: 2 of 2; seg_head: only in the file, 2 keys"
    ),
    "renamed": NONE,
    "resumed": None,
    "partly:0.3": PARTLY,
    "partly:0.5": PARTLY,
    "own-code:0.9": UNKNOWN,
    "ranks": PARTLY,
    "ranks:0.5": PARTLY,
}


@pytest.fixture(scope="module")
def loads(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[str]]]:
    """The folder of the attempts, and how each rank ended, by case."""
    folder = tmp_path_factory.mktemp("loads")
    initial = InitialCheckpoint(str(folder / "stage1.pth"), None)
    env = with_stack_dumps({**os.environ, "RANK": "0", "OMP_NUM_THREADS": "1"})
    done = subprocess.run(
        [sys.executable, str(LOADER), str(folder), *SAID],
        env=Hook(folder, 1).switched(env, on=True, initial=initial),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout.splitlines()[-1])  # mmcv prints before


def seen(folder: Path, case: str) -> InitialWeights | None:
    return Hook(folder / case, 1).look_at_initial()


@pytest.mark.parametrize("case", SAID)
def test_what_came_is_told_by_module(loads: tuple[Path, dict[str, list[str]]], case: str) -> None:
    """Whatever way it was loaded; where that cannot be seen, nothing is claimed, and of a resume nothing."""
    found = seen(loads[0], case)
    assert (found and str(found)) == SAID[case]


def test_too_little_ends_a_training_before_its_first_step(loads: tuple[Path, dict[str, list[str]]]) -> None:
    """On every rank, the weights as they were; what could not be seen ends nothing."""
    too_little = {case: ends for case, ends in loads[1].items() if ends != ["done"] * len(ends)}
    assert {case: len(ends) for case, ends in too_little.items()} == {"partly:0.5": 1, "ranks:0.5": 2}
    said = {end for ends in too_little.values() for end in ends}
    assert said == {
        "InitialTooDifferent, weights unchanged: trainrelay stopped before the first optimizer step: 37.69 %"
        " of the model's parameters came from the initial checkpoint; init_match_min is 0.5"
    }


def test_only_rank_0_notes_it_and_lists_are_bounded(loads: tuple[Path, dict[str, list[str]]]) -> None:
    """A model of many modules has a line for the first ones, and one for the others."""
    assert [path.name for path in (loads[0] / "ranks/hook").glob("initial*")] == [files.INITIAL]
    names = [f"module{number}.weight" for number in range(30)]
    grouped = {name: len(keys) for name, keys in _by_module(names, names)}
    assert (len(grouped), grouped["others"], sum(grouped.values())) == (20, 11, 30)
