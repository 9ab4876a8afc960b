"""Lines of trainers that nobody described, by what they have in common (pure).

A line names where the training is, by a word (`epoch 3`, `iter: 20/500`), a fraction (`[3/90][20/500]`) or a
bar, and numbers by their names; what does not is no progress. Three forms go over lines: numbers below their
place, or below a line of names (`Epoch  box_loss  cls_loss`), and tables between rules (Stable-Baselines).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import TypeGuard

from trainrelay.progress_lines.bars import Bar, training_bar
from trainrelay.progress_lines.described import LineReader, LineSeen, is_of_evaluation, trained_and_evaluated
from trainrelay.progress_lines.trainer_rows import TrainerRows

NUMBER = r"(?i:[-+]?(?:(?:\d{1,99}(?:\.\d{0,99})?|\.\d{1,99})(?:e[-+]?\d{1,9})?|nan|inf(?:inity)?))"
# In lower case, it is in the first characters of each line that says something: most need no further look.
_SIGN = re.compile(
    r"(?:epoch|loss|step|ite|batch|update|accuracy|avg, |m(?:ap|iou)| \* )\D{0,25}?(?:\d|nan|inf)"
    r"|(?:epoch|class)\s\s|/(?:(?<=\d/)|(?<=\d\s/))\s{0,9}\d"
)
_BEGIN = 400  # characters
_NUMBERED = rf"(?P<value>{NUMBER})(?:%|s)?(?![\w./#-]|:\S|,\d)"  # nor half of one with a decimal comma
# Dates, times, places in code, and what is counted otherwise: their digits are no numbers of a training.
_ELSEWHERE = re.compile(
    r"(?<![\w@])(?:\d{1,4}[-/]\d{1,4}(?:[-/]\d{1,4}[ T_]{1,3}|[ T_]{1,3}(?=\d\d:)))?\d{1,6}:\d\d(?::\d\d)?"
    r"(?:[.,]\d{1,9})?|\bcuda:\d|:(?<!poch:)(?<!tep:)(?<!ter:)(?<!atch:)\d{1,6}"
    r"(?:(?=\) [A-Z]|\]| - |\s{1,9}(?:[\w.]{1,60}:\d{1,6}\s{1,9})?(?:DEBUG|INFO|WARN))|:\w{1,60}(?=\]))"
    r"|\.py:\d{1,6}|[Ss]teps: {1,3}\d{1,3}%|(?:\b\d[\d.]{0,12} ?)?(?:it/s|s/it)"
    r"|(?i:\b(?:fold|rank|gpu|acc\w{0,9})\W{1,3}\d{1,9}\s?/\s{0,9}\d{1,9})"
)


def _counted(name: str) -> str:
    return (
        rf"\W{{0,20}}?(?:\d{{1,9}}-)?(?P<{name}>\d{{1,3}}(?:,\d{{3}})+|\d{{1,9}})"
        rf"(?:\]?\s?(?:/|of)\s{{0,9}}\[?(?P<{name}s>\d{{1,9}}))?(?![\w.%])"
    )


_OTHER = ("per", "max", "min", "best", "last", "every", "each", "total", "number of", "num of")
_EPOCH = re.compile(
    "".join(f"(?<!{words} )" for words in _OTHER)
    + rf"(?<![A-Za-z_/])(?:epoch(?:/epochs)?{_counted('epoch')}|(?P<before>\d{{1,9}})epoch(?=\W)"
    r"|train(?:ing)?: (?P<bare>\d{1,9})(?= {0,9}\[)|^(?P<tune>\d{1,9})(?=\|\d{1,9}\|loss))",  # torchtune
    re.IGNORECASE,
)
_ITER = re.compile(
    r"(?<![A-Za-z/])(?:(?:(?:cur|acc|global|num|total|train)[_ ])?"
    r"(?:ite(?:r|ra|a)?(?:tion)?s?|step|steps(?=\W{1,9}\d{1,9}\s?/)|batch|updates?|timesteps)"
    rf"{_counted('iter')}|\d{{1,9}}-(?P<batch>\d{{1,9}})batch(?=\W))",
    re.IGNORECASE,
)
_FRACTION = re.compile(r"(?<![\w./:-])(\d{1,9})\s?/\s{0,9}(\d{1,9}|Unknown)(?![\w./])")
# `490 | loss 5.75`, and no line of code; `writer.py:4] [490] loss=5.75`; `loss: 5.75  [  64/900]`, and bars
_FIRST = re.compile(r"\s{0,40}(\d{1,9})\s?[|:]\s(?!\s)|.{1,200}?\] \[(\d{1,9})\] (?=[\w/]{1,60}=)")
_BEHIND = re.compile(r"(?:\[ {0,9}|%\|[^|]{0,500}\| )(\d{1,9})/ {0,9}(\d{1,9})(?:\]\s*\Z| \[)")
# A number (and its mean), and a name of up to three words at the end of what is before. Without a sign
# between them only what is known to be a metric.
_VALUE = re.compile(
    rf"(?P<sign>\s?[:=]\s{{0,20}}(?:tensor)?[\[(]{{0,2}})?(?(sign)|\s{{1,20}}){_NUMBERED}"
    rf"(?: {{0,3}}\( {{0,3}}(?P<mean>{NUMBER})\))?"
)
_NAME = re.compile(r"[A-Za-z_][\w./@+-]*+(?:(?<!\.) [A-Za-z_][\w./@+-]*+){0,2}\Z")
_GAP = 100  # characters before a number in which its name is
_KNOWN = re.compile(
    r"(?:.*\W)?(?:\w*loss|lr|\w*acc(?:uracy)?|\w*acc@?\d|\w*ppl|\w*psnr|\w*ssim|\w*dice|m(?:AP|IoU)|gnorm|grad_norm)",
    re.IGNORECASE,
)
_LOSS = re.compile(
    r"loss(?!_?scal)|xent|objf|(?<![a-z])ppl|perplexity|nll|_rew_mean|reward|return(?!ed|_code)",
    re.IGNORECASE,
)
_MEASURE = re.compile(r"psnr|ssim|dice|mAP|mIoU", re.IGNORECASE)
_EVALUATED = r"(?<!/)\b(?:vali?|valid|validat\w{1,4}|dev|test|testing|eval|evaluat\w{1,4}|CV)\b"
_EVALUATES = re.compile(rf"(?:^\s{{0,3}}|INFO\s{{1,3}})\*\s|saving dict|{_EVALUATED}", re.IGNORECASE)
_PHASE = re.compile(rf"\b(train|training)\b|{_EVALUATED}", re.IGNORECASE)
_OWN_PHASE = re.compile(r"(?:train|val|dev|test|eval)[a-z]{0,9}[_/.-]|lr|grad_norm", re.IGNORECASE)
_ASIDE = re.compile(
    r"\b(?:resum|continu|load|restor|initiali|sav(?:e|ing(?! dict))|improve|checkpoint|snapshot)\w{0,9}"
    r"|[A-Za-z_]\(",
    re.IGNORECASE,
)
_RESUMED = re.compile(r"\b(?:resum|restor|reload)(?:ed|ing)\b|\bloaded\b", re.IGNORECASE)
# Before a place: that it is another's, or what may be without a sign between.
_OF_ANOTHER = re.compile(
    r"\b(?:best|previous|last|start(?!ing \Z)\w*|initial|warm|args?|arguments|conf\w*|options?|h\w*params?"
    r"|schedul\w*|state)(?:\b|_)",
    re.IGNORECASE,
)
_BEFORE_PLACE = re.compile(
    rf"(?:.*[^A-Za-z])?(?:[A-Z]+|(?i:train(?:ing|er)?|global|cur(?:rent)?|total|in|at|of|after|for|finished"
    rf"|completed|starting|the|{_EVALUATED})|)"
)
_CLOCK = re.compile(
    r"time|eta$|cost|elapsed|speed|per_|sec|ips$|fps$|tps$|mem|size|bsz|samples|tok|^wp|rank$|seed|number_of"
    r"|frames|^dt(?:_|$)|_pid$|wall$|computation|^(?:collection|total_steps|ups|n_updates|iterations|train|val|valid|test|epochs|steps|update|v_num|images|labels|targets|instances)$",
    re.IGNORECASE,
)
_FILLER = re.compile(
    r"info|debug|root|current|cur|average|avg\.?|mean|running|testing|the|and|is", re.IGNORECASE
)
_WORD = re.compile(r"[A-Za-z]{2}")
_PROSE = 8  # pairs of letters before the numbers of a line that has no loss
_NOTHING = re.compile(
    r"(?:.*\b(?:INFO|DEBUG)\b)?\W*+(?:(?:train|val|test)\w{0,9}(?: \w{1,20})?)?\W*+", re.IGNORECASE
)
_BATCH = re.compile(r"\bbatch\W{0,20}\d{1,9}\s?/", re.IGNORECASE)
_BAR = re.compile(r"[\x08]|(?=\b\d{1,9}/\d{1,9} \[[=>])")  # Keras draws over its bar
_BEGUN = re.compile(r"\s0/\d{1,9} (?:\[\d[\d:]{0,12}<|\d{1,9}:\d\d:\d\d •)")  # a bar: nothing is done yet
_STEPS = re.compile(r"(?:training )?steps: {1,3}\d", re.IGNORECASE)  # kohya's bar, of all epochs
_EPOCHS = {"epoch", "epochs"}
_REACHED = re.compile(r"\bmax_epochs=(\d{1,9})` reached")  # Lightning
_DARKNET = re.compile(rf"^\s*(\d{{1,9}}): [^ ]{{1,20}}, ({NUMBER}) avg(?: loss)?, ([\d.]{{1,20}}) rate,.*")
_IS = re.compile(r"(?i)(loss|acc|accuracy)(?: so far)? is(?= )")
_OWN_BAR = re.compile(r"(?i)\b((?:train|val|test|eval)[\w ]{0,20}): {1,9}\d{1,3}%(?=\|)")
_EVALUATION_BAR = re.compile(
    rf"[^|]{{0,200}}{_EVALUATED}[^|:=]{{0,80}}:?\s{{1,4}}(\d{{1,3}})%\|[^|]{{0,500}}\|", re.IGNORECASE
)
_TABLE_ROW = re.compile(rf"[|] {{1,99}}([\w/.@-][\w/ .@-]{{0,79}}?) {{1,99}}[|] {{1,99}}{_NUMBERED} *[|]\s*")
_COLUMN = re.compile(r"(?:^|\s)((?i:epoch|class)|all|\d{1,9}(?:/\d{1,9})?)\s{2,}(?=\S)")
_GROUP = re.compile(r"(\w{1,40})\(([^()]{0,200})\)")
_RULE = re.compile(r"-{10,}\s*")
_BELOW = re.compile(r"(?:\s{2,}|\s?>)\W{0,9}(?=[A-Za-z])")
MOST = 500  # numbers of one line


class ConsoleReader(LineReader):
    """Follows the lines of a console; `iters` as LineReader's."""

    reads_places = False

    def __init__(self, iters: int | None = None) -> None:
        super().__init__(iters)
        self._rows = TrainerRows(iters)
        self._names: list[str] = []  # of the table's columns
        self._one_more = False  # YOLO: of 50 epochs, from 0/49 to 49/49
        self._block: dict[str, str] = {}  # a table between rules
        self._whole = ""  # iterations of an epoch, where a line names both
        self._summed = False  # the epoch is over: bars that name none are of the next
        self._place: dict[str, str] = {}  # of the line before, while numbers may follow it
        self._shown: dict[str, str] = {}  # of an evaluation, by a bar
        self._scores: list[str] = []  # what Detectron2 names before it copies their values
        # All that were shown, and in which epoch before its end: each rank may show its own.
        self._known: dict[frozenset[tuple[str, str]], int] = {}
        self._bar = -1  # the epoch of the last one that showed numbers
        self._drawn: tuple[int, int, int] | None = None  # by the last bar: epoch, done and total

    def is_read(self, seen: LineSeen | None) -> TypeGuard[LineSeen]:
        """Also a bar without a number beside it."""
        at = seen and (seen.epoch, seen.iteration, seen.iters)
        return super().is_read(seen) or (at is not None and at == self._drawn)

    def _said(self, line: str) -> Mapping[str, object]:
        row = self._rows.numbers(line)
        self._evaluates = "amid" if row and "iter" in row else "epoch"
        return self._of_line(line) if row is None else row

    def _of_line(self, line: str) -> Mapping[str, object]:
        """Those of any trainer's line."""
        if bar := training_bar(line):
            return self._of_bar(bar)
        if row := _TABLE_ROW.fullmatch(line):
            self._block[_named(row[1])] = row["value"]
            return {}
        if self._block and not line.startswith("|"):
            block, self._block = self._block, {}
            kept = {n: v for n, v in block.items() if not _is_aside(n) and n != "loss"}
            counted = _RULE.fullmatch(line) and (block.get("total_timesteps") or block.get("epoch"))
            return {**kept, "iter": counted} if counted else {}
        says = _SIGN.search(line[:_BEGIN].lower())
        if (says or self._names) and (found := self._columns(line)):
            return found
        of_all = self._all_iters is None and _STEPS.match(line)
        drawn = _EVALUATION_BAR.match(line) if "%|" in line else None  # its last state counts
        of_next = self._summed and "%|" in line and not (drawn or _EPOCH.search(line))
        told = says or (self._place and _BELOW.match(line))
        if of_all or of_next or (drawn and drawn[1] != "100") or not told:
            self._place = {} if of_all or line.strip() else self._place
            return {}
        begun = " 0/" in line and _BEGUN.search(line)
        reached = "max_epochs=" in line and _REACHED.search(line)
        line = _BAR.split(line)[-1] if "[=" in line or "\b" in line else line
        line = _DARKNET.sub(r"iter \1 loss: \2 lr: \3", line) if " rate," in line else line
        if "%|" in line:
            line = f"val {line[drawn.end() :]}" if drawn else _OWN_BAR.sub(r"\1", line)
            line = line.replace(" - ", ": ")
        line = _IS.sub(r"\1:", line) if " is " in line else line
        line = line.translate(_PLAIN) if '"' in line else line
        said = {"epochs": reached[1]} if reached else self._numbers_of(_ELSEWHERE.sub(" ", line))
        return {name: said[name] for name in _EPOCHS & said.keys()} if begun else said

    def _copied(self, said: str) -> Mapping[str, object]:
        """Detectron2's scores, in a line of the task, one of names and one of numbers."""
        cells = said.split(",")
        if all(map(_is_number, cells)):
            return {f"val_{name}": value for name, value in zip(self._scores, cells, strict=False)}
        task = self._scores[0].partition("/")[0] if self._scores else ""
        self._scores = [said.removeprefix("Task: ")] if ": " in said else [f"{task}/{name}" for name in cells]
        return {}

    def _of_bar(self, bar: Bar) -> Mapping[str, object]:
        """A bar shows the newest evaluation until another: amid, at its end, or as the next begins. What is
        shown with the first step is none."""
        if self._all_iters is not None:
            return {}
        every = {name: value for n, value in bar.numbers.items() if not _is_aside(name := _named(n))}
        numbers = dict(_of_step_or_epoch(every))
        shown = {name: value for name, value in numbers.items() if is_of_evaluation(name)}
        amid, key = bar.done < bar.total, frozenset(shown.items())
        known = key in self._known if amid else self._known.get(key) == bar.epoch
        new = {} if shown == self._shown or known else shown
        before, self._bar = self._bar, bar.epoch if numbers and bar.done else self._bar
        self._shown = shown or self._shown
        self._known[key] = bar.epoch if amid else self._known.get(key, -1)
        self._drawn = (bar.epoch, bar.done, bar.total) if bar.done else None
        if amid:
            self._evaluates = "before" if 0 <= before < bar.epoch else "amid"
        new = new if self._evaluates == "before" or (bar.done and (before >= 0 or not amid)) else {}
        trained = {name: value for name, value in numbers.items() if bar.done and name not in shown}
        place = {"epoch": bar.epoch, "epochs": bar.epochs, "iter": bar.done, "iters": bar.total}
        return {**trained, **new, **place}

    def _columns(self, line: str) -> Mapping[str, object]:
        """The numbers below a line of names; one of YOLO's evaluations begins with `all`."""
        if "copypaste: " in line:
            return self._copied(line.partition("copypaste: ")[2].strip())
        if not (begin := _COLUMN.search(line, 0, _BEGIN)):
            return {}
        table = re.split(r":\s", line[begin.start(1) :], maxsplit=1)[0]
        cells = _GROUP.sub(lambda found: " ".join(f"{found[1]}_{n}" for n in found[2].split()), table).split()
        kind = cells[0].lower()
        if kind in ("epoch", "class") and len(cells) > 2 and not any(map(_is_number, cells)):
            self._names = cells
        if len(cells) != len(self._names) or (kind == "all") != (self._names[0].lower() == "class"):
            return {}
        pairs = zip(["total_loss" if n == "total" else n for n in self._names[1:]], cells[1:], strict=True)
        numbers = {_named(name): value for name, value in pairs if not _is_aside(name)}
        if kind == "all":
            return {f"val_{name}": value for name, value in numbers.items()}
        if not (at := re.fullmatch(r"(\d{1,9})(?:/(\d{1,9}))?", cells[0])):
            return {}
        self._one_more |= cells[0].startswith("0/")
        numbers |= {"epoch": at[1], "epochs": str(int(at[2]) + self._one_more) if at[2] else ""}
        bar = _FRACTION.findall(line, line.rfind(": ") + 1)
        return numbers | ({"iter": bar[-1][0], "iters": bar[-1][1]} if bar else {})

    def _numbers_of(self, line: str) -> Mapping[str, object]:
        place, pairs, means, head = _parts(line)
        counts = "iter" in place and "\0" in head
        below = self._place and "epoch" not in place and _BELOW.match(line)
        if below and not (counts and (pairs or place["iters"])):
            return {**pairs, **self._place} if pairs else {}
        named = any(map(_LOSS.search, pairs))
        alone = bool(place.get("iters")) and not pairs
        evaluation = alone and _EVALUATES.search(head.partition("\0")[0])
        begins = named or evaluation or (alone and not _WORD.search(head.rpartition("\0")[2]))
        self._place = place if counts and begins else {}
        if self._place and evaluation:  # it counts the evaluation's batches
            self._place = {"iter": str(self._iteration)} if self._all_iters is not None else {}
        of_epoch = self._all_iters is not None and "iters" in place and _BATCH.search(line)
        if of_epoch or _ASIDE.search(head) or _RESUMED.search(line):
            return {}
        if not pairs:
            begun = set() if "best" in head.lower() or "at  \1 " in head else _EPOCHS & place.keys()
            self._summed &= not begun
            return {name: place[name] for name in begun}
        said: dict[str, object] = {**pairs}
        evaluates = _EVALUATES.search(head) or all(map(_MEASURE.fullmatch, pairs))
        if evaluates:
            at, of = int(place.get("iter", 0)), int(place.get("iters", 0) or 0)
            if at + 1 < of:  # not its last line
                return {}
            numbers = pairs | (means if of else {})
            trained, evaluated = trained_and_evaluated({name: float(text) for name, text in numbers.items()})
            said = {f"val_{name}": value for name, value in {**trained, **evaluated}.items()}
            place = {} if of else place
        elif self._all_iters and ("epoch" in place or 0 < int(place.get("iters") or 0) < self._all_iters):
            return {}  # of an epoch, perhaps
        placed = evaluates or {"epoch", "iter"} <= place.keys() or ("iter" in place and "lr" in pairs)
        known = place and (named or (placed and len(_WORD.findall(head)) < _PROSE))
        of_phase = not known and (
            (named or len(pairs) == 1)
            and _NOTHING.fullmatch(head)
            and any(map(re.compile(r"\W*(?:train|val|test)").match, (next(iter(pairs)), head.lower())))
            and "%|" not in line  # how much of a bar is done
        )
        score = evaluates and self._epoch is not None and (named or any(map(_is_known, pairs)))
        if self._all_iters is not None and {"train_loss", "val_loss"} <= said.keys():
            del said["train_loss"]  # of an evaluation (nanoGPT)
        # An evaluation's: the training's lines name their epoch, and another length.
        other = self._whole and "epoch" not in place and place.get("iters") not in (None, "", self._whole)
        here = (known or of_phase or score) and not (other or _is_of_another(head))
        if here and "epoch" in place and not evaluates:
            self._whole = place.get("iters") or self._whole
            self._summed = "iter" not in place and named
        return {**said, **place} if here else {}


