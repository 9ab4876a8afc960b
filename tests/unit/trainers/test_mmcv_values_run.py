"""What is claimed of a config without running it is what running it gives: small configs, made by chance."""

from __future__ import annotations

import random
import types
from pathlib import Path
from typing import Any

import pytest

from trainrelay.trainers import TRAINERS
from trainrelay.trainers.python_values import SourceText

NAMES = "abcd"


def expression(chance: random.Random, depth: int = 0) -> str:
    leaf = chance.choice(["1", "-3", "0.5", "'s'", "True", "None", *NAMES, "1 + 1", f"len([{depth}])"])
    if depth > 2 or chance.random() < 0.4:
        return leaf
    if chance.random() < 0.3:
        return f"[{expression(chance, depth + 1)}, {expression(chance, depth + 1)}]"
    entries = [f"{key}={expression(chance, depth + 1)}" for key in chance.sample("pqr", chance.randint(1, 2))]
    entries += ["_delete_=True"] if chance.random() < 0.15 else []
    return f"dict({', '.join(entries)})"


def statement(chance: random.Random) -> str:
    name, other, value = chance.choice(NAMES), chance.choice(NAMES), expression(chance, 2)
    if chance.random() < 0.7:
        return f"{name} = {expression(chance)}"
    code = [
        f"{name}['p'] = {value}",
        f"{name}.update(q={value})",
        f"{name} += [{value}]",
        f"{name} = {other}.pop('p')",
        f"{name} = {other}['p']",
        f"{name} = {other} = {value}",
        f"{name}, {other} = {value}, {value}",
        f"{name} = ({other} := {value})",
        f"{name} = dict({other}, p=9)",
        f"{name} = [{other} for _ in range(2)]",
        f"for _x in [{other}]:\n    _x['p'] = 5",
        f"if {other}:\n    {name} = {other}",
        f"def _f():\n    {name}['q'] = 7\n_f()",
        f"del {name}",
        f"del {name}['p']",
        f"{name}['p']['q'] = {value}",
        f"{name} = dict(p={other})\n{name}['p']['q'] = {value}",
        f"{name} = {{**{other}, 'p': {value}}}",
        f"{name} |= dict(q={value})",
        f"{name}: int = {value}",
        f"from math import pi as {name}",
    ]
    return chance.choice(code)


def run(text: str) -> dict[str, Any] | None:
    """What a file's names hold after it ran; None where it cannot."""
    names: dict[str, Any] = {}
    try:
        exec(text, names)
    except Exception:  # noqa: BLE001
        return None
    kinds = (types.FunctionType, types.ModuleType)
    return {k: v for k, v in names.items() if k[:2] != "__" and k != "_base_" and not isinstance(v, kinds)}


def file(chance: random.Random) -> str:
    lines: list[str] = []
    while len(lines) < 5:
        line = statement(chance)
        lines += [line] if run("\n".join([*lines, line])) is not None else []
    return "\n".join(lines) + "\n"


def merged(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """mmcv 1.7's Config._merge_a_into_b; TypeError where it refuses."""
    b = dict(b)
    for key, value in a.items():
        rest = {k: v for k, v in value.items() if k != "_delete_"} if isinstance(value, dict) else value
        if isinstance(value, dict) and key in b and not value.get("_delete_", False):
            if not isinstance(b[key], dict):
                raise TypeError
            b[key] = merged(rest, b[key])
        else:
            b[key] = rest if key in b else value
    return b


def agree(claimed: Any, real: Any) -> bool:
    if isinstance(claimed, SourceText):
        return True
    if isinstance(claimed, dict):
        if claimed.keys() & {"_base_", "_code_", "_own_"}:
            return True  # what a base or code made of it is not claimed
        # mmcv leaves a `_delete_` in place where nothing is there to be deleted.
        keys = real.keys() - {"_delete_"} if isinstance(real, dict) else {None}
        return all(key in claimed and agree(claimed[key], real[key]) for key in keys)
    if isinstance(claimed, list):
        same = isinstance(real, list | tuple) and len(claimed) == len(real)
        return same and all(map(agree, claimed, real))
    return repr(claimed) == repr(real)


def effective(base: str, own: str) -> dict[str, Any] | None:
    """What running a chain gives; None where mmcv refuses it."""
    ran = run(base), run(own)
    try:
        return None if ran[0] is None or ran[1] is None else merged(ran[1], ran[0])
    except TypeError:
        return None


@pytest.mark.parametrize("seed", range(8))
def test_no_change_of_one_value_that_changes_what_running_it_gives_is_missed(
    tmp_path: Path, seed: int
) -> None:
    chance, compared = random.Random(seed), 0
    while compared < 40:
        files = [file(chance), file(chance)]
        changed, which = list(files), chance.randrange(2)
        old, new = chance.choice(
            [("1", "2"), ("'s'", "'t'"), ("True", "False"), ("-3", "3"), ("9", "8"), ("q", "z")]
        )
        places = [n for n in range(len(files[which])) if files[which].startswith(old, n)]
        if not places:
            continue
        place = chance.choice(places)
        changed[which] = files[which][:place] + new + files[which][place + len(old) :]
        before, now = effective(*files), effective(*changed)
        if before is None or now is None or repr(before) == repr(now):
            continue
        assert stated(tmp_path, *files) != stated(tmp_path, *changed), "\n".join([*files, "---", *changed])
        compared += 1


def stated(folder: Path, base: str, own: str) -> dict[str, str]:
    (folder / "base.py").write_text(base)
    (folder / "own.py").write_text(f"_base_ = 'base.py'\n{own}")
    return TRAINERS["mmcv"].effective_settings(TRAINERS["mmcv"].read_config(folder, "own.py"), {})


@pytest.mark.parametrize("seed", range(8))
def test_what_is_claimed_of_a_config_is_what_running_it_gives(tmp_path: Path, seed: int) -> None:
    chance, compared = random.Random(seed), 0
    while compared < 40:
        base, own = file(chance), file(chance)
        (tmp_path / "base.py").write_text(base)
        (tmp_path / "own.py").write_text(f"_base_ = 'base.py'\n{own}")
        real = effective(base, own)
        if real is None:
            continue
        facts = TRAINERS["mmcv"].read_config(tmp_path, "own.py")
        assert facts.problem is None
        wrong = {key for key in real if not agree(facts.values.get(key, "missing"), real[key])}
        assert not wrong, f"{wrong}\n--- base.py\n{base}--- own.py\n{own}{facts.values}\n{real}"
        compared += 1
