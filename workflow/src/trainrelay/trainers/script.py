"""Trainer kind `script`: any command line, whose words, lines and files the section `script` describes.

Nothing of a particular script is known here.
"""

from __future__ import annotations

import ast
import fnmatch
import hashlib
import itertools
import json
import os
import re
import shlex
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import yaml

from trainrelay.checkpoint import SavedAs
from trainrelay.progress_lines.console import ConsoleReader
from trainrelay.progress_lines.described import PatternReader, RowReader, compiled
from trainrelay.records import KEYS, EpochBases
from trainrelay.system.files import content, read_once
from trainrelay.system.yaml_bounds import loaded_with_tags
from trainrelay.text import did_you_mean
from trainrelay.trainers.argparse_config import read_arguments
from trainrelay.trainers.base import (
    Launch,
    LaunchRequest,
    Option,
    Trainer,
    TrainerConfig,
    canonical_text,
    option_text,
)
from trainrelay.trainers.local_rank import declared
from trainrelay.trainers.metriclogger import NOT_WEIGHTS
from trainrelay.trainers.mmcv_values import flat
from trainrelay.trainers.python_values import bounded, cut
from trainrelay.trainers.saved_files import checkpoint_folders
from trainrelay.trainers.script_settings import ScriptSettings, filled, places
from trainrelay.trainers.torchrun import WHOLE, environment, launcher, on_each_node, one_rank

_NOT_DESCRIBED = ScriptSettings(command="{launcher} {entry}", backend="{backend}")
_ENV = "env "
_PYTHON = ("python", "torchrun")
_FREE_PORT = "free-port"  # in a plan; each attempt chooses one
_DATA: dict[str, Callable[[bytes], Any]] = {
    **dict.fromkeys((".yaml", ".yml"), loaded_with_tags),
    ".json": json.loads,
    ".toml": lambda raw: tomllib.loads(raw.decode()),
}


