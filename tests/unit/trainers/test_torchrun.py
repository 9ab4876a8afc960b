"""The command line of a training over several nodes, and what it becomes on each of them."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from support.supervising import eventually
from trainrelay.config import load_config
from trainrelay.trainers import RUNGS, TRAINERS, LaunchRequest, ScriptSettings, node, torchrun
from trainrelay.training.context import StageContext
from trainrelay.training.request import launch_request

ROOT = Path(__file__).parents[3]
GOLDEN = Path(__file__).parents[1] / "golden"
SCRIPT = Path(node.__file__)


def request_of(**changes: object) -> LaunchRequest:
    at = StageContext(load_config(ROOT / "config.yaml"), "uniad", "stage2")
    request = launch_request(at)
    return replace(request, **{"nodes": 2, **changes})  # type: ignore[arg-type]


GOLDENS = {
    "two_nodes_in_a_plan": request_of(),
    "two_nodes_started": request_of(master_addr="gpu-07", master_port=23456, rung=RUNGS["gloo"]),
    "two_nodes_uniad_v2": request_of(launch_module="torch.distributed.run"),
}


@pytest.mark.parametrize("name", GOLDENS)
def test_a_start_over_two_nodes_is_the_argv_list_of_its_golden_file(name: str) -> None:
    launch = TRAINERS["mmcv"].launch(GOLDENS[name], {})
    argv = ["NODE.PY" if word == str(SCRIPT) else word for word in launch.argv]
    assert argv == json.loads((GOLDEN / f"{name}.json").read_text())


def test_every_trainer_kind_is_started_on_every_node() -> None:
    for trainer in TRAINERS.values():
        argv = trainer.launch(request_of(config="main.py", entry="main.py"), {}).argv
        assert argv[: len(list(torchrun.srun(request_of())))] == tuple(torchrun.srun(request_of()))
        assert "--nnodes=2" in argv


def test_one_node_needs_no_srun_and_no_word_about_nodes() -> None:
    argv = TRAINERS["mmcv"].launch(replace(request_of(), nodes=1), {}).argv
    assert not [word for word in argv if "srun" in word or ("node" in word and "nproc_per_node" not in word)]


def test_a_prefix_comes_before_the_interpreter_with_the_variables_as_words() -> None:
    request = replace(request_of(nodes=1), prefix=("apptainer", "exec", "a.sif"), env={"A": "1 2"})
    launch = TRAINERS["mmcv"].launch(request, {})
    root = f"PYTHONPATH={request.root}"
    assert torchrun.prefixed(launch, request).argv == (*request.prefix, "env", "A=1 2", root, *launch.argv)
    assert torchrun.prefixed(launch, replace(request, prefix=())) == launch


def test_over_several_nodes_the_number_of_each_is_read_before_its_prefix() -> None:
    """A container may not have Slurm's variables."""
    request = replace(request_of(), prefix=("apptainer", "exec", "a.sif"))
    launch = TRAINERS["mmcv"].launch(request, {})
    argv = torchrun.prefixed(launch, request).argv
    before = [*torchrun.srun(request), sys.executable, "-u", str(SCRIPT), "--whole"]
    assert argv[: len(before)] == tuple(before)
    words = node.argv([*argv[len(before) - 1 :]], "7")
    bare = node.argv([*launch.argv[len(before) - 1 :]], "7")
    assert words[:4] == ["apptainer", "exec", "a.sif", "env"]
    assert words[words.index(request.interpreter) :] == [request.interpreter, *bare[1:]]


def test_over_several_nodes_a_whole_command_is_behind_the_prefix() -> None:
    how = ScriptSettings(command="{interpreter} {entry} --node {node_rank}")
    trainer = TRAINERS["script"].of(how, "main.py")
    request = request_of(config="main.py", entry="main.py", prefix=("box",), interpreter="python", options={})
    argv = torchrun.prefixed(trainer.launch(request, {}), request).argv
    words = node.argv([*argv[argv.index("--whole") :]], "3")
    assert (words[:2], words[-4:]) == (["box", "env"], ["python", "main.py", "--node", "3"])


