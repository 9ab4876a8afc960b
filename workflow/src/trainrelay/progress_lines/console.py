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

NUMBER = r"(?i:[-+]?(?:(?:\d{1,99}(?:\.\d{0,99})?|\.\d{1,99})(?:e[-+]?\d{1,9})?|nan|inf(?:inity)?))"
# In lower case, it is in the first characters of each line that says something: most need no further look.
_SIGN = re.compile(
    r"(?:epoch|loss|step|ite|batch|update| \* )\D{0,25}?(?:\d|nan|inf)|(?:epoch|class)\s\s"
    r"|/(?:(?<=\d/)|(?<=\d\s/))\s{0,9}\d"
)
_BEGIN = 400  # characters
_NUMBERED = rf"(?P<value>{NUMBER})(?:%|s)?(?![\w.:/#-]|,\d)"  # nor half of one with a decimal comma
# Dates, times, places in code, and what is counted otherwise: their digits are no numbers of a training.
_ELSEWHERE = re.compile(
    r"(?<![\w@])(?:(?:\d{1,4}[-/]){1,2}\d{1,4}[ T_]{1,3})?\d{1,6}:\d\d(?::\d\d)?(?:[.,]\d{1,9})?"
    r"|\bcuda:\d|:\d{1,6}(?:(?=\) [A-Z]|\]| - )|:\w{1,60}(?=\]))|\.py:\d{1,6}"
    r"|(?i:\b(?:fold|rank|gpu|acc\w{0,9})\W{1,3}\d{1,9}\s?/\s{0,9}\d{1,9})|\b\d[\d.]{0,12} ?(?:it/s|s/it)\b"
)


def _counted(name: str) -> str:
    return (
        rf"\W{{0,20}}?(?:\d{{1,9}}-)?(?P<{name}>\d{{1,3}}(?:,\d{{3}})+|\d{{1,9}})"
        rf"(?:\s?(?:/|of)\s{{0,9}}(?P<{name}s>\d{{1,9}}))?(?![\w.%])"
    )


