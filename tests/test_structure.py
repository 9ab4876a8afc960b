"""What holds for the project as a whole: who imports whom, how long functions are, what files may say."""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import re
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ROOT / "workflow/src/trainrelay"
SCRIPTS = [*sorted((ROOT / "scripts").glob("*.sh")), ROOT / ".ci/run"]

# Each part of the library and the parts it may import at run time. Everything may import errors, records and
# text, and itself. A new part gets a row; the rows may not form a circle.
NOUNS = {"errors", "records", "text"}
PARTS: dict[str, set[str]] = {
    "errors": set(),
    "packaged": set(),
    "progress_lines": set(),
    "records": set(),
    "text": set(),
    "analysis": {"progress_lines"},
    "system": set(),
    "checkpoint": {"system"},
    "trainers": {"checkpoint", "progress_lines", "system"},
    "config": {"system", "trainers"},
    "slurm": {"config"},
    "preflight": {"analysis", "config", "slurm", "trainers"},
    "training": {"checkpoint", "config", "preflight", "slurm", "system", "trainers"},
    "controller": {"slurm", "system", "training"},
    "dag": {"config", "preflight", "slurm", "system", "training"},
    "report": {"analysis"},
    "supervise": {"checkpoint", "progress_lines", "slurm", "system", "trainers", "training"},
    "watching": {"config", "supervise", "system", "trainers", "training"},
    "operations": {
        "analysis",
        "checkpoint",
        "config",
        "controller",
        "packaged",
        "preflight",
        "report",
        "slurm",
        "supervise",
        "system",
        "trainers",
        "training",
        "watching",
    },
}
VIEWS = {"cli", "__main__", "__init__"}  # these may import everything, and nobody imports them

# What the Snakefile imports is parsed again by every job, so these stay out of it.
HEAVY = {
    *("torch", "mmcv", "cv2", "numpy", "pandas", "matplotlib", "submitit", "rich"),
    *("snakemake", "snakemake_interface_common", "snakemake_interface_executor_plugins"),
}
LATE = HEAVY - {"numpy", "rich"}  # stay out of `trainrelay --help` too

# Put together here, so that this file does not hold them itself.
FORBIDDEN = [
    *("/".join(["", folder, ""]) for folder in ("work", "root", "tmp/tr")),
    *(".".join(host) for host in (("pypi", "org"), ("pythonhosted", "org"), ("pytorch", "org/whl"))),
    *(".".join(host) for host in (("anaconda", "org"), ("openmmlab", "com"))),
    *("/opt/" + folder for folder in ("pypi", "wheels")),
    *("87c48769" + "c79ddfaa", "28a9046c" + "93bac49e"),
]


def part_of(path: Path) -> str:
    """The part of the library that a file belongs to: the first folder, or the file's own name."""
    return path.relative_to(LIBRARY).with_suffix("").parts[0]


def modules() -> list[Path]:
    return sorted(LIBRARY.rglob("*.py"))


@functools.cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """Every node except those under `if TYPE_CHECKING:`, which import nothing when the code runs."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")):
            yield child
            yield from at_run_time(child)


@functools.cache
def imported(path: Path) -> set[str]:
    """The modules of our own that a file imports, as `logs` or `logs.mmcv`."""
    package = ["trainrelay", *path.relative_to(LIBRARY).parent.parts]
    found: set[str] = set()
    for node in at_run_time(parse(path)):
        if isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            found.update(f"{source}.{name.name}" for name in node.names)
    return {name.removeprefix("trainrelay.") for name in found if name.startswith("trainrelay.")}


@functools.cache
def calls(path: Path) -> list[tuple[ast.Call, str]]:
    """Each call of a file, and what it calls."""
    found = (node for node in ast.walk(parse(path)) if isinstance(node, ast.Call))
    return [(node, ast.unparse(node.func)) for node in found]


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (
        node for node in ast.walk(parse(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the last one, without the docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is None:
        return lines
    return lines - ((first.end_lineno or first.lineno) - first.lineno + 1)


def project() -> dict[str, object]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)["project"]  # type: ignore[no-any-return]


def project_files() -> list[Path]:
    """The tracked files; in a copy without git, every file outside of hidden folders and outputs."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]
    outputs = {"runs", "dist", "__pycache__", ".venv", ".git", ".snakemake"}
    return [
        path
        for path in ROOT.rglob("*")
        if path.is_file()
        and not any(part in outputs or part.endswith("_cache") for part in path.relative_to(ROOT).parts)
    ]


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


