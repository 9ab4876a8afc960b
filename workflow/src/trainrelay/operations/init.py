"""`trainrelay init`: what a folder needs so that `snakemake` and `trainrelay` work there, as in a clone."""

from __future__ import annotations

import os
import re
from pathlib import Path

from trainrelay.errors import Refusal, UserError
from trainrelay.packaged import ROOT, templates

PROFILES = ("local", "slurm", "slurm-chain", "slurm-native")
_SNAKEFILE = """\
# The workflow of the installed trainrelay; rules of your own may follow.
from trainrelay.packaged import SNAKEFILE


include: SNAKEFILE


rule everything:
    default_target: True # that of an included file is none
    localrule: True
    input:
        rules.all.input,
"""


def init(folder: Path, template: str) -> list[str]:
    """Write the files and return their names, but links whose names are taken; Refusal if a file is there."""
    files = _files(template)
    if there := [name for name in files if os.path.lexists(folder / name)]:
        raise Refusal(
            f"already in {folder}: {', '.join(there)}; nothing was written. Move them away, or run:"
            " trainrelay init FOLDER, and set root in its config.yaml to the trainer's checkout"
        )
    links = [name for name in PROFILES if not os.path.lexists(folder / name)]
    try:
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with (folder / name).open("x", encoding="utf-8") as file:
                file.write(text)
        for name in links:
            (folder / name).symlink_to(f"profiles/{name}")  # Snakemake looks for `--profile slurm` here
    except OSError as error:
        raise UserError(f"cannot write into {folder}: {error.strerror}: {error.filename}") from None
    return [*files, *links]


def _files(template: str) -> dict[str, str]:
    config = templates()[template].read_text(encoding="utf-8")
    site = (ROOT / "site.example.yaml").read_text(encoding="utf-8")
    return {
        # The schema that editors are to read is in a clone alone.
        "config.yaml": re.sub(r"\A# yaml-language-server: .*\n#\n", "", config),
        # Its values are those of an example: none counts before you have written it.
        "site.yaml": re.sub(r"(?m)^(?=[^#\n])", "# ", site),
        "Snakefile": _SNAKEFILE,
        **{
            f"profiles/{name}/config.yaml": (ROOT / f"profiles/{name}/config.yaml").read_text(
                encoding="utf-8"
            )
            for name in PROFILES
        },
    }