class Script(Trainer):
    """A script as its settings describe it; without them only what every script has in common."""

    kind = "script"
    needs_script = True
    units = ("epoch", "iteration")
    lacks = frozenset({"deterministic", "validate"})
    may_lack_optimizer = True

    def __init__(
        self, settings: ScriptSettings = _NOT_DESCRIBED, entry: str = "", iters: int | None = None
    ) -> None:
        self.settings, self.entry, self.metrics = settings, entry, settings.metrics
        self.unit = "epoch" if iters is None else "iteration"
        self.epoch_bases = None if iters is None else EpochBases(printed=0, saved=0)
        self.takes_backend = settings.backend is not None or "backend" in places(settings.command)
        self.takes_checkpoint = "checkpoint" in places(settings.resume)
        inside = settings.counted or "another key: set script.counted to it"
        self.saves_folders = settings.checkpoints.endswith("/")
        name = f"NAME_{{{KEYS[self.unit][:-1]}}}"
        where = f'inside ({inside}) or in the name (script.checkpoints: "{name}.pt", "FOLDER/{name}.pt"'
        what, as_folders = ("folders", "") if self.saves_folders else ("files", f', of folders "{name}/"')
        counts = f"their {self.unit} {where}{as_folders})"
        self.looked_for = f"{what} {settings.checkpoints} of torch.save with weights, {counts}"
        self.called = settings.checkpoints
        self._below, _, self._named = self.called.rstrip("/").rpartition("/")
        self._name = _name_pattern(self._named)
        self.appends_to = tuple(filter(None, [settings.metrics]))
        lines = partial(PatternReader, settings.progress) if settings.progress else ConsoleReader
        self.described = partial(RowReader if settings.metrics else lines, iters)

    def of(self, script: ScriptSettings | None, entry: str, iters: int | None = None) -> Trainer:
        """One trainer for each description."""
        return _described(script or self.settings, entry, iters)

    def read_config(self, root: Path, config: str) -> TrainerConfig:
        """The command's arguments, and what its script and the files that it names say."""
        arguments = _arguments(self.settings.command)
        said = read_arguments(root, self.entry)  # where it declares some
        settings = {"arguments": shlex.join(arguments)}
        try:
            for name in _named_files(root, self.entry, config, arguments):
                label = {config: "config", self.entry: "entry"}.get(name, name)
                settings |= _said_by(root / name, label)
        except OSError as error:
            return TrainerConfig(problem=f"{error.filename}: {error.strerror}")
        except ValueError as error:
            return TrainerConfig(problem=str(error))
        return TrainerConfig(settings, said.literals, said.switches, saves_every=said.saves_every)

    def changes_weights(self, setting: str) -> bool:
        """False for paths, logging, workers and how the ranks meet, as scripts usually call them."""
        return NOT_WEIGHTS.match(setting.replace("-", "_")) is None

    def effective_settings(self, config: TrainerConfig, options: Mapping[str, Option], /) -> dict[str, str]:
        """All that is known of the command, and the options that do not repeat a declared default."""
        said = {name: canonical_text(value) for name, value in config.literals.items()}
        asked = {name: canonical_text(value) for name, value in options.items() if value is not None}
        changed = {n: text for n, text in asked.items() if said.get(n.replace("-", "_")) != text}
        return {**config.settings, **{f"option {name}": text for name, text in changed.items()}}

    def schedule_over_all_epochs(self, config: TrainerConfig) -> str | None:  # noqa: ARG002
        """Its code knows."""
        return "perhaps its schedule, which is in its code,"

    def launch(self, request: LaunchRequest, inherited: Mapping[str, str]) -> Launch:
        """argv and environment of one start."""
        env = {"PYTHONUNBUFFERED": "1", **environment(request, inherited)}
        env |= {} if "launcher" in places(self.settings.command) else one_rank(request)
        if (told := self.settings.backend) and told.startswith(_ENV):
            env[told.removeprefix(_ENV).partition("=")[0]] = request.rung.backend
        cwd = self._from_cwd(request, request.work_dir) if self.settings.cwd_is_work_dir else request.root
        return Launch(tuple(self._argv(request)), env, cwd)

    def saved_as(self, path: Path) -> SavedAs:
        """The number in the name of a checkpoint, else what its settings name."""
        found = self._name.fullmatch(path.name)
        named = int(found[1]) if found and found.groups() else None
        return SavedAs(self.unit, named, self.settings.counted, self.settings.classes)

    def saves_in(self, work_dir: Path) -> Path:
        """As its settings ask for."""
        return work_dir / self._below

    def listed(self, folder: Path) -> list[Path]:
        """Files, or folders where its settings say so."""
        if not self.saves_folders:
            return super().listed(folder)
        return list(filter(self.is_called_so, checkpoint_folders(folder)))

    def is_called_so(self, path: Path) -> bool:
        """As its settings ask for."""
        return self._name.fullmatch(path.name) is not None

    def checkpoint_path(self, work_dir: Path, count: int) -> Path:
        """As its settings name it, in a plan; of several, or counted from 0, only the file tells which."""
        name = self._named.replace("{iter}", str(count))
        name = f"checkpoint-of-{self.unit}-{count}" if set("*?[{") & set(name) else name
        return self.saves_in(work_dir) / name

    def _from_cwd(self, request: LaunchRequest, path: str) -> str:
        """A path that is meant from the checkout."""
        return os.path.normpath(Path(request.root) / path) if self.settings.cwd_is_work_dir else path

    def _argv(self, request: LaunchRequest) -> Iterator[str]:
        settings, command = self.settings, shlex.split(self.settings.command)
        said = self._said(request)
        if request.nodes > 1 and command[0] != "{launcher}":
            yield from (*on_each_node(request), WHOLE)
        for word in command:
            yield from launcher(request) if word == "{launcher}" else (filled(word, said),)
        told = settings.backend or _ENV
        parts = [] if told.startswith(_ENV) else [told]
        parts += [settings.resume] if request.resume_from else []
        # What is resumed from holds what it started from.
        parts += [settings.init] if settings.init and request.load_from and not request.resume_from else []
        yield from (filled(word, said) for part in parts for word in shlex.split(part))
        for name, value in request.options.items():
            yield from _option(shlex.split(settings.options), name, value)

    def _said(self, request: LaunchRequest) -> dict[str, str]:
        """What the names in braces stand for."""
        several = request.nodes > 1
        return {
            "interpreter": request.interpreter,
            "entry": self._from_cwd(request, request.entry),
            "module": os.path.normpath(request.entry).removesuffix(".py").replace("/", "."),
            "nproc": str(request.nproc_per_node),
            "nodes": str(request.nodes),
            "node_rank": "{node_rank}" if several else "0",  # node.py knows it
            "master_addr": request.master_addr if several else "127.0.0.1",
            "master_port": str(request.master_port or _FREE_PORT),
            "config": self._from_cwd(request, request.config),
            "work_dir": self._from_cwd(request, request.work_dir),
            "epochs": str(request.epochs),
            "iters": str(request.iters),
            "seed": str(request.seed),
            "backend": request.rung.backend,
            "device": request.device,
            "checkpoint": request.resume_from or "",
            "init_checkpoint": os.path.normpath(Path(request.root) / (request.load_from or "")),
        }

    def named(self, request: LaunchRequest) -> str:
        """As the command has it: a file, or a module."""
        return self._said(request)["module" if "module" in places(self.settings.command) else "entry"]

    def start_problems(self, request: LaunchRequest, *, certain: bool) -> Iterator[str]:
        """The word with which its command begins: no program, or another Python than is asked for."""
        launch, python = self.launch(request, os.environ), request.interpreter
        word, how = launch.argv[0], "begin it with {interpreter} or {launcher}"
        known = word != python and not request.prefix and request.nodes == 1  # what is inside, nobody knows
        program = str(Path(launch.cwd, word)) if "/" in word else word
        found = shutil.which(program, path=launch.env.get("PATH"))
        if known and certain and found is None:
            yield f"script.command begins with {word}, which is no program that is found; {how}"
        # Beside it is the same environment: torchrun, or python of python3.
        beside = found and Path(found).parent == Path(shutil.which(python) or python).parent
        if known and not certain and Path(word).name.startswith(_PYTHON) and found and not beside:
            yield f"script.command begins with {word}, which is not trainer.interpreter {python}; {how}"
        said, key = places(self.settings.command), KEYS[self.unit]
        needed = {key: (str(request.epochs or request.iters), f"trains another number of {key}")}
        # A relative one is in the config, as where the script saves by itself.
        if request.work_dir.startswith("/") and not self.settings.cwd_is_work_dir:
            needed["work_dir"] = (request.work_dir, "saves where its checkpoints are not looked for")
        for name, (value, otherwise) in {} if certain else needed.items():
            if name not in said:
                yield (
                    f"script.command has no {{{name}}} ({value}): unless the script's code, its config or an"
                    f" option says the same, it {otherwise}"
                )

    def unsupported(self, request: LaunchRequest) -> Iterator[str]:
        """What its settings do not say, or its script does not declare."""
        settings, said = self.settings, places(self.settings.command)
        if ("seed" in said) != (request.seed is not None):
            odd = "it has {seed}, and the stage none" if "seed" in said else "it has no {seed}; add it"
            yield f"script.command and the stage's seed go together: {odd}"
        if "module" in said and not re.fullmatch(r"(\w+/)*\w+\.py", os.path.normpath(request.entry)):
            yield f"script.command has {{module}}, and {request.entry} is no module below root"
        if settings.progress and settings.metrics:
            yield "script.progress does nothing beside metrics, read in place of lines; leave one of them out"
        key = KEYS[self.unit]
        if settings.progress and not any(key[:-1] in compiled(one).groupindex for one in settings.progress):
            yield f"script.progress has no group (?P<{key[:-1]}>..), and the stage has {key}; add it"
        for section, named in (("command", said), ("checkpoints", places(self.called))):
            for wrong in sorted(named & {"epoch", "epochs", "iter", "iters"} - {key, key[:-1]}):
                right = f"{{{key if wrong[-1] == 's' else key[:-1]}}}"
                yield f"script.{section} has {{{wrong}}}, and the stage has {key}; write {right}"
        entry, root = os.path.normpath(request.entry), Path(request.root)
        gone = root.is_dir() and not (root / entry).is_file()  # that is a problem by itself
        if "config" not in said and os.path.normpath(request.config) != entry and not gone:
            how = f"add {{config}} to it, or give config and entry ({request.entry}) the same file"
            yield f"script.command does not use the stage's config {request.config}; {how}"
        if request.load_from is not None and settings.init is None:
            yield 'no stage can start from another without script.init, e.g. "--finetune {init_checkpoint}"'
        if request.nodes > 1 and not {"launcher", "node_rank"} & said:
            yield "script.command needs {launcher} or {node_rank} to train over several nodes"
        options, takes_no_other = read_once(declared, Path(request.root) / request.entry)
        behind = itertools.dropwhile(self.named(request).__ne__, self._argv(request))
        gives = 'script.resume gives it when it resumes (if it cannot: resume: "")'
        by = dict.fromkeys(shlex.split(settings.resume), gives)
        by |= dict.fromkeys(behind, "script.command or an option gives it")
        by |= dict.fromkeys(by.keys() & shlex.split(settings.init or ""), "script.init gives it")
        flags = {word.partition("=")[0]: who for word, who in by.items() if word.startswith("--")}
        for flag in sorted(flags) if takes_no_other else ():
            if not any(option.startswith(flag) for option in options):
                long = [one.removeprefix("--") for one in options if one.startswith("--")]
                near = did_you_mean(flag[2:], long).replace("mean ", "mean --")
                near = near or f"; it has {', '.join(sorted(options)) or 'none'}"
                yield f"{request.entry} declares no {flag}, which {flags[flag]}{near}"