# ---------------------------------------------------------------------- imports


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(LIBRARY)))
def test_imports_point_one_way(path: Path) -> None:
    """Each part imports only the parts that its row in PARTS allows."""
    part = part_of(path)
    assert part in PARTS.keys() | VIEWS, f"{part} is a new part of the library: give it a row in PARTS"
    parts = {name.split(".")[0] for name in imported(path)} & (PARTS.keys() | VIEWS)
    allowed = PARTS.keys() | VIEWS if part in VIEWS else PARTS[part] | NOUNS | {part}
    assert parts <= allowed, f"{path.name} imports {sorted(parts - allowed)}, {part} may not"


def test_the_table_of_imports_holds_no_circle_and_no_part_that_is_gone() -> None:
    """The rows of PARTS can be put in an order, and each names something that exists."""
    placed: set[str] = set()
    while ready := {part for part, uses in PARTS.items() if part not in placed and uses <= placed}:
        placed |= ready
    assert placed == PARTS.keys()
    assert PARTS.keys() <= {part_of(path) for path in modules()}


def test_nobody_imports_the_command_line() -> None:
    """cli is where everything ends: only `python -m trainrelay` imports it."""
    importers = {
        part_of(path) for path in modules() if "cli" in {name.split(".")[0] for name in imported(path)}
    }
    assert importers <= {"__main__", "cli"}


def test_no_verb_imports_another_verb() -> None:
    """What two verbs share is in one of these modules of the command line, or in operations."""
    shared = {"arguments", "common", "printing", "follow"}
    verbs = {path.stem for path in LIBRARY.glob("cli/*.py")} - shared - {"__init__"}
    assert {"plan", "stage", "submit"} <= verbs
    for verb in verbs:
        names = imported(LIBRARY / f"cli/{verb}.py")
        used = {name.split(".")[1] for name in names if name.startswith("cli.")}
        assert used <= shared, f"cli/{verb}.py imports {sorted(used - shared)}"


# Of these each module is a door of its own: who asks for one of them does not load the others.
SHELVES = {"controller", "operations", "preflight", "progress_lines", "slurm", "system", "training"}


@pytest.mark.parametrize(
    "door",
    [path for path in sorted(LIBRARY.glob("*/__init__.py")) if path.parent.name not in SHELVES],
    ids=lambda path: path.parent.name,
)
def test_a_package_has_one_public_door(door: Path) -> None:
    """A package offers what its `__init__` defines or imports from its own modules; the others import nothing
    else of it, and all that it names: what it offers by `*` or in `__all__` may be for other packages."""
    tree, package = parse(door), door.parent.name
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    own = [node for node in imports if f"{node.module}.".startswith(f"trainrelay.{package}.")]
    starred = {name for node in own if is_star(node) for name in defined(node.module or "")}
    named = {name.asname or name.name for node in own if not is_star(node) for name in node.names}
    named |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef) if node.name[0] != "_"}
    for_others = {name for node in tree.body if bound_to(node) == "__all__" for name in strings_of(node)}
    assert starred | named, f"{package}/__init__.py offers nothing"
    used = set[str]()
    for path in modules():
        if part_of(path) != package:
            taken = {name.split(".")[1] for name in imported(path) if name.startswith(f"{package}.")}
            hidden = taken - starred - named - for_others
            assert not hidden, f"{path.name} goes past the door of {package}: {sorted(hidden)}"
            used |= taken | set(re.findall(rf"\b{package}\.(\w+)", path.read_text(encoding="utf-8")))
    unused = named - used - for_others
    assert package in VIEWS or not unused, (
        f"{package}/__init__.py offers what nobody imports: {sorted(unused)}"
    )


