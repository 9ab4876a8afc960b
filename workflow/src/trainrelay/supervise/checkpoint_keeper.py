"""A trainer that overwrites its only checkpoint has none meanwhile: the write may finish, a copy is kept."""

from __future__ import annotations

import math
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import psutil

from trainrelay.checkpoint import Stamp, newest_valid, stamp_of
from trainrelay.errors import Fenced, UserError
from trainrelay.records import Owner
from trainrelay.supervise.job import StageJob
from trainrelay.supervise.nodes import end_everywhere, steps_of
from trainrelay.supervise.process import Ending
from trainrelay.supervise.resume import leftovers
from trainrelay.system.alive import Kin, Process, find
from trainrelay.system.files import copy_durably, files_below, put_in_place, remove, remove_left_overs
from trainrelay.trainers import Trainer
from trainrelay.training.owners import NAME as OWNER
from trainrelay.training.owners import owner_of, put
from trainrelay.training.step_checkpoints import roll

FileStates = dict[str, tuple[int, int, int]]  # inode, bytes and time of change of each file

# Also under the name that it has until it is put in place.
_CHECKPOINT = re.compile(r"\.(pth|pt|ckpt|safetensors)(\.tar)?([._-]?(tmp|temp|part|new)[\w.-]*|~)?$", re.I)
_NUMBER = re.compile(r"\d")
_LOOK_S = 0.5  # a listing of the work dir, which may be on a network file system
_REST = 10  # times as long as the last listing took: of thousands of folders it is no load either
_ROLL_S = 10.0  # between two looks at step checkpoints, which come minutes apart
_END_LOOK_S = 0.05  # the next write must not begin between its end and our SIGTERM
_UNDERSTAND_S = 30.0  # a write is over when a second look finds the same
_LAST_COPY_S = 30.0  # some gigabytes; a copy that takes longer is given up