_OTHER = ("per", "max", "min", "best", "last", "every", "each", "total", "number of", "num of")
_EPOCH = re.compile(
    "".join(f"(?<!{words} )" for words in _OTHER)
    + rf"(?<![A-Za-z_/])(?:epoch(?:/epochs)?{_counted('epoch')}|(?P<before>\d{{1,9}})epoch(?=\W)"
    r"|train(?:ing)?: (?P<bare>\d{1,9})(?= {0,9}\[))",
    re.IGNORECASE,
)
_ITER = re.compile(
    r"(?<![A-Za-z/])(?:(?:(?:cur|acc|global|num|total|train)[_ ])?"
    r"(?:ite(?:r|ra|a)?(?:tion)?s?|step|steps(?=\W{1,9}\d{1,9}\s?/)|batch|updates?|timesteps)"
    rf"{_counted('iter')}|\d{{1,9}}-(?P<batch>\d{{1,9}})batch(?=\W))",
    re.IGNORECASE,
)
_FRACTION = re.compile(r"(?<![\w./:-])(\d{1,9})\s?/\s{0,9}(\d{1,9}|Unknown)(?![\w./])")
_FIRST = re.compile(r"\s{0,40}(\d{1,9})\s?[|:]\s(?!\s)")  # `490 | loss 5.75`, and no line of code
# A number (and its mean), and a name of up to three words at the end of what is before. Without a sign
# between them only what is known to be a metric.
_VALUE = re.compile(
    rf"(?P<sign>\s?[:=]\s{{0,20}}(?:tensor)?[\[(]{{0,2}})?(?(sign)|\s{{1,20}}){_NUMBERED}"
    rf"(?: {{0,3}}\( {{0,3}}(?P<mean>{NUMBER})\))?"
)
_NAME = re.compile(r"[A-Za-z_][\w./@+-]*+(?:(?<!\.) [A-Za-z_][\w./@+-]*+){0,2}\Z")
_GAP = 100  # characters before a number in which its name is
_KNOWN = re.compile(
    r"(?:.*\W)?(?:\w*loss|lr|\w*acc(?:uracy)?|\w*acc@?\d|\w*ppl|\w*psnr|\w*ssim|gnorm|grad_norm)",
    re.IGNORECASE,
)
_LOSS = re.compile(r"loss(?!_?scal)|xent|objf|(?<![a-z])ppl|perplexity|nll|_rew_mean", re.IGNORECASE)
_MEASURE = re.compile(r"psnr|ssim|mAP|mIoU", re.IGNORECASE)
_EVALUATED = r"(?<!/)\b(?:val|valid|validation|dev|test|testing|eval|evaluat\w{1,4}|CV)\b"
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
    r"\b(?:best|previous|last|start\w*|initial|warm|args?|arguments|conf\w*|options?|h\w*params?|schedul\w*|state)(?:\b|_)",
    re.IGNORECASE,
)
_BEFORE_PLACE = re.compile(
    r"[A-Z]+|(?i:train(?:ing|er)?|global|cur(?:rent)?|total|in|at|of|after|for|finished|the)|.*[^A-Za-z]|"
)
_CLOCK = re.compile(
    r"time|eta$|cost|elapsed|speed|per_|sec|ips$|fps$|tps$|mem|size|bsz|samples|tok|^wp|rank$|seed|number_of"
    r"|frames|^dt(?:_|$)|wall$|^(?:ups|n_updates|iterations|train|val|epochs|steps|update|v_num|images|labels|targets|instances)$",
    re.IGNORECASE,
)
_FILLER = re.compile(
    r"info|debug|root|current|cur|average|avg\.?|mean|running|testing|the|and", re.IGNORECASE
)
_WORD = re.compile(r"[A-Za-z]{2}")
_PROSE = 8  # pairs of letters before the numbers of a line that has no loss
_NOTHING = re.compile(r"\W*+(?:(?:train|val|test)\w{0,9})?\W*+", re.IGNORECASE)
_BATCH = re.compile(r"\bbatch\W{0,20}\d{1,9}\s?/", re.IGNORECASE)
_BAR = re.compile(r"[\x08]|(?=\b\d{1,9}/\d{1,9} \[[=>])")  # Keras draws over its bar
_EMPTY_BAR = re.compile(r"\b0%\|[^|]{0,500}\| 0/\d")  # what is before it was before the training
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
        self._names: list[str] = []  # of the table's columns
        self._one_more = False  # YOLO: of 50 epochs, from 0/49 to 49/49
        self._block: dict[str, str] = {}  # a table between rules
        self._place: dict[str, str] = {}  # of the line before, while numbers may follow it
        self._shown: dict[str, str] = {}  # of an evaluation, by a bar
        self._bar: tuple[int, int, int] | None = None  # the epoch of the last one, its done and total

    def is_read(self, seen: LineSeen | None) -> TypeGuard[LineSeen]:
        """Also a bar without a number beside it."""
        at = seen and (seen.epoch, seen.iteration, seen.iters)
        return super().is_read(seen) or (at is not None and at == self._bar)

    def _said(self, line: str) -> Mapping[str, object]:
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
        says = _SIGN.search(line[:_BEGIN].lower()) if not _EMPTY_BAR.search(line) else None
        if (says or self._names) and (found := self._columns(line)):
            return found
        if not says and not (self._place and _BELOW.match(line)):
            self._place = {}
            return {}
        line = _BAR.split(line)[-1] if "[=" in line or "\b" in line else line
        line = line.translate(_PLAIN) if '"' in line else line
        return self._numbers_of(_ELSEWHERE.sub(" ", line))

    def _of_bar(self, bar: Bar) -> Mapping[str, object]:
        """A bar shows the newest evaluation until there is another: at its end, or when the next begins."""
        if self._all_iters is not None:
            return {}
        numbers = {name: value for n, value in bar.numbers.items() if not _is_aside(name := _named(n))}
        shown = {name: value for name, value in numbers.items() if is_of_evaluation(name)}
        new = shown if shown != self._shown and bar.done in (0, bar.total) else {}
        self._shown = shown or self._shown
        self._bar = (bar.epoch, bar.done, bar.total) if bar.done else None
        if not bar.done and new:
            return {**new, "epoch": bar.epoch - 1}
        trained = {name: value for name, value in numbers.items() if bar.done and name not in shown}
        place = {"epoch": bar.epoch, "epochs": bar.epochs, "iter": bar.done, "iters": bar.total}
        return {**trained, **new, **place}

    def _columns(self, line: str) -> Mapping[str, object]:
        """The numbers below a line of names; one of YOLO's evaluations begins with `all`."""
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
        if self._place and not counts and "epoch" not in place and _BELOW.match(line):
            return {**pairs, **self._place} if pairs else {}
        named = any(map(_LOSS.search, pairs))
        self._place = place if counts and (named or (place["iters"] and not pairs)) else {}
        of_epoch = self._all_iters is not None and "iters" in place and _BATCH.search(line)
        if of_epoch or _ASIDE.search(head) or _RESUMED.search(line):
            return {}
        if not pairs:
            begun = () if "best" in head.lower() or "at  ; " in head else ("epoch", "epochs")
            return {name: place[name] for name in begun if name in place}
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
        alone = (
            (named or len(pairs) == 1)
            and _NOTHING.fullmatch(head)
            and re.match("train|val|test", next(iter(pairs)))
            and "%|" not in line  # how much of a bar is done
        )
        known = place and (named or ({"epoch", "iter"} <= place.keys() and len(_WORD.findall(head)) < _PROSE))
        score = evaluates and self._epoch is not None and (named or any(map(_is_known, pairs)))
        if self._all_iters is not None and {"train_loss", "val_loss"} <= said.keys():
            del said["train_loss"]  # of an evaluation (nanoGPT)
        here = (known or alone or score) and not _is_of_another(head)
        return {**said, **place} if here else {}