def bound_to(node: ast.stmt) -> str:
    return ast.unparse(node.targets[0]) if isinstance(node, ast.Assign) else ""


def strings_of(node: ast.AST) -> set[str]:
    constants = (one.value for one in ast.walk(node) if isinstance(one, ast.Constant))
    return {value for value in constants if isinstance(value, str)}


def is_star(node: ast.ImportFrom) -> bool:
    return node.names[0].name == "*"


def defined(module: str) -> Iterator[str]:
    """The public names that a module of ours binds at its top, what it imports apart."""
    for node in parse(LIBRARY.parent / f"{module.replace('.', '/')}.py").body:
        names = [getattr(node, "name", None), *map(ast.unparse, getattr(node, "targets", ()))]
        names += [ast.unparse(node.target)] if isinstance(node, ast.AnnAssign) else []
        yield from (name for name in names if name and not name.startswith("_"))


def loaded_by(modules: str) -> set[str]:
    """The top-level modules that are loaded after importing some, in an interpreter of its own."""
    code = f"import {modules}, sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_no_model_is_built_while_threads_ask_for_it() -> None:
    """A deferred one is, and before its release 2.14 pydantic had no lock around that."""
    from trainrelay.config.models import Model  # noqa: PLC0415
    from trainrelay.records.files import Record  # noqa: PLC0415

    waiting = [*Model.__subclasses__(), *Record.__subclasses__()]
    assert len(waiting) > 20
    for model in waiting:
        assert model.__pydantic_complete__, model
        waiting += model.__subclasses__()


def imported_by_the_rules() -> set[str]:
    """The modules of ours that the Snakefile and its rules import."""
    found: set[str] = set()
    for path in [ROOT / "workflow/Snakefile", *sorted((ROOT / "workflow/rules").glob("*.smk"))]:
        for source, names in re.findall(
            r"^\s*from (trainrelay[\w.]*) import ([\w, ]+)", path.read_text(encoding="utf-8"), re.MULTILINE
        ):
            found |= (
                {f"{source}.{name.strip()}" for name in names.split(",")}
                if source == "trainrelay"
                else {source}
            )
    return found


@pytest.mark.process
def test_what_the_rules_import_is_light() -> None:
    """Each job parses the Snakefile again: what it imports loads nothing heavy."""
    modules_used = imported_by_the_rules()
    assert modules_used, "the rules import nothing of trainrelay?"
    assert not loaded_by(", ".join(modules_used)) & HEAVY


@pytest.mark.process
def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    """Importing cli loads neither torch nor submitit; commands load what they use."""
    assert not loaded_by("trainrelay.cli") & LATE


# ---------------------------------------------------------------------- what is printed

# These make printable what they print, or print a text of their own; the scripts run in the trainer's Python.
PRINTERS = {"__main__.py", "system/say.py", "cli/printing.py", "supervise/display.py"}
FOR_THE_TRAINER = {"supervise/probe/ranks.py", "trainers/node.py", "preflight/interpreter_script.py"}


def test_all_that_is_printed_goes_through_what_makes_it_printable() -> None:
    printing = {
        path.relative_to(LIBRARY).as_posix()
        for path in modules()
        for _, called in calls(path)
        if re.search(r"^print$|std(out|err)\.write$|console\.print$", called)
    }
    assert printing - FOR_THE_TRAINER == PRINTERS


def test_a_sentence_that_ends_a_snakefile_is_printable() -> None:
    """The library leaves by `sys.exit` there; Snakemake prints what a rule's params and messages hold."""
    leaving = [
        ast.unparse(node) for path in modules() for node, called in calls(path) if called == "sys.exit"
    ]
    sentences = [call for call in leaving if "'" in call]
    assert sentences
    assert all(call.startswith("sys.exit(printable_lines(") for call in sentences)