class CheckpointKeeper(threading.Thread):
    """A thread that copies what will be overwritten: gigabytes delay neither a look nor a stop."""

    def __init__(
        self,
        job: StageJob,
        say: Callable[[str], None],
        guard: Callable[[], object] = bool,
        running: int | None = None,
    ) -> None:
        super().__init__(daemon=True)
        self._running, self._rolls_at_s, self._listing_s = running, 0.0, 0.0
        self._puzzles: dict[tuple[Path, Stamp], float] | None = None  # not understood: since when
        self._understand_at_s = 0.0
        self._puzzled_by: FileStates | None = FileStates()  # what was there then; None: it has been said
        self._job, self._say, self._guard = job, say, guard
        self._before, self._seen = FileStates(), FileStates()  # at the last two looks
        self._retained: FileStates | None = None  # what was there when `keep` was last asked what goes
        self._epochs: dict[Path, int] = {}  # of each file when it was seen first
        self._closed, self._troubles = threading.Event(), set[str]()
        self._owner: Owner | None = None
        self._left: FileStates | None = None  # where owner.json is gone: what was there then
        with suppress(OSError, UserError):
            self._owner = owner_of(job.work_dirs.current)
            self._device = job.work_dirs.current.stat().st_dev

    def end(self, kin: Kin, grace_s: float, hurry: Callable[[], bool] = bool, write_s: float = 0.0) -> Ending:
        """As `end_everywhere`, but Python dies of a SIGTERM: before it a write may end, within the grace or
        `write_s`."""
        now_s = time.monotonic()
        until_s, written_s = now_s + grace_s, now_s + max(grace_s, write_s)
        if grace_s > 0 and (members := find(kin)):
            self._wait(members, lambda: hurry() or time.monotonic() >= written_s)
        left_s = max(until_s - time.monotonic(), 0.0)
        ending = end_everywhere(steps_of(self._job.request), kin, left_s, hurry)
        self._own_again()
        return ending

    def _wait(self, members: Sequence[Process], over: Callable[[], bool]) -> None:
        folder, seen, written = self._job.trainer.saves_in(self._job.work_dirs.current), self._before, ""
        while not over():
            before, seen = seen, self._files()
            # Not every writer is seen: it may be on another node, or in a container.
            both = ((one, before[one], seen[one]) for one in before.keys() & seen.keys())
            grown = (one for one, was, now in both if was[0] == now[0] and was[1] < now[1])
            held = _open_for_writing(folder, members, {name.partition("/")[0] for name in seen})
            if not (name := held or next(grown, None)):
                break
            if not written:
                self._say(f"waiting for the write of {name} to end")
            written = name
            # Once it is closed, the next write must not begin: that it grew until then is no reason to wait.
            seen = FileStates() if held else seen
            time.sleep(_END_LOOK_S if held else _LOOK_S)
        if written:
            self._say(f"the write of {written} {'did not end in time' if over() else 'has ended'}")

    def run(self) -> None:
        """Copies until it is closed, or the stage is another's."""
        with suppress(Fenced):
            while not self._closed.wait(max(_LOOK_S, min(_REST * self._listing_s, _UNDERSTAND_S))):
                # Now rather than between this training and the next: judging the last checkpoint needs it.
                import_module("numpy")
                for part in (self.look, self._roll, self._understand):
                    self._tried(part)

    def _tried(self, part: Callable[[], None]) -> None:
        """What cannot be read now may be readable at the next look: it ends neither this nor the training."""
        try:
            part()
        except (OSError, UserError) as error:
            why = str(error)
            if isinstance(error, OSError):
                why = f"{error.filename or 'a file'}: {error.strerror or error}"
            if (trouble := why.partition(";")[0]) not in self._troubles:
                self._troubles.add(trouble)
                self._say(f"warning: checkpoints are looked at again later: {trouble}")

    def close(self) -> None:
        """The copy that is being made is the last one."""
        self._closed.set()
        self.join(_LAST_COPY_S)

    def look(self) -> None:
        """Copies what was written since the last look; a disk that does not take it ends no training."""
        began_s = time.monotonic()
        self._before, self._seen = self._seen, self._files()
        self._listing_s = time.monotonic() - began_s
        with suppress(OSError):  # nobody can tell now whether it is gone
            if not (self._job.work_dirs.current / OWNER).exists():
                self._left = self._seen if self._left is None else self._left
                if self._seen.items() - self._left.items():  # not before: it may be emptying it now
                    self._own_again()
        try:
            if self._before != self._seen:
                self._copy_newest()
        except (OSError, UserError) as error:
            self._say(f"warning: no copy of the newest checkpoint: {str(error).partition(';')[0]}")
        # Nothing is being written or renamed now, nor removed by the trainer itself.
        if self._job.retain and self._before == self._seen != self._retained:
            self._job.retain(self._guard, self._say)
            self._retained = self._files()

    def _roll(self) -> None:
        """Step checkpoints of the attempts before go once there are enough of this one."""
        saving, now_s = self._job.steps, time.monotonic()
        if saving and now_s >= self._rolls_at_s:
            self._rolls_at_s = now_s + _ROLL_S
            self._guard()
            roll(self._job.stage_dir, saving.keep, self._running)

    def _understand(self) -> None:
        """Says once that what the trainer saved is no checkpoint: its end may be days away.

        What is refused is whole; anything else may still be being written.
        """
        now_s = time.monotonic()
        if self._puzzled_by is None or (self._seen == self._puzzled_by and now_s < self._understand_at_s):
            return
        self._understand_at_s, self._puzzled_by = now_s + _UNDERSTAND_S, self._seen
        left = None if self._job.checkpoints() else leftovers(self._job, None)
        glances = ((path, self._job.trainer.glance(path)) for path in (left.files if left else ()))
        seen = {(path, one.stamp): 0.0 if one.refused else _UNDERSTAND_S for path, one in glances}
        known, since_s = self._puzzles or {}, math.inf if self._puzzles is None else now_s
        self._puzzles = {key: known.get(key, since_s) for key in seen}
        if left and any(at_s + seen[key] <= now_s for key, at_s in self._puzzles.items()):
            self._puzzled_by = None
            again = "; then stop and start it again: what is saved by then counts"
            how = f"; {left.remedy}{again}" if left.remedy else ""
            self._say(f"no checkpoint is understood yet: {left.text}{how}")

    def _own_again(self) -> None:
        """A trainer that empties its work dir has removed owner.json. Another disk there may be anybody's."""
        folder = self._job.work_dirs.current
        with suppress(OSError, UserError, Fenced):
            if self._owner and not owner_of(folder) and folder.stat().st_dev == self._device:
                self._guard()
                put(folder, self._owner)

    def _copy_newest(self) -> None:
        trainer, dirs = self._job.trainer, self._job.work_dirs
        if dirs.kept is None or not (found := trainer.checkpoints(dirs.current)):
            return
        (epoch, path), *others = found
        numbered = {saved for saved, other in others if _NUMBER.search(other.name)}
        overwritten = not _NUMBER.search(path.name) or self._epochs.setdefault(path, epoch) != epoch
        if not overwritten or numbered & {epoch - 1, epoch}:
            return
        # A training that began again does not cost the copy.
        least = max((saved for saved, _ in trainer.checkpoints(dirs.kept)), default=0)
        seen = self._seen.get(path.name)  # None: it came since
        if seen and epoch >= least and self._before.get(path.name) != seen:
            self._keep(epoch, path, trainer.saves_in(dirs.kept) / path.name)

    def _keep(self, epoch: int, path: Path, target: Path) -> None:
        """A copy that is not valid, or of what changed meanwhile, does not replace the one before."""
        aside, (_, size, saved_ns) = target.with_name(f"{target.name}.new"), self._seen[path.name]
        target.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(target.parent).free < 2 * size:  # the trainer's next write comes first
            raise OSError(f"{target.parent} has too little room")
        remove_left_overs(aside)
        copy_durably(path, aside)
        os.utime(aside, ns=(saved_ns, saved_ns))  # by it an attempt's record knows the file
        same = self._files().get(path.name) == self._seen.get(path.name)
        trainer, found = self._job.trainer, [(epoch, aside)]
        saved_as, bare = trainer.saved_as(path), trainer.saves_no_optimizer([path])
        if same and newest_valid(found, saved_as=lambda _: saved_as, without_optimizer=bare)[0]:
            self._guard()
            put_in_place(aside, target, trainer.saves_in(self._job.work_dirs.copies[-1]) / path.name)
        remove(aside)

    def _files(self) -> FileStates:
        return _files(self._job.trainer, self._job.work_dirs.current)