# ---------------------------------------------------------------------- node.py, on each node


def test_the_script_is_python_3_8_and_needs_nothing_but_the_standard_library() -> None:
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 8))
    names = [name.name for stmt in ast.walk(tree) if isinstance(stmt, ast.Import) for name in stmt.names]
    names += [stmt.module or "" for stmt in ast.walk(tree) if isinstance(stmt, ast.ImportFrom)]
    assert set(names) <= sys.stdlib_module_names


def test_the_number_of_the_node_stands_behind_the_module_or_the_script() -> None:
    words = ["-m", "torch.distributed.run", "--nnodes=2", "train.py", "-m", "x"]
    assert node.argv(words, "1")[2:] == [*words[:2], "--node_rank=1", *words[2:]]
    assert node.argv(["ranks.py", "--fork", "2"], "0")[2:] == ["ranks.py", "--node_rank=0", "--fork", "2"]


def run_node(folder: Path, code: str, linger_s: float = 0.0) -> subprocess.Popen[str]:
    """node.py as srun starts it, with a script of this text in the launcher's place."""
    (folder / "launcher.py").write_text(code)
    own = folder / "node.py"
    own.write_text(SCRIPT.read_text().replace(f"LINGER_S = {node.LINGER_S}", f"LINGER_S = {linger_s}"))
    argv = [sys.executable, "-u", str(own), str(folder / "launcher.py"), "a b"]
    env = {"GLOO_SOCKET_IFNAME": "lo", **os.environ, "SLURM_PROCID": "1"}
    return subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True)


@pytest.mark.process
@pytest.mark.parametrize(
    ("code", "status"), [("", 0), ("exit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)]
)
def test_it_ends_as_the_launcher_ended(tmp_path: Path, code: str, status: int) -> None:
    process = run_node(tmp_path, f"import sys; print(sys.argv[1:])\n{code}")
    assert process.communicate()[0] == "['--node_rank=1', 'a b']\n"
    assert process.returncode == status


@pytest.mark.process
def test_a_launcher_that_failed_leaves_the_other_nodes_time_to_tell_why(tmp_path: Path) -> None:
    process = run_node(tmp_path, "import os; print(os.getpid(), flush=True); exit(1)", linger_s=1000.0)
    assert process.stdout is not None
    launcher = Path(f"/proc/{int(process.stdout.readline())}")
    eventually(lambda: not launcher.exists())
    time.sleep(0.5)
    assert process.poll() is None
    process.kill()
    process.wait()


@pytest.mark.process
def test_a_warning_of_slurm_ends_nothing_and_a_sigterm_ends_the_launcher(tmp_path: Path) -> None:
    """The launcher ignores SIGUSR2 as on one node. Slurm sends a SIGTERM to node.py alone.

    Which does not linger then: there is nothing to tell.
    """
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(1000)"
    process = run_node(tmp_path, code, linger_s=1000.0)
    assert process.stdout is not None
    launcher = int(process.stdout.readline())
    for pid in (process.pid, launcher):
        os.kill(pid, signal.SIGUSR2)
    time.sleep(0.1)
    assert process.poll() is None
    process.terminate()
    assert process.wait() == 128 + signal.SIGTERM


ROUTES = """Iface\tDestination\tGateway \tFlags
ib0\t000200C0\t00000000\t0001
eth0\t00000000\t010200C0\t0003
"""


@pytest.mark.parametrize("address", ["127.0.1.1", "127.0.0.1", ""])
def test_where_a_hosts_name_means_itself_alone_gloo_is_told_the_way_out(address: str) -> None:
    assert node.interface_of(address, ROUTES) == "eth0"


def test_gloo_is_told_nothing_that_it_finds_out_itself() -> None:
    assert node.interface_of("10.1.2.3", ROUTES) is None
    assert node.interface_of("127.0.1.1", "Iface\tDestination\n\n") is None


@pytest.mark.process
def test_a_users_own_interface_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "ib7")
    process = run_node(tmp_path, "import os; print(os.environ['GLOO_SOCKET_IFNAME'])")
    assert process.communicate()[0] == "ib7\n"
