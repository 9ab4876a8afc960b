"""Plain lines: a place and numbers, or numbers below their place (pure)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from trainrelay.progress_lines.bars import is_bar
from trainrelay.progress_lines.names import EVALUATED, NUMBER, is_known, is_of_phase, trained_and_evaluated
from trainrelay.progress_lines.places import Parts, parts_of

_DARKNET = re.compile(rf"^\s*(\d{{1,9}}): [^ ]{{1,20}}, ({NUMBER}) avg(?: loss)?, ([\d.]{{1,20}}) rate,.*")
_BARE = re.compile(r"^(\d{1,9}) (train|val) (\d{1,9}\.\d{1,20}|nan|inf)\s*$")  # build-nanogpt
_IS = re.compile(r"(?i)(loss|acc|accuracy)(?: so far)? is(?= )")
_UNQUOTED = str.maketrans("{}", "  ", "\"'")
_REACHED = re.compile(r"\bmax_epochs=(\d{1,9})` reached")  # Lightning
# `Epoch 3, global step 400: 'val/acc' reached 0.5 (best 0.5), saving ..`, or `was not in top 1`
_CHECKED = re.compile(
    r".{0,200}?Epoch (\d{1,9}), global step (\d{1,9}): '?([\w/.-]{1,80})'? "
    rf"(?:reached ({NUMBER})|was not in)"
)
EPOCHS = {"epoch", "epochs"}
_MEASURE = re.compile(r"psnr|ssim|dice|mAP|mIoU|NDS", re.IGNORECASE)
_EVALUATES = re.compile(rf"(?:^\s{{0,3}}|INFO\s{{1,3}})\*\s|saving dict|{EVALUATED}", re.IGNORECASE)
_ASIDE = re.compile(
    r"(?i)\b(?:resum|continu|load|restor|initiali|sav(?:e|ing(?! dict))|improve|checkpoint|snapshot)\w{0,9}"
    r"|[a-z_](?<!val)\("
)
_RESUMED = re.compile(r"\b(?:resum|restor|reload)(?:ed|ing)\b|\bloaded\b", re.IGNORECASE)
# Before a place: that it is another's, or what may be without a sign between.
_OF_ANOTHER = re.compile(
    r"(?i)\b(?:best|previous|last|start(?!ing \Z)\w*|initial|warm|args?|arguments|conf\w*|options?"
    r"|h\w*params?|schedul\w*|state)(?:\b|_)"
)
_BEFORE_PLACE = re.compile(
    rf"(?:.*[^A-Za-z])?(?:[A-Z]+|(?i:train(?:ing|er)?|global|cur(?:rent)?|total|in|at|of|after|for|finished"
    rf"|completed|starting|the|{EVALUATED})|)"
)
_WORD = re.compile(r"[A-Za-z]{2}")
_PROSE = 8  # pairs of letters before the numbers of a line that has no loss, behind its logger's own words
_NOTHING = re.compile(r"(?i)(?:.*\b(?:INFO|DEBUG)\b)?\W*+(?:(?:train|val|test)\w{0,9}(?: \w{1,20})?)?\W*+")
_MEAN = re.compile(
    r"(?i)(?:.*\bINFO\b|\[[^\]]{0,80}\])?\W*+(?:mean|avg|average|epoch)[ _](?:\w{1,9}[ _])?loss\b"
)
_SUMMED = re.compile(r"[ -]{0,9}\d{1,6}s - (?=.{0,500}loss: )")  # Keras with verbose=2
_OF_PHASE = re.compile(r"\W*(?:train|val|test)")
_BATCH = re.compile(r"\bbatch\W{0,20}\d{1,9}\s?/", re.IGNORECASE)
_BELOW = re.compile(r"(?:\s{2,}|\t|\s?>)\W{0,9}(?=[A-Za-z])")


class PlainLines:
    """Follows plain lines."""

    def __init__(self) -> None:
        self._whole: str | None = None  # iterations of an epoch; "" below a line that only names it
        self._place: Mapping[str, str] = {}  # of the line before, while numbers may follow it
        self.summed = False  # the epoch is over: bars that name none are of the next
        self.nearly = False  # the newest was of an evaluation's last line, or of the one before it
        self._named: Literal["", "train", "val"] = ""  # what a line without numbers said of the newest epoch

    def may_follow(self, line: str) -> bool:
        """Whether it is below a place, to which its numbers may belong."""
        return bool(self._place and _BELOW.match(line))

    def passed(self, line: str) -> None:
        """A line came that is none of these."""
        self._place = {}
        self._named = "" if self._named and _EVALUATES.search(line) else self._named

    def said(self, line: str, newest: int | None, iters: int | None) -> Mapping[str, object]:
        """Names and values. `newest`: epoch or, where these count, iteration; `iters` as LineReader's."""
        self.nearly = False
        if lightning := _of_lightning(line) if iters is None else {}:
            return lightning
        line = _DARKNET.sub(r"iter \1 loss: \2 lr: \3", line) if " rate," in line else line
        line = _BARE.sub(r"iter \1 \2_loss: \3", line) if line[:1].isdigit() else line
        line = _IS.sub(r"\1:", line) if " is " in line else line
        found = parts_of(line.translate(_UNQUOTED) if '"' in line or "': " in line else line)
        alone = len(found.pairs) == 1 and not found.place and iters is None
        summed = self._named and not found.place and iters is None and _SUMMED.match(line)
        if summed or (self._named and alone and _MEAN.match(found.line)):
            phase = f"{self._named}_"
            return {n if is_of_phase(n) else phase + n: value for n, value in found.pairs.items()}
        own = "epoch" in found.place or (_counts(found) and (found.pairs or found.place["iters"]))
        if not own and self.may_follow(found.line):
            return {**found.pairs, **self._place} if found.pairs else {}
        self._place = _above(found, iters is not None and {"iter": str(newest)})
        of_epoch = iters is not None and "iters" in found.place and _BATCH.search(found.line)
        if of_epoch or _ASIDE.search(found.head) or _RESUMED.search(found.line):
            return {}
        if found.pairs:
            return self._numbers(found, newest, iters)
        of_other = "best" in found.head.lower() or "at  \1 " in found.head
        begun = set() if of_other else EPOCHS & found.place.keys()
        self.summed &= not begun
        self._named = ("val" if _EVALUATES.search(found.head) else "train") if begun else self._named
        self._whole = "" if "epoch" in begun else self._whole
        return {name: found.place[name] for name in begun}

    def _numbers(self, found: Parts, newest: int | None, iters: int | None) -> Mapping[str, object]:
        place, pairs, head, has_loss = found.place, found.pairs, found.head, found.has_loss
        said: dict[str, object] = {**pairs}
        # An evaluation's: the training's lines name their epoch, or are below its name, and another length.
        other = self._whole and "epoch" not in place and place.get("iters") not in (None, "", self._whole)
        evaluates = other or _EVALUATES.search(head) or all(map(_MEASURE.fullmatch, pairs))
        if evaluates:
            self._named = ""
            at, of = int(place.get("iter", 0)), int(place.get("iters", 0) or 0)
            if at + 1 < of:  # not its last line
                return {}
            self.nearly = at + 1 == of
            numbers = pairs | (found.means if of else {})
            trained, evaluated = trained_and_evaluated({name: float(text) for name, text in numbers.items()})
            said = {f"val_{name}": value for name, value in {**trained, **evaluated}.items() if name != "lr"}
            place = {} if of else place
        elif iters and ("epoch" in place or 0 < int(place.get("iters") or 0) < iters):
            return {}  # of an epoch, perhaps
        placed = evaluates or {"epoch", "iter"} <= place.keys() or ("iter" in place and "lr" in pairs)
        of_metric = any(is_known(name) or is_of_phase(name) for name in pairs.keys() - {"lr", "grad_norm"})
        placed = placed or ("epoch" in place and of_metric)
        prose = len(_WORD.findall(head.rpartition("INFO")[2])) >= _PROSE
        known = place and (has_loss or (placed and not prose))
        of_it = newest is not None and (iters is None or any(map(is_of_phase, pairs)))
        score = evaluates and of_it and (has_loss or any(map(is_known, pairs)))
        if iters is not None and {"train_loss", "val_loss"} <= said.keys() and "lr" not in said:
            del said["train_loss"]  # of an evaluation (nanoGPT)
        here = (known or score or _is_of_phase(found)) and not _is_of_another(head)
        if here and not evaluates and ("epoch" in place or self._whole == ""):
            self._whole = place.get("iters") or self._whole
            self.summed = "iter" not in place and has_loss and "epoch" in place
        return {**said, **place} if here else {}