_described = lru_cache(Script)


def _name_pattern(glob: str) -> re.Pattern[str]:
    # Without (?s: and )\Z
    words = [fnmatch.translate(part)[4:-3] for part in re.split(r"\{(?:epoch|iter)\}", glob)]
    return re.compile(r"(\d{1,9})".join(words), re.DOTALL)


def _arguments(command: str) -> list[str]:
    """The words of a command behind its script."""
    words = shlex.split(command)
    return words[next(n for n, word in enumerate(words) if {"entry", "module"} & places(word)) + 1 :]


def _named_files(root: Path, entry: str, config: str, arguments: list[str]) -> list[str]:
    """The script, the config and the files of settings among the arguments, each once."""
    words = [word.rpartition("=")[2] for word in arguments]
    named = [word for word in words if word.endswith((*_DATA, ".py")) and (root / word).is_file()]
    return list({os.path.normpath(name): name for name in (*named, config, entry)}.values())


def _said_by(path: Path, label: str) -> Iterator[tuple[str, str]]:
    """What a file says without its comments, as "label: key" and text; OSError or ValueError."""
    raw = content(path)
    try:
        if path.suffix in _DATA:
            data = _keyed(bounded(_DATA[path.suffix](raw), "it"))
            found = flat(data if isinstance(data, dict) else {"": data})
            yield from ((f"{label}: {key}", cut(repr(value))) for key, value in found)
            return
        raw = ast.unparse(ast.parse(raw)).encode() if path.suffix == ".py" else raw
    except (yaml.YAMLError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{path.name}: {' '.join(str(error).split())}") from None
    yield label, f"sha256 {hashlib.sha256(raw).hexdigest()[:12]}"


def _keyed(data: Any) -> Any:
    """The same, its keys as text: YAML has numbers as keys."""
    return {str(key): _keyed(value) for key, value in data.items()} if isinstance(data, dict) else data


def _option(words: list[str], name: str, value: Option) -> Iterator[str]:
    """An option as its template spells it; null is left out."""
    alone = isinstance(value, bool) and "{value}" in words
    if value is None or (alone and not value):
        return
    for word in words:
        if word != "{value}":
            yield filled(word, {"name": name, "value": option_text(value)})
        elif not alone:
            yield from map(str, value) if isinstance(value, list) else (str(value),)
