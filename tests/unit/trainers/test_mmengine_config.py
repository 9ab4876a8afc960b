"""Configs of mmengine that import their bases say what mmengine itself makes of them; nothing is executed."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainrelay.trainers.mmcv_values import flat
from trainrelay.trainers.mmengine import Mmengine

read_config = Mmengine().read_config
CHECKOUT = Path(__file__).parents[2] / "support/mmengine_checkout"


@pytest.mark.parametrize("config", ["configs/first.py", "configs/second.py", "configs/lazy/third.py"])
def test_the_values_are_those_that_mmengine_gives(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mmengine = pytest.importorskip("mmengine.config")
    monkeypatch.syspath_prepend(str(CHECKOUT))
    loaded = mmengine.Config.fromfile(str(CHECKOUT / config), import_custom_modules=False).to_dict()
    assert dict(flat(read_config(CHECKOUT, config).values)) == dict(flat(loaded))


def said(folder: Path, text: str, **bases: str) -> dict[str, object]:
    for name, base in bases.items():
        (folder / f"{name}.py").write_text(base)
    (folder / "own.py").write_text("from mmengine.config import read_base\n" + text)
    config = read_config(folder, "own.py")
    assert config.problem is None
    return {key: config.literals.get(key, str(value)) for key, value in flat(config.values)}


IMPORT = "with read_base():\n    from .base import *\n"


def test_an_assignment_replaces_what_a_base_says(tmp_path: Path) -> None:
    found = said(tmp_path, IMPORT + "model = dict(a=1)\n", base="model = dict(a=0, b=2)\nx = 3\n")
    assert found == {"model.a": 1, "x": 3}


def test_named_parts_of_a_base_are_taken_under_their_new_names(tmp_path: Path) -> None:
    found = said(
        tmp_path, "with read_base():\n    from .base import x as y, z\n", base="x = 1\nz = 2\nq = 3\n"
    )
    assert found == {"y": 1, "z": 2}


def test_an_update_goes_into_what_a_base_says_and_not_into_other_names_that_shared_it(tmp_path: Path) -> None:
    base = "inner = dict(a=1, b=2)\nouter = dict(inner=inner)\n"
    found = said(tmp_path, IMPORT + "inner.update(a=5)\nouter.update(dict(inner=dict(b=7)))\n", base=base)
    assert found == {"inner.a": 5, "inner.b": 2, "outer.inner.a": 1, "outer.inner.b": 7}


def test_an_update_of_a_files_own_dictionary_is_pythons(tmp_path: Path) -> None:
    text = "own = dict(a=dict(x=1), b=2)\nother = dict(own=own)\nown.update(a=dict(y=3))\n"
    found = said(tmp_path, IMPORT + text, base="")
    assert found == {"own.a.y": 3, "own.b": 2, "other.own.a.y": 3, "other.own.b": 2}


def test_what_only_running_it_would_tell_is_text_and_known_as_such(tmp_path: Path) -> None:
    found = said(tmp_path, IMPORT + "for key in x:\n    x[key] = 0\n", base="x = dict(a=1)\n")
    assert "before code#1" in str(found["x.a"])
    assert any(key.startswith("code#1") for key in found)


def test_a_base_of_an_installed_package_is_text(tmp_path: Path) -> None:
    found = said(tmp_path, "with read_base():\n    from mmdet.configs.base import *\nx = 1\n")
    assert "from mmdet.configs.base import *" in str(found)
    assert found["x"] == 1


def test_a_base_that_leads_back_to_itself_is_named(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(f"from mmengine.config import read_base\n{IMPORT}")
    (tmp_path / "base.py").write_text(
        "from mmengine.config import read_base\nwith read_base():\n    from .own import *\n"
    )
    assert read_config(tmp_path, "own.py").problem == "own.py: read_base of own.py leads back to itself"


def test_what_a_class_is_called_is_its_whole_name(tmp_path: Path) -> None:
    """So an import that is spelled in another way changes nothing."""
    one = said(tmp_path, IMPORT + "from torch.optim import SGD as S\nx = dict(type=S)\n", base="")
    other = said(tmp_path, IMPORT + "from torch.optim import SGD\nx = dict(type=SGD)\n", base="")
    assert one == other == {"x.type": "torch.optim.SGD"}