# ---------------------------------------------------------------------- functions


def test_functions_are_small() -> None:
    """Half of the library's functions have at most 8 lines, their docstrings apart."""
    lengths = {
        f"{path.relative_to(LIBRARY)}:{node.name}": length(node)
        for path in modules()
        for node in functions(path)
    }
    longest = sorted(lengths, key=lengths.__getitem__)[-5:]
    assert statistics.median(lengths.values()) <= 8, f"the longest: {longest}"


def test_no_child_process_is_started_through_a_shell() -> None:
    """Commands are argv lists: what a config or a file name holds is never read by a shell."""
    shells = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
    for path in [
        *sorted((ROOT / "workflow/src").rglob("*.py")),
        *sorted((ROOT / "plugin/src").rglob("*.py")),
        *sorted((ROOT / "workflow/demo").rglob("*.py")),
    ]:
        for node, called in calls(path):
            assert called not in shells, f"{path}:{node.lineno}"
            assert not any(key.arg == "shell" for key in node.keywords), f"{path}:{node.lineno}"


PLUGIN = ROOT / "plugin/src/snakemake_executor_plugin_submitit"
SLURM_COMMANDS = {
    *("sbatch", "srun", "salloc", "squeue", "sacct", "sacctmgr", "scancel", "scontrol", "sinfo"),
    *("sprio", "sstat", "sattach", "sbcast", "sdiag", "sshare"),
}
# The launcher's own command line, which starts a training on several nodes.
LAUNCHER = LIBRARY / "trainers/torchrun.py"


def test_only_the_room_slurm_and_the_plugin_call_slurms_commands() -> None:
    """There one function starts them all, with a deadline and without a user's SQUEUE_PARTITION."""
    others = [path for path in modules() if part_of(path) != "slurm" and path != LAUNCHER]
    begun = [f"{path.relative_to(LIBRARY)}:{node.lineno}" for path in others for node in commands_of(path)]
    assert not begun, "ask through trainrelay.slurm"
    starters = [path for path in LIBRARY.glob("slurm/*.py") if "subprocess" in path.read_text()]
    assert not starters, "slurm/ asks through the plugin's slurm.ask"


def commands_of(path: Path) -> Iterator[ast.List | ast.Tuple]:
    """Word lists that begin with a command of Slurm."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.List | ast.Tuple) and node.elts:
            first = node.elts[0]
            if isinstance(first, ast.Constant) and first.value in SLURM_COMMANDS:
                yield node


def test_one_place_reads_the_job_that_a_process_is_part_of() -> None:
    """SLURM_JOB_ID and the number of restarts; everybody else asks own_run."""
    readers = {
        path.name
        for path in [*modules(), *PLUGIN.glob("*.py")]
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Constant) and node.value in ("SLURM_JOB_ID", "SLURM_RESTART_COUNT")
    }
    assert readers == {"environment.py"}


def test_one_place_asks_git() -> None:
    """There it runs nothing that a checkout names."""
    sources = [*modules(), *PLUGIN.glob("*.py")]
    callers = {
        path.name
        for path in sources
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Constant) and node.value == "git"
    }
    assert callers == {"code_version.py"}


def test_the_plugins_modules_are_imported_where_slurm_is_at_home() -> None:
    """By slurm/, and by site.yaml's model, which knows the options that the plugin refuses."""
    package = PLUGIN.name
    importers = {
        path.relative_to(LIBRARY).as_posix()
        for path in modules()
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == package
    }
    assert {name for name in importers if not name.startswith("slurm/")} == {"config/site.py"}


# ---------------------------------------------------------------------- files