def _of_lightning(line: str) -> Mapping[str, object]:
    """What Lightning says between its bars: that it ends, and what its ModelCheckpoint watched."""
    if "max_epochs=" in line and (reached := _REACHED.search(line)):
        return {"epochs": reached[1]}
    if "global step " in line and (checked := _CHECKED.match(line)):
        return {"epoch": checked[1], "global_step": checked[2], checked[3]: checked[4]}
    return {}


def _counts(found: Parts) -> bool:
    """Whether a word before the numbers says that iterations are counted."""
    return "iter" in found.place and "\0" in found.head


def _above(found: Parts, newest: Mapping[str, str] | Literal[False]) -> Mapping[str, str]:
    """The place to which numbers of the next lines may belong; `  batch: 64` is one of a list of settings."""
    bare = found.head.strip() == "\0" and not _BELOW.match(found.line)
    alone = not found.pairs and bool(found.place.get("iters") or bare)
    before, _, behind = found.head.rpartition("\0")
    if not _counts(found):
        return {}
    if alone and _EVALUATES.search(before.partition("\0")[0]):
        return newest or {}  # it counts the evaluation's batches
    return found.place if found.has_loss or (alone and not _WORD.search(behind)) else {}


def _is_of_phase(found: Parts) -> bool:
    """Whether it says no more than which phase its numbers are of; how much of a bar is done is none."""
    begins = next(iter(found.pairs)), found.head.lower()
    return bool(
        (found.has_loss or len(found.pairs) == 1)
        and _NOTHING.fullmatch(found.head)
        and any(map(_OF_PHASE.match, begins))
        and not is_bar(found.line)
    )


def _is_of_another(head: str) -> bool:
    """Whether a place is none of this training, by what is before it, or in the middle of a sentence."""
    before, *place = re.split("[\1\0]", head, maxsplit=1)
    goes_on = not _BEFORE_PLACE.fullmatch(before.rstrip().rpartition(" ")[2])
    return bool(place) and (goes_on or _OF_ANOTHER.search(before) is not None)