_PLAIN = str.maketrans("{}", "  ", "\"'")
_RATES = dict.fromkeys(("learning_rate", "learningrate", "base_lr"), "lr")
_SAME = {**_RATES, "gnorm": "grad_norm", "xent": "xent_loss"}


def _parts(line: str) -> tuple[dict[str, str], dict[str, str], dict[str, str], str]:
    """Where the training is; the numbers by their names, and means of some; what is before the first of them,
    with NUL for a count and \\1 for an epoch."""
    epoch = _EPOCH.search(line)
    rest = f"{line[: epoch.start()]} \1 {line[epoch.end() :]}" if epoch else line
    counted = list(_ITER.finditer(rest))
    for found in reversed(counted):
        rest = f"{rest[: found.start()]} \0 {rest[found.end() :]}"
    counted.sort(key=lambda found: not found["iters"])
    pairs, means, begin = dict[str, str](), dict[str, str](), len(rest)
    for name, value, mean, at in _pairs(rest):
        begin = min(begin, at)
        if name not in pairs and mean:
            means[name] = mean
        pairs.setdefault(name, value)
    if "total" in pairs and any(map(_LOSS.search, pairs)):
        pairs["total_loss"] = pairs.pop("total")
    head = rest[:begin]
    fractions = _FRACTION.findall(head, head.find(" \1 ") + 1)  # `Fold 2/5, Epoch 1`: behind it
    place = dict[str, str]()
    if epoch:
        place["epoch"] = epoch["epoch"] or epoch["before"] or epoch["bare"] or epoch["tune"]
        place["epochs"] = epoch["epochs"] or ""
    elif len(fractions) > 1:
        place["epoch"], place["epochs"] = fractions.pop(0)
    if counted and (counted[0]["iters"] or "\0" in head or not fractions):
        place |= {"iter": counted[0]["iter"] or counted[0]["batch"], "iters": counted[0]["iters"] or ""}
    elif fractions:
        place["iter"], place["iters"] = fractions[0][0], fractions[0][1].replace("Unknown", "")
    elif not epoch and (first := _FIRST.match(rest)):
        place["iter"] = first[1] or first[2]
    elif (behind := _BEHIND.search(rest)) and (epoch or behind[0][0] == "["):
        place["iter"], place["iters"] = behind.groups()
    both = {"data", "data_time"} & pairs.keys() and "time" in pairs  # of an iteration, then
    kept = {n: v for n, v in pairs.items() if not _is_aside(n) or (both and n in ("time", "data_time"))}
    means = {name: mean for name, mean in means.items() if name in kept}
    return {name: value.replace(",", "") for name, value in place.items()}, kept, means, head


