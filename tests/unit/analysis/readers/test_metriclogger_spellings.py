"""Other spellings of the family's lines: DINOv2, torchvision's references, DeiT, LAVIS."""

from __future__ import annotations

from trainrelay.analysis.readers import read


def log_of(tmp_path, text):
    path = tmp_path / "trainer.log"
    path.write_text(text, encoding="utf-8")
    return read([path])


def places(log, phase="train"):
    return [(row.epoch, row.iteration, row.step) for row in log.rows if row.phase == phase]


def dinov2(*iterations):
    return "".join(
        f"I20230418 10:00:00 1 dinov2 helpers.py:103] Training  [{at:7d}/5000]  eta: 8 days, 3:03:23"
        f"  lr: 0.0040 (0.0020)  total_loss: {12 - at / 1000:.4f} (11.9000)  time: 1.1  data: 0.1\n"
        for at in iterations
    )


def test_all_iterations_of_dinov2_are_one_epoch(tmp_path):
    log = log_of(tmp_path, dinov2(0, 10, 20))
    assert places(log) == [(1, 0, 1), (1, 10, 11), (1, 20, 21)]
    assert (log.max_epochs, log.iters_per_epoch, log.segments) == (1, 5000, 1)


def test_dinov2_resumes_from_the_iteration_that_it_names(tmp_path):
    """Rows that were trained again are replaced; nothing before is lost."""
    begins = "I20230418 dinov2 train.py:222] Starting training from iteration {}\n"
    text = begins.format(0) + dinov2(0, 10, 20, 30) + begins.format(20) + dinov2(20, 30, 40)
    log = log_of(tmp_path, text)
    assert [step for *_, step in places(log)] == [1, 11, 21, 31, 41]
    assert (log.segments, log.restarts, log.superseded) == (2, 1, 0)
    assert log.redone_iterations == 11


def test_accuracies_are_the_evaluation_after_their_epoch(tmp_path):
    """torchvision prints every n-th `Test:` line, then the accuracy of all; DeiT's begins with a star."""
    text = ""
    for epoch, words in enumerate(
        ("Test:  Acc@1 61.300 Acc@5 89.820", "* Acc@1 65.100 Acc@5 90.000 loss 1.250")
    ):
        text += (
            f"Epoch: [{epoch}]  [  0/506]  eta: 0:00:00  lr: 0.1  loss: 2.5 (2.5)  acc1: 1.0 (1.0)\n"
            f"Epoch: [{epoch}] Total time: 0:00:13\n"
            "Test:   [ 0/20]  eta: 0:00:18  loss: 0.8 (0.8)  acc1: 74.6 (74.6)  time: 0.9  data: 0.9\n"
            f"Test:  Total time: 0:00:01\n{words}\n"
        )
    log = log_of(tmp_path, text)
    assert [(row.epoch, row.values) for row in log.rows if row.phase == "val"] == [
        (1, {"acc1": 61.3, "acc5": 89.82}),
        (2, {"acc1": 65.1, "acc5": 90.0, "loss": 1.25}),
    ]


def test_a_line_of_accuracies_that_was_cut_says_nothing(tmp_path):
    """`89.8` may have been 89.82."""
    line = "Epoch: [0]  [ 0/5]  eta: 0:00:00  loss: 2.5 (2.5)  time: 0.1  data: 0.1\n"
    assert not places(log_of(tmp_path, line + "Test:  Acc@1 61.300 Acc@5 89.8"), "val")


def test_lavis_names_its_data_before_the_epoch(tmp_path):
    line = "Train: data epoch: [{}]  [{:4d}/3000]  eta: 0:01:00  lr: 0.000004  loss: 2.7810  time: 0.3\n"
    log = log_of(tmp_path, "".join(line.format(epoch, at) for epoch in (0, 1) for at in (0, 50)))
    assert places(log) == [(1, 0, 1), (1, 50, 51), (2, 0, 3001), (2, 50, 3051)]