def _open_for_writing(folder: Path, members: Sequence[Process], folders: Collection[str] = ()) -> str | None:
    """A checkpoint, or a file in one of `folders`, that one of the processes has open for writing."""
    home = folder.resolve()  # as the kernel says them
    for member in members:
        with suppress(psutil.Error, OSError):  # it has ended, or is another user's
            for file in psutil.Process(member.pid).open_files():
                path = Path(file.path)
                if file.mode == "r":
                    continue
                if _CHECKPOINT.search(path.name) and path.parent.samefile(folder):
                    return path.name
                if path.is_relative_to(home) and (within := path.relative_to(home)).parts[0] in folders:
                    return str(within)
    return None


def _files(trainer: Trainer, work_dir: Path) -> FileStates:
    folder, found = trainer.saves_in(work_dir), FileStates()
    with suppress(OSError, UserError):
        for path in trainer.saved(work_dir) if trainer.saves_folders else ():
            found |= {str(one.relative_to(folder)): stamp_of(one) for one in (path, *files_below(path))}
        return found | _plain_files(folder)
    return {}


def _plain_files(folder: Path) -> FileStates:
    with suppress(OSError), os.scandir(folder) as entries:
        plain = (entry for entry in entries if _CHECKPOINT.search(entry.name) and not entry.is_symlink())
        found = ((entry.name, entry.stat()) for entry in plain)
        return {name: (stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in found}
    return {}
