"""The files of step checkpoints, without a trainer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import trainrelay_hook
from trainrelay.supervise.lease.folder import claim_file
from trainrelay_hook import files, step_files, tensor_file


def test_a_tree_comes_back_as_it_was(tmp_path: Path) -> None:
    """Of any type, scalars and empty ones, in the containers of a state_dict."""
    tree = {
        "a": torch.randn(3, 4).t(),
        "b": [torch.tensor(3), torch.zeros(0), (torch.tensor(True), None, "x", 1.5)],
        "c": {1: torch.randn(2).to(torch.bfloat16), 2: torch.randn(2, dtype=torch.float64)},
    }
    memory = tensor_file.Memory()
    memory.allocate({"a": torch.zeros(1)})  # too little: it takes more
    facts = memory.copied(tree).write(str(tmp_path / "x.pt"))
    tree["a"].zero_()
    memory.copied({"a": torch.ones(1)})
    assert facts == tensor_file.digest(str(tmp_path / "x.pt"))
    found = tensor_file.read(str(tmp_path / "x.pt"))
    assert found["a"].shape == (4, 3)
    assert bool(found["a"].any())
    assert [type(one) for one in found["b"][2]] == [torch.Tensor, type(None), str, float]
    assert torch.equal(found["c"][1], tree["c"][1])
    assert torch.equal(found["c"][2], tree["c"][2])
    assert found["b"][0].item() == 3


def test_a_higher_claim_fences(tmp_path: Path) -> None:
    """By the names that the supervisor gives them."""
    for token in (1, 7):
        claim_file(tmp_path, token).touch()
    (tmp_path / "000009.beat").touch()
    (tmp_path / ".000009.0123456789abcdef.tmp").touch()
    assert not files.fenced(str(tmp_path), 7)
    claim_file(tmp_path, 8).touch()
    assert files.fenced(str(tmp_path), 7)
    claim_file(tmp_path, 12_345_678).touch()
    assert files.fenced(str(tmp_path), 8)


def test_older_ones_are_removed_and_what_failed_below_the_newest(tmp_path: Path) -> None:
    """What is above may still be written."""
    for step in range(1, 7):
        (tmp_path / f"{step:08d}").mkdir()
        if step not in (2, 6):
            (tmp_path / f"{step:08d}" / files.MANIFEST).touch()
    (tmp_path / "notes").mkdir()
    step_files.remove_older(str(tmp_path), 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000004", "00000005", "00000006", "notes"]


@pytest.mark.parametrize(
    ("text", "asked"), [('{"request": 2}', True), ("{", False), ("[]", False), ("", False)]
)
def test_a_script_of_another_kind_can_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, asked: bool
) -> None:
    """Whether the supervisor has asked it to save; without one, never."""
    monkeypatch.delenv(files.VARIABLE, raising=False)
    assert not trainrelay_hook.checkpoint_requested()
    monkeypatch.setenv(files.VARIABLE, str(tmp_path / files.SETTINGS))
    assert not trainrelay_hook.checkpoint_requested()
    (tmp_path / files.REQUEST).write_text(text)
    assert trainrelay_hook.checkpoint_requested() == asked


def test_a_rank_that_failed_is_not_waited_for(tmp_path: Path) -> None:
    """Its word is enough."""
    (tmp_path / "lease").mkdir()
    settings = {"claims": str(tmp_path / "lease"), "token": 1}
    step = str(tmp_path / "00000001")
    step_files.write_rank(step, 0, {})
    step_files.give_up(step, 1, "no memory")
    with pytest.raises(OSError, match="rank 1: no memory"):
        step_files.complete(step, {"world_size": 2}, settings)
    assert json.loads(Path(step, "rank-0.json").read_text()) == {"format": 1, "files": {}}
    step_files.give_up(step, 0, "rank 1: no memory")
    assert not Path(step).exists()
