"""Tables: between rules (Stable-Baselines), or columns below a line of names (pure)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from trainrelay.progress_lines.described import column
from trainrelay.progress_lines.names import LOSS, NUMBER, NUMBERED, is_aside, named
from trainrelay.progress_lines.places import FRACTION

_ROW = re.compile(rf"[|] {{1,99}}([\w/.@-][\w/ .@-]{{0,79}}?) {{1,99}}[|] {{1,99}}{NUMBERED} *[|]\s*")
_RULE = re.compile(r"-{10,}\s*")
_FIRST = re.compile(r"(?:^|\s)((?i:epoch|class|step|iter(?:ation)?)|all|\d{1,9}(?:/\d{1,9})?)\s{2,}(?=\S)")
_OF_CLASS = re.compile(r"(?:.* )?(\w{1,40}) (AP\w{0,9})@[\d., ]{1,40}:\s*")
_OF_KIND = re.compile(rf"(bbox|bev|3d|aos) {{1,3}}AP\w{{0,9}}:\s?{NUMBER}, ({NUMBER}), {NUMBER}\s*")
_COCO = re.compile(
    r" Average Precision +\(AP\) @\[ IoU=(0\.50(?::0\.95)?) *\| area= *all \| maxDets= *\d{1,9} +\]"
    r" = ([01]\.\d+)"
)
_CELL = re.compile(r"\S+(?: \S+)*")
_GROUP = re.compile(r"(\w{1,40})\(([^()]{0,200})\)")
_BEGIN = 400  # characters


class RuledTable:
    """A number in each row; the rule below the last one tells it."""

    def __init__(self) -> None:
        self._block: dict[str, str] = {}

    def said(self, line: str) -> Mapping[str, object] | None:
        """None of what is no such table."""
        if row := _ROW.fullmatch(line):
            self._block[named(row[1])] = row["value"]
            return {}
        if not self._block or line.startswith("|"):
            return None
        block, self._block = self._block, {}
        counts = {column(name): value for name, value in block.items()}
        kept = {n: v for n, v in block.items() if not is_aside(n) and n != "loss" and n == column(n)}
        place = {name: counts[name] for name in ("iter", "epoch") if name in counts}
        return {**kept, **dict([*place.items()][:1])} if place and _RULE.fullmatch(line) else {}


class ScoreBlock:
    """The precisions of KITTI's evaluation, of which the moderate one ranks, and of COCO's."""

    def __init__(self) -> None:
        self._class = ""  # whose follow, and which

    def said(self, line: str) -> Mapping[str, object]:
        if coco := _COCO.search(line):
            return {"val_AP" if ":" in coco[1] else "val_AP50": coco[2]}
        if begins := _OF_CLASS.fullmatch(line):
            self._class = f"{begins[1]}_{begins[2]}"
        kind = _OF_KIND.fullmatch(line) if self._class else None
        return {f"val_{self._class}/{kind[1]}": kind[2]} if kind else {}


class Columns:
    """The numbers below a line of names; one of YOLO's evaluations begins with `all`."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._header = ""
        self._one_more = False  # YOLO: of 50 epochs, from 0/49 to 49/49
        self._scores: list[str] = []  # what Detectron2 names before it copies their values

    def said(self, line: str) -> Mapping[str, object]:
        if "copypaste: " in line:
            return self._copied(line.partition("copypaste: ")[2].strip())
        if not (begin := _FIRST.search(line, 0, _BEGIN)):
            return {}
        table = re.split(r":\s", line[begin.start(1) :], maxsplit=1)[0]
        cells = _GROUP.sub(lambda found: " ".join(f"{found[1]}_{n}" for n in found[2].split()), table).split()
        kind, count = cells[0].lower(), column(cells[0])
        of_steps = count == "iter" and any(map(LOSS.search, cells)) and not re.search(r"\S \S", table)
        if (of_steps or kind in ("epoch", "class")) and len(cells) > 2 and not any(map(_is_number, cells)):
            self.names, self._header = cells, line
        if len(cells) < len(self.names) and kind.isdigit():
            cells = _below(self._header, line) or cells
        if len(cells) != len(self.names) or (kind == "all") != (self.names[0].lower() == "class"):
            return {}
        pairs = zip(["total_loss" if n == "total" else n for n in self.names[1:]], cells[1:], strict=True)
        numbers = {named(name): value for name, value in pairs if not is_aside(name)}
        if kind == "all":
            return {f"val_{name}": value for name, value in numbers.items()}
        if not (at := re.fullmatch(r"(\d{1,9})(?:/(\d{1,9}))?", cells[0])):
            return {}
        self._one_more |= cells[0].startswith("0/")
        of_epochs = {"epoch": at[1], "epochs": str(int(at[2]) + self._one_more) if at[2] else ""}
        numbers |= {"iter": at[1]} if column(self.names[0]) == "iter" else of_epochs
        bar = FRACTION.findall(line, line.rfind(": ") + 1)
        return numbers | ({"iter": bar[-1][0], "iters": bar[-1][1]} if bar else {})

    def _copied(self, said: str) -> Mapping[str, object]:
        """Detectron2's scores, in a line of the task, one of names and one of numbers."""
        cells = said.split(",")
        if all(map(_is_number, cells)):
            return {f"val_{name}": value for name, value in zip(self._scores, cells, strict=False)}
        task = self._scores[0].partition("/")[0] if self._scores else ""
        self._scores = [said.removeprefix("Task: ")] if ": " in said else [f"{task}/{name}" for name in cells]
        return {}


def _below(header: str, line: str) -> list[str]:
    """The cell below each name, where a line leaves some blank; none if it is cut or one is below none."""
    names, cells = ([found.span() for found in _CELL.finditer(one)] for one in (header, line))
    below = [[line[b:e] for b, e in cells if b < end and begin < e] for begin, end in names]
    return [" ".join(one) for one in below] if sum(map(len, below)) == len(cells) and below[-1] else []


def _is_number(text: str) -> bool:
    return re.fullmatch(NUMBER, text) is not None