@pytest.mark.process
def test_no_file_names_a_machine_or_a_registry() -> None:
    """The project's files speak of the project alone: no paths of one machine, no registry's host."""
    said = []
    for path in project_files():
        text = path.read_bytes().decode("utf-8", errors="ignore")
        said += [f"{path.relative_to(ROOT)}: {word}" for word in FORBIDDEN if word in text]
    assert not said


def pins() -> dict[str, str]:
    """Name -> version of constraints.txt; every line that is not a comment pins one."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    split = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(pair) == 2 for pair in split), [pair for pair in split if len(pair) != 2]
    return {canonicalize_name(name): version for name, version in split}


def required(extras: tuple[str, ...]) -> set[str]:
    """Every distribution that trainrelay with these extras asks for on this machine, its own included."""
    seen: set[tuple[str, str]] = set()
    todo = [("trainrelay", extra) for extra in ("", *extras)]
    while todo:
        item = todo.pop()
        if item not in seen:
            seen.add(item)
            todo += asked_for(*item)
    return {name for name, _ in seen} - {"trainrelay"}


def asked_for(name: str, extra: str) -> list[tuple[str, str]]:
    lines = importlib.metadata.requires(name) or []
    wanted = [needed for line in lines if applies(needed := Requirement(line), extra)]
    return [(canonicalize_name(needed.name), more) for needed in wanted for more in ("", *needed.extras)]


def applies(needed: Requirement, extra: str) -> bool:
    return needed.marker is None or needed.marker.evaluate({"extra": extra})


def test_every_version_is_pinned_and_is_the_one_installed() -> None:
    """constraints.txt pins the whole tree of requirements, and .venv follows it."""
    wanted = {name for name in required(("demo-base", "dev")) if not name.startswith(("nvidia-", "triton"))}
    pinned = pins()
    assert wanted - pinned.keys() == set()
    installed = {name: importlib.metadata.version(name).split("+")[0] for name in wanted}
    assert installed == {name: pinned[name] for name in wanted}


def test_the_demo_extra_is_the_set_up_plus_mmcv() -> None:
    """`demo` adds to what the set-up installs in one go only the mmcv-full that it installs alone."""
    extras = project()["optional-dependencies"]
    assert isinstance(extras, dict)
    assert extras["demo"] == ["trainrelay[demo-base]", f"mmcv-full=={pins()['mmcv-full']}"]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_stops_at_its_first_error(path: Path) -> None:
    """Scripts are executable and end at the first command that fails."""
    text = path.read_text(encoding="utf-8")
    assert path.stat().st_mode & 0o111
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in text


# ---------------------------------------------------------------------- what people type


@pytest.mark.process
def test_make_lists_exactly_its_targets() -> None:
    """`make` alone names every target, and nothing that is not one."""
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(re.findall(r"^  ([a-z-]+) ", done.stdout, re.MULTILINE)) == make_targets()


def test_ci_runs_the_checks_and_the_tests() -> None:
    """.ci/run is made of the targets that people type."""
    text = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert re.findall(r"^make (\S+)$", text, re.MULTILINE) == ["check", "test"]


@pytest.mark.xdist_group("one")
def test_tests_of_one_group_run_in_one_process(request: pytest.FixtureRequest) -> None:
    """A pytest that pytest-xdist does not know hides the groups, and every process trains everything."""
    if getattr(request.config.option, "loadgroup", False):
        assert request.node.nodeid.endswith("@one")


def test_a_trainer_kind_is_named_where_it_is_made_and_where_a_person_chooses_it_and_nowhere_else() -> None:
    """What differs between kinds belongs to their classes, not to an `if` somewhere else.

    analysis speaks of log formats, which have names of their own.
    """
    from trainrelay.trainers import TRAINERS  # noqa: PLC0415

    naming = {
        path.relative_to(LIBRARY).as_posix()
        for path in modules()
        if part_of(path) != "analysis"
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Constant) and node.value in TRAINERS
    }
    kinds = {f"trainers/{kind}.py" for kind in TRAINERS}
    assert naming == {*kinds, "config/models.py"}
