"""The section `script` of a trainer: how a command line is spelled, what it prints and leaves."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from trainrelay.progress_lines.described import compiled
from trainrelay.text import did_you_mean
from trainrelay.trainers.saved_files import READ

PLACES = (
    *("launcher", "interpreter", "entry", "nproc", "nodes", "node_rank", "master_addr", "master_port"),
    *("config", "work_dir", "epochs", "iters", "seed", "backend", "device", "module"),
)
_PLACE = re.compile(r"\{(\w+)\}")
_SHELL = re.compile(r"[|&;<>]+|.*\$[({\w].*|\d?>.*")  # words that only a shell would understand


def places(template: str) -> set[str]:
    """The names in braces."""
    return set(_PLACE.findall(template))


def filled(word: str, said: Mapping[str, str]) -> str:
    """A word with the values in place of the names in braces."""
    return _PLACE.sub(lambda found: said[found[1]], word)


def _template(*needed: str, others: tuple[str, ...] = ()) -> Callable[[str], str]:
    """Refuses a template without what it needs, or with names that mean nothing there."""

    def checked(template: str) -> str:
        known = dict.fromkeys((*needed, *others))
        for name in sorted(places(template) - set(known)):
            allowed = ", ".join(f"{{{one}}}" for one in known)
            raise ValueError(f"unknown {{{name}}}; allowed: {allowed}{did_you_mean(name, known)}")
        for name in known:
            if re.search(rf"\{{{name}\b(?!}})|(?<!{{)\b{name}\}}", template):
                raise ValueError(f"a brace of {{{name}}} is missing; write {{{name}}}")
        for name in [one for one in needed if one not in places(template.replace("{module}", "{entry}"))]:
            raise ValueError(f"has no {{{name}}}; write it where it belongs")
        try:
            words = shlex.split(template)
        except ValueError as error:
            raise ValueError(f"cannot be split into words ({error}); close the quotes") from None
        if not others and re.match(r"env (?![A-Za-z_]\w*=\{backend\}\Z)", template):
            raise ValueError("write: env NAME={backend}")
        if "{launcher}" in template and "{launcher}" not in words:
            raise ValueError("{launcher} is a word by itself")
        variables = [word for word in words[:1] if "entry" in needed and re.match(r"[A-Za-z_]\w*=", word)]
        for odd in (*variables, *filter(_SHELL.fullmatch, words)):
            how = "set that in trainer.env" if variables else "write a script for it"
            raise ValueError(f"is started without a shell, which {odd!r} needs; {how}")
        return template

    return checked


def _pattern(text: str) -> str:
    if not compiled(text).groupindex:
        raise ValueError(
            "has no named group; write (?P<epoch>..), (?P<iter>..), (?P<loss>..) around the numbers"
        )
    return text


def _classes(text: str) -> str:
    top = text.partition(".")[0]
    if top in sys.stdlib_module_names or not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\.(\w+|\*)", text):
        raise ValueError("names no class of yours; write PACKAGE.CLASS, or PACKAGE.* for all of a package")
    return text


def _glob(text: str) -> str:
    folder, name = PurePath(text).parent, PurePath(text).name
    if name in ("", "..") or folder.is_absolute() or re.search(r"[*?\[{]|(^|/)\.\.(/|$)", str(folder)):
        raise ValueError('is a name in the work dir, or in a folder below that has no *, as "weights/*.pt"')
    if places(text) - {"epoch", "iter"} or text.count("{epoch}") + text.count("{iter}") > 1:
        raise ValueError("knows *, ? and one {epoch} or {iter}")
    return text


def _checkpoint_names(text: str) -> str:
    (wild, tail), *_ = re.findall(r"([*?\]]?)([^*?\]}]*)$", text.lower())
    found = any(tail.endswith(one) or (wild and one.endswith(tail)) for one in READ)
    if not (found or text.endswith("/")):
        raise ValueError(
            f"finds none: a checkpoint is a file in the work dir that ends in {', '.join(READ)}; of a folder,"
            ' as of Hugging Face\'s Trainer, write a slash behind the name: "checkpoint-{iter}/"'
        )
    return _glob(text)


_Added = Annotated[str, AfterValidator(_template(others=("checkpoint", *PLACES)))]


class ScriptSettings(BaseModel):
    """A script in its own words. Templates are split into words as a shell does, and started without one."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)

    command: Annotated[str, AfterValidator(_template("entry", others=PLACES))]
    """The command line, e.g. "{launcher} {entry} --epochs {epochs} --out {work_dir}"; {iters} in place of
    {epochs} for a stage that counts iterations. {launcher} is torchrun by the trainer's Python; a script that
    starts its ranks itself has {interpreter}, {nproc}, {nodes}, {node_rank}, {master_addr}, {master_port}.
    Also {config}, {seed}, {backend}, {device}; and -m {module} in place of {entry}, of a package in root."""
    resume: _Added = "--resume {checkpoint}"
    """What is added to resume; "" for a script that finds its newest checkpoint by itself."""
    init: Annotated[str, AfterValidator(_template("init_checkpoint", others=PLACES))] | None = None
    """What is added to start from an earlier stage's checkpoint, e.g. "--finetune {init_checkpoint}"."""
    backend: Annotated[str, AfterValidator(_template("backend"))] | None = None
    """How the script learns its backend: what is added, e.g. "--dist-backend {backend}", or, as a variable
    of its environment, "env NAME={backend}"; null: it always uses the same."""
    options: Annotated[str, AfterValidator(_template("name", "value"))] = "--{name} {value}"
    """How each of a stage's options is added, e.g. "{name}={value}". Where {value} is a separate word, true
    adds the words before it alone, and false none."""
    cwd_is_work_dir: bool = False
    """true: starts in the work dir, for a script that saves to its current folder."""
    progress: tuple[Annotated[str, AfterValidator(_pattern)], ...] | None = Field(default=None, strict=False)
    """Regular expressions for its lines, with groups (?P<epoch>..), (?P<epochs>..), (?P<iter>..) within the
    epoch, (?P<iters>..), (?P<loss>..) or any metric, (?P<val_NAME>..) of an evaluation. Where the stage
    counts iterations, (?P<iter>..) is within the whole training, and no epoch is needed. null: most lines
    that name where the training is and a loss are understood."""
    metrics: Annotated[str, Field(pattern=r"^[^/*?\[{]+$")] | None = None
    """A CSV or JSON-lines file in the work dir, with a column epoch or iter, read in place of lines."""
    checkpoints: Annotated[str, AfterValidator(_checkpoint_names)] = "*"
    """Which files of the work dir are checkpoints, e.g. "model_{epoch}.pt" or "weights/{iter}.pt", by which a
    name tells its epoch or iteration; without, a checkpoint's content does. With a slash at its end, folders,
    as "checkpoint-{iter}/" of Hugging Face's Trainer."""
    counted: Annotated[str, Field(pattern=r"^[^.]+(\.[^.]+)*$", max_length=200)] | None = None
    """The key of a checkpoint that holds its epoch or iteration, dotted where it is within another, e.g.
    finished_epoch or trainer.epoch; null: epoch, iteration, global_step or another usual one."""
    classes: tuple[Annotated[str, AfterValidator(_classes)], ...] = Field(default=(), strict=False)
    """Classes of yours that its checkpoints hold as objects, e.g. my_package.config.Config, or my_package.*;
    their code is not run. Any other is refused, and one that is called, as an Enum, if not named itself."""
    sample_log: str | None = None
    """A log (or metrics file) of such a training, relative to root: `trainrelay check` shows what it says."""
