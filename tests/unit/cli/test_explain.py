"""`trainrelay explain`: logs or metrics in, Markdown out, one sentence for what is neither."""

from __future__ import annotations

import pytest

from support.mmcv_logs import write_mmcv_log
from trainrelay.cli import main


def test_a_log_is_explained_with_its_numbers(tmp_path, capsys):
    path = write_mmcv_log(tmp_path / "a b.log")
    assert main(["explain", str(path)]) == 0
    said = capsys.readouterr().out
    assert "The progress line" in said
    assert "Tracking losses" in said


def test_several_logs_are_those_of_one_training(tmp_path, capsys):
    first = write_mmcv_log(tmp_path / "1.log", epochs=3, stop=(1, 100))
    second = write_mmcv_log(tmp_path / "2.log", epochs=3, resumed=1)
    assert main(["explain", str(first), str(second)]) == 0
    assert "epoch 3 of 3" in capsys.readouterr().out


def test_a_folder_is_one_training(tmp_path, capsys):
    write_mmcv_log(tmp_path / "1.log", epochs=3, stop=(1, 100))
    write_mmcv_log(tmp_path / "2.log", epochs=3, resumed=1)
    assert main(["explain", str(tmp_path)]) == 0
    assert "epoch 3 of 3" in capsys.readouterr().out


def test_metrics_are_explained_by_name(capsys):
    assert main(["explain", "loss_ce", "[0/2882]"]) == 0
    said = capsys.readouterr().out
    assert "cross-entropy of each token" in said
    assert "2882 batches" in said


def test_a_metric_is_known_by_what_trainers_put_before_it_and_files_that_agree_say_it_once(capsys):
    assert main(["explain", "eval_loss"]) == 0
    assert "### loss (MetricLogger, mmcv)" in capsys.readouterr().out


def test_a_log_of_a_trainer_that_no_knowledge_file_describes_is_explained_all_the_same(tmp_path, capsys):
    rows = [f"{{'loss': {2 / n:.3f}, 'learning_rate': 1e-5, 'epoch': {n / 4}}}\n" for n in range(1, 13)]
    (tmp_path / "trainer.log").write_text("".join(rows))
    assert main(["explain", str(tmp_path / "trainer.log")]) == 0
    said = capsys.readouterr().out
    assert "loss 0.167" in said
    assert "Total loss" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["loss_coord"], "Did you mean loss_coords"),
        (["frame_0_loss_cls_0"], "Did you mean track.frame_0_loss_cls_0"),
    ],
)
def test_what_cannot_be_explained_is_refused_in_a_sentence(words, said, capsys):
    assert main(["explain", *words]) == 2
    caught = capsys.readouterr()
    assert said in caught.err + caught.out
    assert "Traceback" not in caught.err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing.log", "not found"),
        ("nothing", "holds no log of a known format"),
        ("empty.log", "is empty"),
        ("prose.log", "no line of a known format"),
    ],
)
def test_what_is_no_log_is_refused_with_advice_to_explain_another(name, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nothing").mkdir()
    (tmp_path / "empty.log").touch()
    (tmp_path / "prose.log").write_text("hello\n")
    assert main(["explain", name]) == 2
    caught = capsys.readouterr()
    assert f"trainrelay: {name}" in caught.err + caught.out
    assert said in caught.err + caught.out
    assert "run `trainrelay explain LOG" in caught.err + caught.out
    assert "analyze" not in caught.err + caught.out


def test_logs_and_metrics_do_not_mix(tmp_path, capsys):
    path = write_mmcv_log(tmp_path / "a.log")
    assert main(["explain", str(path), "loss_ce"]) == 2
    caught = capsys.readouterr()
    assert "give logs only, or metrics only" in caught.err + caught.out


def test_a_log_that_never_trained_has_nothing_to_explain(tmp_path, capsys):
    path = write_mmcv_log(tmp_path / "a.log", stop=(0, 0), error="ImportError: no mmdet3d")
    assert main(["explain", str(path)]) == 2
    caught = capsys.readouterr()
    assert "no training line yet" in caught.err + caught.out


@pytest.mark.parametrize("verb", ["analyze", "explain"])
def test_no_escape_of_markdown_is_in_what_a_pipe_gets(verb, tmp_path, capsys):
    path = write_mmcv_log(tmp_path / "a_b*.log")
    assert main([verb, str(path)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("## a_b*.log\n")
    assert "\\" not in said


def test_a_log_of_which_only_the_end_is_known_has_nothing_to_explain(tmp_path, capsys):
    path = tmp_path / "a.log"
    path.write_text("slurmstepd: error: *** JOB 31 ON n1 CANCELLED AT 2024 DUE TO TIME LIMIT ***\n")
    assert main(["explain", str(path)]) == 2
    said = capsys.readouterr().err
    assert "has no line of a known format" in said
    assert "no training line yet" not in said
