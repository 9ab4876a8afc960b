"""A plain line taken apart: where the training is, and numbers by their names (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from trainrelay.progress_lines.bars import DRAWN
from trainrelay.progress_lines.names import EVALUATED, LOSS, NUMBER, NUMBERED, is_aside, is_known, named

# Dates, times, places in code, and what is counted otherwise: their digits are no numbers of a training.
_ELSEWHERE = re.compile(
    r"(?<![\w@])(?:\d{1,4}[-/]\d{1,4}(?:[-/]\d{1,4}[ T_]{1,3}|[ T_]{1,3}(?=\d\d:)))?\d{1,6}:\d\d(?::\d\d)?"
    r"(?:[.,]\d{1,9})?|\bcuda:\d|:(?<!poch:)(?<!tep:)(?<!ter:)(?<!atch:)\d{1,6}"
    r"(?:(?=\) [A-Z]|\]| - |\s{1,9}(?:[\w.]{1,60}:\d{1,6}\s{1,9})?(?:DEBUG|INFO|WARN))|:\w{1,60}(?=\]))"
    r"|\.py:\d{1,6}|[Ss]teps: {1,3}\d{1,3}%|(?:\b\d[\d.]{0,12} ?)?(?:it/s|s/it)"
    r"|\b[Ss]ample: \d{1,9},"
    r"|(?i:\b(?:fold|rank|gpu|acc\w{0,9})\W{1,3}\d{1,9}\s?/\s{0,9}\d{1,9})"
)


def _counted(name: str) -> str:
    return (
        rf"\W{{0,20}}?(?:\d{{1,9}}-)?(?P<{name}>\d{{1,3}}(?:,\d{{3}})+|\d{{1,9}})"
        rf"(?:\]?\s?(?:/|of)\s{{0,9}}\[?(?P<{name}s>\d{{1,9}}))?(?![\w.%])"
    )


_OTHER = ("per", "max", "min", "best", "last", "every", "each", "total", "number of", "num of")
EPOCH = re.compile(
    "".join(f"(?<!{words} )" for words in _OTHER) + rf"(?<![A-Za-z_/])(?:epoch(?:/epochs)?{_counted('epoch')}"
    r"|(?P<before>\d{1,9})(?:epoch(?=\W)|-epoch(?= [(\[]\d))"
    r"|train(?:ing)?: (?P<bare>\d{1,9})(?= {0,9}\[)|(?:(?<=train )|(?<=test ))(?P<row>\d{1,9})(?=, loss)"
    r"|iteration\W{1,3}(?P<outer>\d{1,9})(?=,? step\W{1,3}\d{1,9}/\d)"
    r"|^\[(?P<scale>\d{1,9}) :(?=\s{1,9}\d{1,9}\] loss)|^(?P<tune>\d{1,9})(?=\|\d{1,9}\|loss))",  # torchtune
    re.IGNORECASE,
)
_ITER = re.compile(
    r"(?<![A-Za-z/])(?:(?:(?:cur|acc|global|num|total|train)[_ ])?"
    r"(?:ite(?:r|ra|a)?(?:tion)?s?|step|steps(?=\W{1,9}\d{1,9}\s?/)|batch(?:_idx?)?|updates?|timesteps)"
    rf"{_counted('iter')}|\d{{1,9}}-(?P<batch>\d{{1,9}})batch(?=\W))",
    re.IGNORECASE,
)
FRACTION = re.compile(r"(?<![\w./:-])(\d{1,9})\s?/\s{0,9}(\d{1,9}|Unknown)(?![\w./])")
# `490 | loss 5.75`, no line of code; `f.py:4] [490] loss=5.75`; `[ 490] | gnorm`; `loss: 5  [ 4/9]`, bars
_FIRST = re.compile(
    r"\s{0,40}(\d{1,9})\s?(?:[|:]\s(?!\s)|\[(?=\w{1,20} loss: ))"
    r"|.{1,200}?\] \[(\d{1,9})\] (?=[\w/]{1,60}=)|(?:.{0,200}[:\]] ?)?\[ {0,9}(\d{1,9})\] \| (?=gnorm|loss)"
)
_BEHIND = re.compile(rf"(?:\[ {{0,9}}|{DRAWN} )(\d{{1,9}})/ {{0,9}}(\d{{1,9}})(?:\]\s*\Z| \[)")
_BEFORE = re.compile(r"/ {0,9}\d{1,9}[\])]\W{0,9}\0")  # `[3/90] batch 20/500`
_SECOND = re.compile(r"(?:\]\[|\s{1,9})(\d{1,9})\](?!\[)")  # `Epoch: [3][50]`
# A number (and its mean), and a name of up to three words at the end of what is before. Without a sign
# between them only what is known to be a metric.
_VALUE = re.compile(
    rf"(?P<sign>\s?[:=]\s{{0,20}}(?:tensor|\w{{0,6}}[Aa]rray|np\.float\d\d)?[\[(]{{0,2}})?(?(sign)|\s{{1,20}}){NUMBERED}"
    rf"(?: {{0,3}}\( {{0,3}}(?P<mean>{NUMBER})\))?"
)
_NAME = re.compile(r"(?<![A-Za-z_/])[A-Za-z_][\w./@+-]*+(?:(?<!\.) [A-Za-z_][\w./@+-]*+){0,2}\Z")
# Losses of a place by no more than their phases: `iter 50 | train 2.1 | val 2.3`; with a test, scores
_PHASES = re.compile(
    r"(?i)([\0\1]\W{1,9})train[ :=]{1,3}(\d{1,9}\.\d{1,20})(\W{1,9})val(?:id\w{0,9})?[ :=]{1,3}"
    r"(?=\d{1,9}\.\d{1,20}(?![\w%.])(?!.{0,40}\btest\b))"
)
_GAP = 100  # characters before a number in which its name is
_PHASE = re.compile(rf"\b(train|training)\b|{EVALUATED}", re.IGNORECASE)
_OWN_PHASE = re.compile(r"(?:train|val|dev|test|eval)[a-z]{0,9}[_/.-]|lr|grad_norm", re.IGNORECASE)
_MOST = 500  # numbers of one line


class Parts(NamedTuple):
    """Where the training is; the numbers by their names, and means of some; what is before the first of them,
    with NUL for a count and \\1 for an epoch. `line`: without what is no number of a training."""

    line: str
    place: dict[str, str]
    pairs: dict[str, str]
    means: dict[str, str]
    head: str

    has_loss: bool


def parts_of(line: str) -> Parts:
    """Of one line."""
    line = _ELSEWHERE.sub(" ", line)
    epoch = EPOCH.search(line)
    rest = f"{line[: epoch.start()]} \1 {line[epoch.end() :]}" if epoch else line
    counted = list(_ITER.finditer(rest))
    for found in reversed(counted):
        rest = f"{rest[: found.start()]} \0 {rest[found.end() :]}"
    if "rain" in rest and not LOSS.search(rest):
        rest = _PHASES.sub(r"\1train_loss: \2\3val_loss: ", rest)
    counted.sort(key=lambda found: not found["iters"])
    pairs, means, begin = dict[str, str](), dict[str, str](), len(rest)
    for name, value, mean, at in _pairs(rest):
        begin = min(begin, at)
        if name not in pairs and mean:
            means[name] = mean
        pairs.setdefault(name, value)
    if "total" in pairs and any(map(LOSS.search, pairs)):
        pairs["total_loss"] = pairs.pop("total")
    head, place = rest[:begin], dict[str, str]()
    fractions = FRACTION.findall(head, head.find(" \1 ") + 1)  # `Fold 2/5, Epoch 1`: behind it
    if epoch:
        place["epoch"] = epoch["epoch"] or epoch[epoch.lastgroup or "epoch"]
        place["epochs"] = epoch["epochs"] or ""
    elif len(fractions) > 1 or (fractions and counted and counted[0]["iters"] and _BEFORE.search(head)):
        place["epoch"], place["epochs"] = fractions.pop(0)
    if counted and (counted[0]["iters"] or "\0" in head or not fractions):
        place |= {"iter": counted[0]["iter"] or counted[0]["batch"], "iters": counted[0]["iters"] or ""}
    elif epoch and (second := _SECOND.match(line, epoch.end())):
        place["iter"] = second[1]
    elif fractions:
        place["iter"], place["iters"] = fractions[0][0], fractions[0][1].replace("Unknown", "")
    elif not epoch and (first := _FIRST.match(rest)):
        place["iter"] = first[first.lastindex or 0]
    elif (behind := _BEHIND.search(rest)) and (epoch or behind[0][0] == "["):
        place["iter"], place["iters"] = behind.groups()
    place = {name: value.replace(",", "") for name, value in place.items()}
    both = {"data", "data_time"} & pairs.keys() and "time" in pairs  # of an iteration, then
    kept = {n: v for n, v in pairs.items() if not is_aside(n) or (both and n in ("time", "data_time"))}
    means = {name: mean for name, mean in means.items() if name in kept}
    return Parts(line, place, kept, means, head, any(map(LOSS.search, kept)))


def _pairs(line: str) -> Iterator[tuple[str, str, str | None, int]]:
    """Names, numbers, their means, and where the names are; what is behind `Val:` begins with `val_`."""
    end, after, prefix = 0, 0, ""
    for value in islice(_VALUE.finditer(line), _MOST):
        begin = max(end, value.start() - _GAP)
        end = value.end()
        found = _NAME.search(line[begin : value.start()])
        if found and (value["sign"] or is_known(found[0])):
            at = begin + found.end() - len(found[0].split()[-1])
            name = named(found[0])
            aside = is_aside(name)  # `val=0.5 loss=1.5`: the name of a number, and no phase
            phases = _PHASE.findall(line, after, at if aside else value.start()) if after else []
            prefix = ("" if phases[-1] else "val_") if phases else prefix
            own = aside or _OWN_PHASE.match(name)
            after = end
            yield name if own else prefix + name, value["value"], value["mean"], at
