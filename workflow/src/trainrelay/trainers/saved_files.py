"""The files of a work dir that are checkpoints, or look like some."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from trainrelay.checkpoint import Glance, glance
from trainrelay.errors import UserError
from trainrelay.system.files import first_below, inside, reading

READ = (".pth", ".pt", ".pth.tar", ".ckpt")
ENDINGS = (*READ, ".safetensors")
# What other frameworks save, and the folders in which DeepSpeed, transformers and others do.
_OTHER = re.compile(
    r"\.(h5|keras|pdparams|distcp)$|(ckpt|checkpoint|weights|model).*\.(pkl|npz|msgpack)$", re.I
)
_FOLDER = re.compile(r"(global_?step|checkpoint|ckpt)[-_]?\d", re.I)
_ASIDE = re.compile(r"\.(damaged\d*|new)$")
_HEAD_BYTES = 4096  # one page: the first member's name, or the imports with which a pickle begins


def checkpoint_files(work_dir: Path) -> list[Path]:
    """Plain files whose names say that they are checkpoints; none where the folder does not exist."""
    named = filter(_is_named_so, inside(work_dir))
    return [path for path in named if path.is_file() and not path.is_symlink()]


def checkpoint_folders(work_dir: Path) -> list[Path]:
    """Folders of a work dir, of whatever name, but no links and none that we have put aside."""
    folders = (path for path in inside(work_dir) if path.is_dir() and not path.is_symlink())
    return [path for path in folders if not (path.name.startswith(".") or _ASIDE.search(path.name))]


def by_epoch(files: Iterable[tuple[Glance, Path]], epoch_base: int) -> list[tuple[int, Path]]:
    """Those that know their epoch, the newest first. Of one epoch, copies of the best or of averages last,
    and those with a number in their name first: none is written over."""
    found = [(seen.number, _rank(seen, path), path) for seen, path in files if seen.number is not None]
    return [(number + epoch_base, path) for number, _, path in sorted(found, reverse=True)]


def _rank(seen: Glance, path: Path) -> tuple[bool, bool, int]:
    copy = re.search(r"best|ema|swa", path.name, re.IGNORECASE)
    return not copy, re.search(r"\d", path.name) is not None, seen.stamp[2]


def not_understood(
    paths: Iterable[Path], glanced: Callable[[Path], Glance] = glance
) -> list[tuple[Path, str]]:
    """Those of the files that are no checkpoints, each with why; weights alone are understood, as are files
    whose names tell their epoch."""
    return [(path, why) for path in sorted(paths) if (why := glanced(path).problem)]


def misplaced_checkpoints(work_dir: Path, saved: Iterable[Path], since_s: float) -> list[tuple[Path, str]]:
    """What looks like a checkpoint and was written since then, but is none of `saved` nor in one of them.

    Links, other endings, and what is up to three folders down (Lightning's); of thousands of files not all.
    What we have renamed is none.
    """
    known = set(saved)
    found = (one for one in first_below(work_dir, 3) if not known.intersection((one, *one.parents)))
    others = (
        one for one in found if not any(_ASIDE.search(part) for part in one.relative_to(work_dir).parts)
    )
    return [(path, why) for path in others if (why := _why_hidden(path, work_dir, since_s))]


def _why_hidden(path: Path, work_dir: Path, since_s: float) -> str | None:
    try:
        is_alias = path.is_symlink() and path.resolve().parent == path.parent.resolve()
        if is_alias or path.lstat().st_mtime < since_s:
            return None
        if path.is_dir():
            return "is a folder, named as one of checkpoints" if _FOLDER.match(path.name) else None
        if not (_is_named_so(path) or _OTHER.search(path.name) or _holds_tensors(path)):
            return None
    except (OSError, UserError):
        return None
    seen = glance(path)
    if seen.problem or seen.number is None:
        return seen.problem
    where = "is in a folder below" if path.parent != work_dir else "is not where checkpoints are asked for"
    named = path.name.lower().endswith(READ) and not path.is_symlink()
    return where if named else f"is no file that ends in {', '.join(READ)} in the work dir"


def _holds_tensors(path: Path) -> bool:
    """Whether a file begins as those of torch.save do, or as a pickle with something of torch in it."""
    with reading(path) as file:
        head = file.read(_HEAD_BYTES)
    return (head.startswith(b"PK") and b"/data.pkl" in head) or (
        head.startswith(b"\x80") and b"torch" in head
    )


def could_be_overwritten(work_dir: Path, *others: str) -> list[str]:
    """Names of all that looks like a checkpoint, links too, and of `others`."""
    return sorted(path.name for path in inside(work_dir) if _is_named_so(path) or path.name in others)


def _is_named_so(path: Path) -> bool:
    return path.name.lower().endswith(ENDINGS)