_PLAIN = str.maketrans("{}", "  ", "\"'")


_SAME = {"learning_rate": "lr", "learningrate": "lr", "gnorm": "grad_norm", "xent": "xent_loss"}


def _parts(line: str) -> tuple[dict[str, str], dict[str, str], dict[str, str], str]:
    """Where the training is; the numbers by their names, and means of some; what is before the first of them,
    with NUL for a count."""
    epoch = _EPOCH.search(line)
    rest = f"{line[: epoch.start()]} ; {line[epoch.end() :]}" if epoch else line
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
    fractions = _FRACTION.findall(
        head, head.find(" ; ") + 1 if epoch else 0
    )  # `Fold 2/5, Epoch 1`: behind it
    place = dict[str, str]()
    if epoch:
        place["epoch"] = epoch["epoch"] or epoch["before"] or epoch["bare"]
        place["epochs"] = epoch["epochs"] or ""
    elif len(fractions) > 1:
        place["epoch"], place["epochs"] = fractions.pop(0)
    if counted and (counted[0]["iters"] or "\0" in head or not fractions):
        place |= {"iter": counted[0]["iter"] or counted[0]["batch"], "iters": counted[0]["iters"] or ""}
    elif fractions:
        place["iter"], place["iters"] = fractions[0][0], fractions[0][1].replace("Unknown", "")
    elif not epoch and (first := _FIRST.match(rest)):
        place["iter"] = first[1]
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
            phases = _PHASE.findall(line, after, value.start()) if after else []
            prefix = ("" if phases[-1] else "val_") if phases else prefix
            own = _OWN_PHASE.match(name) or _is_aside(name)
            after = end
            yield name if own else prefix + name, value["value"], value["mean"], at


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
    before, *place = re.split("[;\0]", head, maxsplit=1)
    goes_on = not _BEFORE_PLACE.fullmatch(before.rstrip().rpartition(" ")[2])
    return bool(place) and (goes_on or _OF_ANOTHER.search(before) is not None)


def _is_number(text: str) -> bool:
    return re.fullmatch(NUMBER, text) is not None
