"""What to run, spelled so that it works where it is read."""

from __future__ import annotations

import os
import re
import shlex
from contextlib import suppress
from pathlib import Path

from trainrelay.errors import UserError
from trainrelay.system.files import content, write_bytes

TYPED_VARIABLE = "TRAINRELAY_CONFIGFILE"  # what you typed, for the jobs of a workflow, which read a snapshot
PROFILE_VARIABLE = "TRAINRELAY_PROFILE"  # that of Snakemake's command line, for its jobs
_LAST_PROFILE = Path(".snakemake/trainrelay/profile")  # of the last snakemake here, for verbs
_LAST_CONFIG = _LAST_PROFILE.with_name("configfile")  # of the last one that started jobs
DEFAULT_CONFIGFILE = Path("config.yaml")
_COMMAND = re.compile(
    r"(trainrelay plan\b|trainrelay (?:accept|doctor|stop|watch|restore|probe) [\w-]+/\w+(?: \d+\b)?"
    r"|snakemake (?:--unlock|--profile [^\s;,)]+(?: --forcerun (?:'[^']*'|[^\s;,)]+))?))"
)


def made_again(file: Path) -> str:
    """How Snakemake makes a file again: by its name, for the rules of a module may have a prefix."""
    return f"snakemake --profile local --forcerun {shlex.quote(str(file))}"


def typed(configfile: Path | None) -> Path | None:
    """The config as you type it here; a job may know it by another path."""
    named = os.environ.get(TYPED_VARIABLE) or configfile
    if named is None:
        return None
    try:
        path, here = Path(named), Path.cwd()
    except OSError:
        raise UserError("the folder that you are in was deleted; run: cd FOLDER") from None
    return path.relative_to(here) if path.is_relative_to(here) else path


def use_profile(profile: str) -> None:
    """That of this call of Snakemake, for what its jobs say, and the verbs that you type after it."""
    os.environ[PROFILE_VARIABLE] = profile
    _remember(_LAST_PROFILE, profile)


def use_config(path: Path) -> None:
    """The config of the workflow that starts here, for the verbs that look at what runs."""
    _remember(_LAST_CONFIG, str(path))


def last_config() -> Path:
    """The config that `use_config` named in this folder, if it is still there; else config.yaml."""
    path = Path(_remembered(_LAST_CONFIG) or DEFAULT_CONFIGFILE)
    return path if path.is_file() else DEFAULT_CONFIGFILE


def _remember(file: Path, text: str) -> None:
    with suppress(OSError):  # in a folder that cannot be written to nothing runs
        file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(file, os.fsencode(text))


def _remembered(file: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return content(file).decode()
    return ""


def with_configfile(text: str, configfile: Path | None) -> str:
    """The commands in a message name the profile in use and the config that the message is about."""
    if profile := os.environ.get(PROFILE_VARIABLE) or _remembered(_LAST_PROFILE):
        text = text.replace("--profile local", f"--profile {shlex.quote(profile)}")
    if configfile is None or configfile == DEFAULT_CONFIGFILE:
        return text
    return _COMMAND.sub(lambda found: f"{found[1]} --configfile {shlex.quote(str(configfile))}", text)