def _pairs(line: str) -> Iterator[tuple[str, str, str | None, int]]:
    """Names, numbers, their means, and where the names are; what is behind `Val:` begins with `val_`."""
    end, after, prefix = 0, 0, ""
    for value in islice(_VALUE.finditer(line), MOST):
        begin = max(end, value.start() - _GAP)
        end = value.end()
        found = _NAME.search(line[begin : value.start()])
        if found and (value["sign"] or _is_known(found[0])):
            at = begin + found.end() - len(found[0].split()[-1])
            name = _named(found[0])
            aside = _is_aside(name)  # `val=0.5 loss=1.5`: the name of a number, and no phase
            phases = _PHASE.findall(line, after, at if aside else value.start()) if after else []
            prefix = ("" if phases[-1] else "val_") if phases else prefix
            own = aside or _OWN_PHASE.match(name)
            after = end
            yield name if own else prefix + name, value["value"], value["mean"], at


def _of_step_or_epoch(numbers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Of Lightning's loss_step and loss_epoch the one that counts: of an evaluation the epoch's."""
    for name, value in numbers.items():
        base, _, what = name.rpartition("_")
        other = {"step": f"{base}_epoch", "epoch": f"{base}_step"}.get(what)
        if not other or not _is_known(base):
            yield name, value
        elif other not in numbers or (what == "epoch") == is_of_evaluation(name):
            yield base, value


@lru_cache(maxsize=4096)
def _is_known(printed: str) -> bool:
    return _KNOWN.fullmatch(printed) is not None


@lru_cache(maxsize=4096)
def _named(printed: str) -> str:
    """`Train Loss` -> train_loss, `ValLoss` -> val_loss, `D_A` -> d_a."""
    words = [word for word in re.split(r"[ \[(]+", printed) if not _FILLER.fullmatch(word)] or [printed]
    parts = re.sub(r"\b(Val|Test|Train)(?=[A-Z])", r"\1_", "_".join(words)).split("_")
    name = "_".join(part.lower() if part.isupper() or part[1:].islower() else part for part in parts)
    name = re.sub(r"^(?:current|cur|average|avg)_", "", name).replace("acc@", "acc")
    return _SAME.get(name.lower(), name)


@lru_cache(maxsize=4096)
def _is_aside(name: str) -> bool:
    return name.lower().startswith("best") or bool(_CLOCK.search(name) and not _LOSS.search(name))


def _is_of_another(head: str) -> bool:
    """Whether a place is none of this training, by what is before it, or in the middle of a sentence."""
    before, *place = re.split("[\1\0]", head, maxsplit=1)
    goes_on = not _BEFORE_PLACE.fullmatch(before.rstrip().rpartition(" ")[2])
    return bool(place) and (goes_on or _OF_ANOTHER.search(before) is not None)


def _is_number(text: str) -> bool:
    return re.fullmatch(NUMBER, text) is not None
