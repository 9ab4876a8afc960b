# ruff: noqa: E501 - lines as trainers print them
"""Lines of trainers that nobody described: what most of them have in common is enough to read them."""

from __future__ import annotations

import math
import time

import pytest

from trainrelay.progress_lines.console import ConsoleReader
from trainrelay.progress_lines.described import LineSeen
from trainrelay.trainers import TRAINERS, Follower, StepSeen
from trainrelay.trainers.script_settings import ScriptSettings

LEVEL = "2031-01-02 03:04:05,678 - mine - INFO - "


def last(*lines: str, iters: int | None = None) -> LineSeen | None:
    reader = ConsoleReader(iters)
    return [reader.line(line + "\n") for line in lines][-1]


@pytest.mark.parametrize(
    ("lines", "place", "values"),
    [
        ([f"{LEVEL}iteration:4 step:12/600, NER loss: 2.5"], (4, 12, 600), {"ner_loss": 2.5}),
        (
            ["Epoch: [1][50]\tTime 0.5 (0.75)\tData 0.0 (0.0)\tLoss 2.5 (2.75)\tLr: 0.5"],
            (1, 50, None),
            {"loss": 2.5, "lr": 0.5},
        ),
        (
            ["Train 40, loss: 1.5, train acc: 0.75, train avg acc: 0.5"],
            (40, None, None),
            {"loss": 1.5, "acc": 0.75},
        ),
        (
            ["Epoch 3, step 10/1882: {'scale': 1.0, 'train_loss': DeviceArray(0.5, dtype=float32)}"],
            (3, 10, 1882),
            {"scale": 1.0, "loss": 0.5},
        ),
        (["[1 :    400] loss G : 0.5 loss D : -1.5"], (1, 400, None), {"loss_g": 0.5, "loss_d": -1.5}),
        (
            ["Epoch: 7, trloss: 0.5, trroc: 0.75, valloss: 0.25"],
            (7, None, None),
            {"loss": 0.5, "roc": 0.75},
        ),
        (["epoch: 1, batch_id: 500, AUC: 0.5, loss: 0.25"], (1, 500, None), {"auc": 0.5, "loss": 0.25}),
        (["Train epoch 14, total time 18.5, accuracy:12.5"], (14, None, None), {"accuracy": 12.5}),
        (
            ["Epoch 7/9 train_mse_scaled=0.5 val_mae=0.75 lr=0.1"],
            (7, None, None),
            {"mse_scaled": 0.5, "lr": 0.1},
        ),
        (
            ["Train: 2 [  50/ 400 ( 12%)]  Loss: 5.5 (5.75)  LR: 1.0e-02"],
            (2, 50, 400),
            {"loss": 5.5, "lr": 0.01},
        ),
        (
            [
                "[2031-01-02 03:04:05 net] (main.py 226): INFO Train: [4/30][20/125]\tlr 0.5\tloss 3.5 (3.0)\tmem 99MB"
            ],
            (4, 20, 125),
            {"lr": 0.5, "loss": 3.5},
        ),
        (
            ["Epoch 3/9", " 20/40 [====>.....] - ETA: 3s - loss: 0.5 - acc: 0.25"],
            (3, 20, 40),
            {"loss": 0.5, "acc": 0.25},
        ),
        (
            ["Epoch 3/9", " 1/40 [=>..] - loss: 0.9\b\b\b 40/40 [====] - 2s 5ms/step - loss: 0.5"],
            (3, 40, 40),
            {"loss": 0.5},
        ),
        (
            ["Epoch 3/9 ━━━━━━━━━ 16/16 0:00:01 • 0:00:00 8.83it/s val/loss: 0.125 train/loss: 0.25"],
            (3, 16, 16),
            {"loss": 0.25},
        ),
        (
            ["(epoch: 1, iters: 100, time: 0.5, data: 0.25) D_A: 0.5 cycle_A: 2.5"],
            (1, 100, None),
            {"d_a": 0.5, "cycle_a": 2.5, "time": 0.5, "data": 0.25},
        ),
        (
            [
                "[host:0/2] 2031-01-02 03:04:05,678 (trainer:4) INFO: 1epoch:train:1-50batch: iter_time=0.5, loss=7.5"
            ],
            (1, 50, None),
            {"loss": 7.5},
        ),
        (
            ['INFO stats: {"_type": "train_iter", "epoch": "2/9", "iter": "10/40", "loss": 0.5}'],
            (2, 10, 40),
            {"loss": 0.5},
        ),
        (
            ["31-01-02 03:04:05.678 - INFO: <epoch: 8, iter: 1,200, lr:2.5e-05> l_pix: 0.5"],
            (8, 1, None),
            {"lr": 2.5e-05, "l_pix": 0.5},
        ),
        (
            [f"{LEVEL}Epoch: 7, lr: 0.5 - train loss: 0.25 - took 3 h"],
            (7, None, None),
            {"lr": 0.5, "loss": 0.25},
        ),
        (
            [
                "INFO | Train Epoch: 4 [128/1280 (10%)] Data (t): 0.1 Batch (t): 0.2, 64.5/s, 16.5/s/gpu LR: 0.5 Loss: 2.5 (2.5)"
            ],
            (4, 128, 1280),
            {"lr": 0.5, "loss": 2.5},
        ),
        (["[INFO]   [3/90] batch 20/500 loss=2.5 lr=0.5"], (3, 20, 500), {"loss": 2.5, "lr": 0.5}),
        (["INFO:3-epoch (49/900): total loss 2.5, lr 0.5"], (3, 49, 900), {"total_loss": 2.5, "lr": 0.5}),
        (
            [
                "  epoch    train_loss    valid_acc    cp     dur",
                "-------  ------------  -----------  ----  ------",
                "      4        0.2500       0.5000        0.0456",
            ],
            (4, None, None),
            {"loss": 0.25, "dur": 0.0456},
        ),
        (
            ["epoch     train_loss  error_rate  time", "4         0.5         0.25        00:31"],
            (4, None, None),
            {"loss": 0.5, "error_rate": 0.25},
        ),
        (
            [
                "  Epoch  GPU_mem  box_loss  total  Size",
                "    2/9    1.5G      0.5     1.5  640: 100%|####| 16/16 [00:05<00:00, 2it/s]",
            ],
            (2, 16, 16),
            {"box_loss": 0.5, "total_loss": 1.5},
        ),
        (
            ["2031-01-02 03:04:05.678: Epoch 5", "2031-01-02 03:04:05.678: train_loss -0.5"],
            (5, None, None),
            {"loss": -0.5},
        ),
        (
            [
                "[session 1][epoch 1][iter 10/40] loss: 0.5, lr: 0.25",
                "\t\tfg/bg=(3/9), time cost: 2.5",
                "\t\trpn_cls: 0.125",
            ],
            (1, 10, 40),
            {"rpn_cls": 0.125},
        ),
        (["Epoch 3/9", "---", "train Loss: 0.5 Acc: 0.75"], (3, None, None), {"loss": 0.5, "acc": 0.75}),
        (
            ["epoch: 3, loss: tensor(0.5, device='cuda:0', grad_fn=<MeanBackward0>)"],
            (3, None, None),
            {"loss": 0.5},
        ),
        (
            ["Epoch 1 | Iter 7 | Average Loss 0.5 | Current Loss 0.75 | 78.9 ms/batch"],
            (1, 7, None),
            {"loss": 0.5},
        ),
        (
            [
                "epoch 3 size_reg_loss: 1, sentiment_loss: 2, token_loss: 3, memory_loss: 4, token_time: 5, best_loss: 6"
            ],
            (3, None, None),
            {"size_reg_loss": 1, "sentiment_loss": 2, "token_loss": 3, "memory_loss": 4},
        ),
        (
            ["epoch 3 loss1:12.5 top1:75.50 mAP50:45.1 acc@5:92.1 at 12:30"],
            (3, None, None),
            {"loss1": 12.5, "top1": 75.5, "mAP50": 45.1, "acc5": 92.1},
        ),
        (["epoch 3 loss: 0,52 acc: 1,234.5 lr: 0.5,loss_b: 1"], (3, None, None), {"lr": 0.5, "loss_b": 1}),
        (["Fold 2/5, Epoch 1/10, loss 0.5"], (1, None, None), {"loss": 0.5}),
        (["[rank 1/8] epoch 3 loss 0.5"], (3, None, None), {"loss": 0.5}),
        (["Epoch 3 | accuracy 98/100 | loss 0.5"], (3, None, None), {"loss": 0.5}),
        (["Epoch 3 [4/9] loss 0.5"], (3, 4, 9), {"loss": 0.5}),
        (["max epoch 300, epoch 3 loss 0.5"], (3, None, None), {"loss": 0.5}),
        (["train.py:30 INFO epoch 3 loss 0.5"], (3, None, None), {"loss": 0.5}),
        (["[3/90][4/9] loss_a: 0.5, total: 1.5"], (3, 4, 9), {"loss_a": 0.5, "total_loss": 1.5}),
        (["[Epoch:1][Iter:4] - loss: 0.5"], (1, 4, None), {"loss": 0.5}),
        (
            [
                "2031-01-02 03:04:05.678\tnode-7:0\tmine.train:990\tINFO\t[step=30/900,epoch=0]",
                "    train/TokenLoss=5.5",
            ],
            (0, 30, 900),
            {"TokenLoss": 5.5},
        ),
        (
            ["Epoch 2/9  ━━━━━━ 50/100 0:00:02 • 0:00:01 20.1it/s v_num: 0.000 train_loss: 0.5"],
            (2, 50, 100),
            {"loss": 0.5},
        ),
        (["Epoch 2", "-------", "loss: 1.5  [ 6464/60000]"], (2, 6464, 60000), {"loss": 1.5}),
        (
            ["Validation: |      | 0/? [00:00<?, ?it/s]\x1b[A[02/01/31 03:04:05] INFO   Epoch 7: loss 0.5"],
            (7, None, None),
            {"loss": 0.5},
        ),
        (
            [
                "Epoch 1:  50%|##  | 5/10 [00:01<00:01, 2.0it/s, train_loss_step=0.5, train_loss_epoch=0.75, global_step=15]"
            ],
            (1, 5, 10),
            {"loss": 0.5, "global_step": 15},
        ),
        (
            ["starting epoch: 4", "Train -   loss: 0.5     top-1: 0.25"],
            (4, None, None),
            {"loss": 0.5, "top-1": 0.25},
        ),
        (
            ["Epoch: [4/9], lr: 0.25, Loss: 0.5:  33%|###   | 5/15 [00:02<00:01,  4.3it/s]"],
            (4, 5, 15),
            {"lr": 0.25, "loss": 0.5},
        ),
        (["2|7|Loss: 0.5:  33%|###   | 5/15 [00:02<00:01,  4.3it/s]"], (2, 5, 15), {"loss": 0.5}),
        (["Epoch 1: 100%|####| 9/9 [00:01<00:00, 2.0it/s, loss_epoch=0.75]"], (1, 9, 9), {"loss": 0.75}),
        (
            ["Epoch 1/5:  36%|##  | 8/22 [00:32<00:56,  4.04s/img, loss (batch)=0.619]"],
            (1, 8, 22),
            {"loss": 0.619},
        ),
        (["INFO:root:[Epoch 3] train=0.5 val=0.25 loss=1.5 time: 16.5"], (3, None, None), {"loss": 1.5}),
        (["Epoch[003] Batch [49]/[60]\tSpeed: 9.5 samples/sec\t loss=2.5"], (3, 49, 60), {"loss": 2.5}),
        (
            ["Epoch 1, Step 25, avg loss so far is 0.5, current acc is 0.25"],
            (1, 25, None),
            {"loss": 0.5, "acc": 0.25},
        ),
        (["Epoch[3] Iteration[5/9] Loss: 1.5, Base Lr: 3.5e-05"], (3, 5, 9), {"loss": 1.5, "lr": 3.5e-05}),
        (["epoch: 3,  loss is: 0.5, acc is: 0.25"], (3, None, None), {"loss": 0.5, "acc": 0.25}),
        (
            [
                "Epoch: 3",
                "train: 100%|####| 46/46 [00:12<00:00, 3.5it/s, dice_loss - 0.25, iou_score - 0.75]",
            ],
            (3, 46, 46),
            {"dice_loss": 0.25, "iou_score": 0.75},
        ),
        (
            [f"{LEVEL}**** Epoch 3 (3/9) ****", f"{LEVEL}Training mean loss: 0.5"],
            (3, None, None),
            {"loss": 0.5},
        ),
        (
            [f"{LEVEL}Epoch 3 (3/9):", f"{LEVEL}Train Instance Accuracy: 0.75"],
            (3, None, None),
            {"instance_accuracy": 0.75},
        ),
    ],
)
def test_lines_that_name_an_epoch(
    lines: list[str], place: tuple[int, int | None, int | None], values: dict[str, float]
) -> None:
    seen = last(*lines)
    assert seen
    assert (seen.epoch, seen.iteration, seen.iters) == place
    assert dict(seen.values) == values


@pytest.mark.parametrize("no_number", ["NaN", "NAN", "nan"])
def test_no_number_is_read_however_it_is_written(no_number: str) -> None:
    seen = last(f"Epoch 3, step 1/3, Loss: {no_number} (NaN), lr: -Inf")
    assert seen
    assert dict(seen.values) == pytest.approx({"loss": math.nan, "lr": -math.inf}, nan_ok=True)


@pytest.mark.parametrize(
    ("line", "trained", "evaluated"),
    [
        ("epoch 3 train loss: 0.52, val. loss: 0.6", {"loss": 0.52}, {"loss": 0.6}),
        (
            "Epoch 3 Train: loss .5 | Val: loss .6 acc .7 time 9 val_f1: 2 | Train: acc .8",
            {"loss": 0.5, "acc": 0.8},
            {"loss": 0.6, "acc": 0.7, "f1": 2},
        ),
        (
            "3epoch results: [train] iter_time=1.5, loss=0.5, [valid] loss=0.75, cer=0.25, [att_plot] wer=0.5",
            {"loss": 0.5},
            {"loss": 0.75, "cer": 0.25, "wer": 0.5},
        ),
        ("epoch  3: train 0.5 val 0.75", {"loss": 0.5}, {"loss": 0.75}),
        ("Epoch 3 | Train: 0.5 | Valid: 0.75 | 2.5s", {"loss": 0.5}, {"loss": 0.75}),
        ("epoch 3 loss 0.5, dev loss 0.75", {"loss": 0.5}, {"loss": 0.75}),
        ("INFO - [Val(Normal)] Epoch 003 (raw): loss = 0.75", {}, {"loss": 0.75}),
        (
            "Epoch 3, global step 400: 'val/acc' reached 0.5 (best 0.5), saving model to 'a.ckpt' as top 1",
            {"global_step": 400},
            {"acc": 0.5},
        ),
        ("Epoch 3, global step 400: 'val/acc' was not in top 1", {"global_step": 400}, {}),
        ("epoch 3, train loss: 0.5, test loss: 0.75: 100%|####| 5/5", {"loss": 0.5}, {"loss": 0.75}),
        (
            "Epoch: 3, Steps: 9 | Train Loss: 0.25 Vali Loss: 0.5 Test Loss: 0.75",
            {"loss": 0.25},
            {"loss": 0.5},
        ),
        (
            "Epoch 3 | train loss 0.5 acc 0.125 | test loss 0.75 acc 0.25 | lr 0.1",
            {"loss": 0.5, "acc": 0.125, "lr": 0.1},
            {"loss": 0.75, "acc": 0.25},
        ),
    ],
)
def test_what_is_behind_a_word_for_evaluation_is_of_one(
    line: str, trained: dict[str, float], evaluated: dict[str, float]
) -> None:
    seen = last(line)
    assert seen
    assert (seen.epoch, dict(seen.values), dict(seen.evaluated)) == (3, trained, evaluated)


@pytest.mark.parametrize(
    "line",
    [
        "iterations per epoch: 500",
        "max epoch: 300",
        "Early stopping: best epoch 1",
        "Number of epoch: 300",
        "The learning rate falls at epoch 60",
    ],
)
def test_an_epoch_that_is_not_of_now_is_none(line: str) -> None:
    """Nor is it that of the lines after it."""
    seen = last("Epoch 3 [1/9] loss 0.5", line, "iter 2/9 loss 0.5")
    assert seen
    assert (seen.epoch, seen.iteration) == (3, 2)


@pytest.mark.parametrize(
    ("lines", "iteration", "values"),
    [
        (
            ["[01/02 03:04:05 events]: eta: 1 day, 4:52:26  iter: 19  total_loss: 1.5  time: 0.25  data_time: 0.125  max_mem: 9M"],
            19,
            {"total_loss": 1.5, "time": 0.25, "data_time": 0.125},
        ),
        (["I0102 03:04:05.678901  9167 solver.cpp:65] Iteration 180, loss = 6.5"], 180, {"loss": 6.5}),
        (["INFO:tensorflow:loss = 4.5, step = 100 (124.3 sec)"], 100, {"loss": 4.5}),
        (["INFO:tensorflow:global step 7: loss = nan (2.3 sec/step)"], 7, {"loss": math.nan}),
        ([f"{LEVEL}step:  4  loss:  7.5  memory: 66.9GiB(37.5%)  tps: 10,050"], 4, {"loss": 7.5}),
        ([" iteration      122/  250000 | global batch size:  1024 | lm loss: 2.5E+00 | number of nan iterations:   0 |"], 122, {"lm_loss": 2.5}),
        (["I0102 03:04:05.678901  9167 sgd_solver.cpp:106] Iteration 180, lr = 0.5"], 180, {"lr": 0.5}),
        ([" 180: 6.25, 6.5 avg loss, 0.001 rate, 0.9 seconds, 11520 images, 1.25 hours left"], 180, {"loss": 6.5, "lr": 0.001}),
        (["180: 6.25, 6.5 avg, 0.001000 rate, 0.081498 seconds, 180 images"], 180, {"loss": 6.5, "lr": 0.001}),
        (["Training progress:  23%|##   | 7000/30000 [01:45<04:24, 86.86it/s, Loss=0.25]"], 7000, {"loss": 0.25}),
        (["[step=18] return=1.5 length=3.0"], 18, {"return": 1.5, "length": 3}),
        (
            ["     \x1b[1m Learning iteration 8/40 \x1b[0m     ", "", "    Total steps: 4096", "    Mean reward: 17.5"],
            8,
            {"reward": 17.5},
        ),
        (["490 | loss 5.5 | lr 4.0e-05 | 80.7ms"], 490, {"loss": 5.5, "lr": 4.0e-05}),
        (["[2031-01-02 03:04:05,678 INFO] Step 50/900; acc:  31.5; xent: 4.5; 50/2 tok/s;   66 sec"], 50, {"acc": 31.5, "xent_loss": 4.5}),
        (
            ["---------------", "| rollout/ |  |", "|    ep_rew_mean | 20.5 |", "|    total_timesteps | 2048 |", "---------------"],
            2048,
            {"ep_rew_mean": 20.5},
        ),
        (["---------------", "| total/epochs | 2 |", "| rollout/return | 20.5 |", "| total/steps | 4000 |", "---------------"], 4000, {"rollout/return": 20.5}),
        (["iter = 20", "\tloss = 0.5, accuracy (cur) = 0.25"], 20, {"loss": 0.5}),
        (["131 [D loss: 0.5, acc.: 99.5%] [G loss: 1.5]"], 131, {"d_loss": 0.5, "acc.": 99.5, "g_loss": 1.5}),
        (["step  900 | phase 2 | loss_G 2.5 | sep 2.25 | lr 1.5e-04"], 900, {"loss_g": 2.5, "lr": 1.5e-04}),
        (["epoch 1/4", "steps:  10%|#   | 80/800 [00:40<06:00,  2.00it/s, avr_loss=0.125]"], 80, {"avr_loss": 0.125}),
        (["Steps:  10%|#   | 80/800 [00:40<06:00,  2.00it/s, lr=0.5, step_loss=0.125]"], 80, {"lr": 0.5, "step_loss": 0.125}),
        (["\x1b[36m(Runner pid=625)\x1b[0m step:18 - seq/min:23 - actor/pg_loss:0.5 - perf/mfu:0.25"], 18, {"actor/pg_loss": 0.5, "perf/mfu": 0.25}),
        (["iter_dt 18.5ms; iter 700: train loss 0.5"], 700, {"loss": 0.5}),
        (["50 train 5.5"], 50, {"loss": 5.5}),
        (["iter 50 | train 5.5 | val 6.5 | lr 0.5"], 50, {"loss": 5.5, "lr": 0.5}),
        (["  step    loss     lr", "     0  4.5000  0.25", "  step    loss     lr", "    50  2.5000  0.50"], 50, {"loss": 2.5, "lr": 0.5}),
        (["completed step: 7, seconds: 1.5, loss: 8.5"], 7, {"loss": 8.5}),
        (["I0102 03:04:05.678901 123 logging_writer.py:48] [700] train_loss=8.5, learning_rate=0.5"], 700, {"loss": 8.5, "lr": 0.5}),
    ],
)  # fmt: skip
def test_lines_that_name_an_iteration_alone(
    lines: list[str], iteration: int, values: dict[str, float]
) -> None:
    found = last(*lines)
    assert found is None or not found.values
    seen = last(*lines, iters=0)
    assert seen
    assert seen.iteration == iteration
    assert dict(seen.values) == pytest.approx(values, nan_ok=True)


@pytest.mark.parametrize("begun", ["[fold_0] 001/9:   0%|    | 0/4 [00:01<?, ?it/s, loss=0.5]", "steps:   0%|   | 0/8 [00:01<?, ?it/s, loss=0.5]"])  # fmt: skip
def test_a_bar_at_its_begin_has_done_nothing(begun: str) -> None:
    assert last(begun, iters=0) is None
    assert not ((seen := last(begun)) and (seen.iteration or seen.values))
    seen = last("2/3 * Epoch (train):   0%|    | 0/40 [00:00<?, ?it/s]", "valid loss: 0.5")
    assert seen
    assert (seen.epoch, dict(seen.evaluated)) == (2, {"loss": 0.5})


def test_an_evaluation_below_a_line_that_counts_its_own_batches_is_of_the_newest_iteration() -> None:
    """Composer's."""
    seen = last(
        "[batch=50/900]:", "  Train loss/train/total: 0.5", "[Eval batch=20/20] Eval on eval data:",
        "  Eval metrics/eval/CrossEntropy: 0.75", iters=0,
    )  # fmt: skip
    assert seen
    assert (seen.iteration, list(seen.evaluated.values())) == (50, [0.75])


@pytest.mark.parametrize(("first", "stride"), [(25, 25), (10, 10), (1, 10), (0, 10)])
def test_steps_over_the_whole_run_of_which_each_nth_is_printed(first: int, stride: int) -> None:
    """An epoch has 50; its last is no first."""
    reader = ConsoleReader()
    steps = range(first, 101, stride)
    lines = [f"epoch {(step - min(first, 1)) // 50} step {step} loss 0.5" for step in steps]
    seen = [reader.line(line) for line in lines]
    assert [one.iteration for one in seen if one] == [step - 50 * (step >= 50 + min(first, 1)) - 50 * (step > 100 - (first == 0)) for step in steps]  # fmt: skip


def test_a_count_with_commas_is_one_number() -> None:
    seen = last("31-01-02 03:04:05.678 - INFO: <epoch: 8, iter: 1,200, lr:2.5e-05> l_pix: 0.5", iters=0)
    assert seen
    assert (seen.iteration, dict(seen.values)) == (1200, {"lr": 2.5e-05, "l_pix": 0.5})


@pytest.mark.parametrize("sign", [": ", "=", " "])
@pytest.mark.parametrize("printed", ["nan", "NaN", "NAN", "-nan(ind)", "inf", "Inf", "-Infinity"])
def test_a_loss_that_is_no_finite_number_however_it_is_spelled(printed: str, sign: str) -> None:
    seen = last(f"epoch 3 loss{sign}{printed} acc 0.5")
    assert seen
    assert not math.isfinite(seen.values["loss"])


@pytest.mark.parametrize(
    ("line", "evaluated"),
    [
        ("val Loss: 0.5 Acc: 0.75", {"loss": 0.5, "acc": 0.75}),
        ("Epoch 3: testing psnr = 34.5, ssim = 0.5, time: 0.02", {"psnr": 34.5, "ssim": 0.5}),
        ("| epoch 003 | valid on 'valid' subset | valid_loss 4.5 | valid_ppl 5.5 | num_updates 5586", {"loss": 4.5, "ppl": 5.5}),
        ("Test: [   1/48]  Loss:  6.5 (6.5)", None),
        ("Test: [  48/48]  Loss:  6.5 (6.75)  Acc@1:  0.5 ( 0.25)", {"loss": 6.75, "acc1": 0.25}),
        ("all  161  328  0.5  0.25", None),
        (" *   Acc@1 33.5 Acc@5 50.5", {"acc1": 33.5, "acc5": 50.5}),
        ("[2031-01-02 03:04:05 net] (main.py 283): INFO  * Acc@1 33.5 Acc@5 50.5", {"acc1": 33.5, "acc5": 50.5}),
        ("INFO:tensorflow:Saving dict for global step 1000: accuracy = 0.25, global_step = 1000, loss = 0.5", {"accuracy": 0.25, "loss": 0.5}),
        ("Dev: epoch 3 loss 1.5", {"loss": 1.5}),
        ("(0/4) Epoch 3, validation: loss=0.5", {"loss": 0.5}),
        ("Test set: Average loss: 0.5, Accuracy: 98/100 (98%)", {"loss": 0.5}),
        (" 40/40 [====] - 5s 7us/step - loss: 0.5 - val_loss: 0.75", {"loss": 0.75}),
        (" Loss: 13.5  Iterations:   9/40  ValLoss:12.5", {"loss": 12.5}),
        ("[Epoch 3] validation: err-top1=0.5 err-top5=0.25", {"err-top1": 0.5, "err-top5": 0.25}),
        ("INFO:root:Evaluation Epoch 3 - Average Loss: 3.5, Average Accuracy: 0.5", {"loss": 3.5, "accuracy": 0.5}),
        ("current epoch: 3 current mean dice: 0.75", {"dice": 0.75}),
        (f"{LEVEL}Test Instance Accuracy: 0.5, Class Accuracy: 0.25", {"instance_accuracy": 0.5, "class_accuracy": 0.25}),
        ("mAP=0.75", {"mAP": 0.75}),
        ("NDS:\t 0.75", {"nds": 0.75}),
        ("  Val  Acc@1: 50.5% | MRR: 62.25%", {"acc1": 50.5, "mrr": 62.25}),
        (" Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ] = 0.250", {"AP": 0.25}),
        (" Average Precision  (AP) @[ IoU=0.50:0.95 | area= small | maxDets=100 ] = 0.250", None),
        ("valid: 100%|####| 9/9 [00:03<00:00, 3.5it/s, dice_loss - 0.5]", {"dice_loss": 0.5}),
    ],
)  # fmt: skip
def test_evaluations(line: str, evaluated: dict[str, float] | None) -> None:
    """One that still runs is none."""
    seen = last("Epoch 3/9", line)
    assert (seen and dict(seen.evaluated)) == evaluated


@pytest.mark.parametrize(
    "line",
    [
        "Resuming from epoch 2, loss 0.3",
        "=> loaded checkpoint 'x' (epoch 2), loss 0.3",
        "Epoch 00001: val_loss improved from 5.0 to 3.25, saving model to a_epoch-01_loss-3.8.h5",
        "Namespace(epoch=1, lr=0.1, loss_weight=0.5)",
        "print('epoch: 1 loss: 0.5')",
        "Downloading torch-2.0.1.whl (619.9 MB) 12/619 [===>] loss",
        "[   12.345678] usb 1-1: new high-speed USB device number 4",
        "10 packets transmitted, 9 received, 10% packet loss, time 9012ms",
        "Step 3/10 : RUN pip install torch==2.0",
        "epochs: 100",
        "| the supervisor is killed in epoch 2, iteration 3; the ranks train on | 0.5 | killed | attempt: 2 |",
        "It was killed in epoch 2, iteration 3 of the demo, and the attempt after that: 2",
        "[loss_scaler.py:183:update_scale] OVERFLOW! Skipping step 3. Attempted loss scale: 64, reducing to 32",
        "TRAIN Batch 4/203700 loss 12.5 rank 0",
        "total_loss: 0.5",
        "epoch 3 loss 2,39 lr 0.5",
        "Epoch 3 - loss: 2,39 - val_loss: 2,5",
        "epoch 3 loss 1.#QNAN lr 0.5",
        "57:    loss_weight = 1.0",
        "  12 |     loss = 0.0",
        "batch 3: migrations applied: 5",
        "[3/90] copying, total: 500",
        "epoch 3: train 12.5s val 2.5s",
        "epoch 3 accuracy: train 0.5 val 0.25",
        "Epoch: 003, Train: 0.9500, Val: 0.7900, Test: 0.8100",  # accuracies, in PyTorch Geometric's examples
        "bbox AP:90.25, 89.5, 88.5",
        "loss: 0.5 acc: 0.25",
        "2031-01-02 03:04:05 GET /step/3/loss?epoch 200 12ms",
        "",
    ],
)
def test_what_is_no_line_of_a_training(line: str) -> None:
    """A false one is worse than a refusal."""
    for iters in (None, 0):
        seen = last(line, iters=iters)
        assert not (seen and (seen.values or seen.evaluated)), seen


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("Epoch: [0][  1/ 10]\tTime  0.1 ( 0.1)\tLoss 7.0e+00 (7.1e+00)\tAcc@1 0.00", (0, 1, 10, 7.0)),
        ("INFO:root:Epoch 3/90, step 20/100, loss: 0.5", (3, 20, 100, 0.5)),
        ("[GPU0] Epoch 2 | Iter 0 | Train Loss 0.5", (2, 0, None, 0.5)),
        ("2026-01-01 10:00:00,123 - __main__ - INFO - epoch 4 loss=0.25", (4, None, None, 0.25)),
        ("Epoch 0:  33%|###3   | 1/3 [00:01<00:02,  1.20s/it, loss=28.5, lr=0.0001]", (0, 1, 3, 28.5)),
        ("Epoch 6: train loss 0.5, val loss 0.6", (6, None, None, 0.5)),
        ("Train Epoch: 1 [0/60000 (0%)]\tLoss: 2.3", (1, 0, 60000, 2.3)),
        ("\x1b[32mEpoch 3\x1b[0m step 7 of 9: loss -1", (3, 7, 9, -1.0)),
        ("[rank0]: epoch 3 loss 2", (3, None, None, 2.0)),
        ("2022 | INFO     | yolox.core.trainer:246 - epoch: 1/9, iter: 2/13, mem: 6Mb, total_loss: 24.5", (1, 2, 13, 24.5)),
        ("2020 | INFO | train_inner | epoch 003:      5 / 356 loss=9.44, nll_loss=8.4", (3, 5, 356, 9.44)),
    ],
)  # fmt: skip
def test_the_place_of_a_training_and_its_total(line: str, wanted: tuple[object, ...]) -> None:
    seen = last(line)
    assert seen
    assert (seen.epoch, seen.iteration, seen.iters, seen.loss) == wanted


def test_a_bar_of_an_epoch_is_progress_without_a_number_beside_it() -> None:
    """Lightning's, of a module that logs nothing there; what only names an epoch is none, behind it either."""
    follower = Follower(TRAINERS["script"].of(ScriptSettings(command="{launcher} {entry}"), "train.py"))
    lines = ["Epoch 4:   0%|     | 0/64 [00:00<?]", "Epoch 4:   2%|     | 1/64 [00:00<00:01, v_num=0]"]
    seen = [
        follower.see(line + "\n")
        for line in [*lines, "Epoch 4/9", "Validation:  50%|##   | 1/2 [00:00<00:01]"]
    ]
    assert seen == [None, StepSeen(5, 1, 64, None, None), None, None]


@pytest.mark.parametrize("iters", [None, 5000])
@pytest.mark.parametrize(
    "line",
    [
        "loaded checkpoint of epoch 7",
        "Epoch 0 - loss: 0.0000 - lr: 0.0100:   0%|          | 0/64 [00:00<?, ?it/s]",
        "epoch 7 loss 0.3 (loaded from x.pt)",
        "Checkpoint of epoch 7 step 100 loss 0.3 loaded",
        "Epoch 5 val loss: 0.3",
        "[GPU1] Epoch 1 | Batchsize: 32 | Steps: 32",
        "Epoch 3/9",
        "Best loss 0.3 at epoch 7",
        "best epoch: 7, iter 100, acc 0.3",
        "Start from epoch 7, iter 300, loss 0.3",
        "previous run: epoch 7 iter 10/20 loss 0.5",
        "scheduler: epoch 7, step 3, lr 0.1",
        "Model from epoch 7 has loss 0.3",
        "args: epoch=7 iters=100 loss_weight=0.5",
        "state: {'epoch': 7, 'step': 300, 'loss': 0.25}",
        "warm start: epoch 7, loss 0.1",
        "x" * 5_000 + " Epoch 1 loss 2",
    ],
)
def test_an_aside_is_no_progress(line: str, iters: int | None) -> None:
    """Else a trainer that says from where it resumes would be taken for one that trains that epoch again."""
    script = TRAINERS["script"].of(ScriptSettings(command="{entry}"), "a.py", iters)
    assert Follower(script).see(line + "\n") is None


def test_a_place_of_an_epoch_is_none_of_a_training_that_counts_iterations() -> None:
    """It would move back with each epoch, as if it had not resumed."""
    for line in ("Epoch 3 iter 20/500 loss 0.5", "iter 20/500 loss 0.5", "Epoch 3 | Iter 0 | Loss 0.5"):
        assert last(line, iters=5000) is None, line
    seen = last("iter 20/5000 loss 0.5", iters=5000)
    assert seen
    assert (seen.iteration, seen.loss) == (20, 0.5)


def test_an_evaluation_of_both_halves_is_of_no_iteration() -> None:
    """As nanoGPT prints it."""
    seen = last("step 250: train loss 1.9, val loss 2.0171", iters=500)
    assert seen
    assert (seen.iteration, dict(seen.values), dict(seen.evaluated)) == (250, {}, {"loss": 2.0171})


def test_a_score_below_an_epoch_is_of_its_evaluation_and_a_learning_rate_is_not() -> None:
    seen = last("iteration 50, epoch 3 : loss : 0.5", "Testing performance in val model: mean_dice : 0.25")
    assert seen
    assert (seen.epoch, dict(seen.evaluated)) == (3, {"mean_dice": 0.25})
    assert last("[eval] iter 4000: val loss 2.3 lr 1.5e-04", iters=0) == LineSeen(
        1, 4000, 0, None, {}, {"loss": 2.3}, by_iteration=True
    )


def test_a_bar_of_an_unknown_length_has_a_count() -> None:
    seen = last("Epoch 3/9", "      7/Unknown - 2s 5ms/step - loss: 0.5")
    assert seen
    assert (seen.epoch, seen.iters, seen.loss) == (3, None, 0.5)
    assert last("Epoch 3/9", "eval 7/Unknown - loss: 0.5")


@pytest.mark.parametrize(
    ("values", "loss"),
    [
        ({"loss": 0.5, "loss_cls": 0.25}, 0.5),
        ({"total_loss": 0.5, "rpn_loss": 0.25}, 0.5),
        ({"lm_loss": 0.5, "lr": 1.0}, 0.5),
        ({"g_loss": 0.5, "d_loss": 0.25}, None),
        ({"acc": 0.5}, None),
    ],
)
def test_the_loss_of_a_line_is_its_total_or_the_only_one(
    values: dict[str, float], loss: float | None
) -> None:
    assert LineSeen(1, 1, None, None, values, {}).loss == loss


@pytest.mark.parametrize(
    "unit",
    [
        *[
            "a",
            "1",
            "1.",
            "_",
            "1/",
            "a:1 ",
            "iter",
            "epoch 1 ",
            "1,111,",
            "11-11-",
            " ",
            "loss ",
            "| ",
            "a(",
        ],
        *["val ", "acc 1/", "1 of ", "Box(P "],
    ],
)
def test_no_line_stalls_the_reader(unit: str) -> None:
    """A look at a line costs at most some milliseconds for each thousand characters."""
    reader = ConsoleReader()
    for begin in ("epoch 1 iter 2 loss: 0.5 ", "", "| ", "loss 1 (", "Class  Images  "):
        begun_s = time.process_time()
        reader.line((begin + unit * 4000)[:3999])
        assert time.process_time() - begun_s < 0.2, begin


def test_batches_of_an_evaluation_that_nothing_calls_one() -> None:
    """Lines of the training name their epoch."""
    seen = last("[Epoch 3 Batch 80/82] loss=0.5, lr=0.1", "[Batch 10/35] loss=0.75, acc:0.5")
    assert seen is None
    assert last("[Epoch 3 Batch 80/82] loss=0.5, lr=0.1", "[Batch 81/82] loss=0.25")


def test_a_step_of_another_program_has_no_numbers_below_it() -> None:
    assert last("Step 3/40 : RUN make test", "  Tests: 9 passed, accuracy: 90.5", iters=0) is None


def test_scores_that_detectron2_copies() -> None:
    said = "[01/02 03:04:05 d2.evaluation.testing]: copypaste: "
    seen = last(
        "[01/02 03:04:05 events]: iter: 19  total_loss: 1.5  time: 0.25  data_time: 0.125",
        *(
            f"{said}{cells}"
            for cells in ("Task: bbox", "AP,AP50", "1.5,2.5", "Task: segm", "AP,APs", "0.5,nan")
        ),
        iters=0,
    )
    assert seen
    assert (seen.iteration, dict(seen.evaluated)) == (
        19,
        pytest.approx({"segm/AP": 0.5, "segm/APs": math.nan}, nan_ok=True),
    )


def test_names_of_several_words_head_no_columns() -> None:
    assert (
        last("  step  training loss  validation loss", "    50            0.5             0.75", iters=0)
        is None
    )
    assert last("  epoch  training loss  accuracy", "      5           0.50      0.75") is None


def test_the_moderate_precisions_of_kitti() -> None:
    reader = ConsoleReader()
    seen = [
        reader.line(f"{line}\n")
        for line in (
            *("*** EPOCH 3 EVALUATION ***", f"{LEVEL}Car AP_R40@0.70, 0.50, 0.50:"),
            *("bbox AP:90.25, 89.5, 88.5", "3d   AP:80.25, 79.5, nan"),
        )
    ]
    assert [(one.epoch, dict(one.evaluated)) for one in seen[2:] if one] == [
        *((3, {"Car_AP_R40/bbox": 89.5}), (3, {"Car_AP_R40/3d": 79.5}))
    ]


def test_a_config_is_no_training() -> None:
    """Numbers below a count are of it only where that is a line of progress."""
    reader = ConsoleReader(0)
    for line in (
        "SOLVER:",
        "  STEPS: 64",
        "  WARMUP_ITERS: 500",
        "    WEIGHT_DECAY: 0.0001",
        "  EVAL_PERIOD: 5",
    ):
        seen = reader.line(line + "\n")
        assert not (seen and (seen.values or seen.evaluated)), line


def test_tables_of_two_kinds_behind_a_prefix() -> None:
    reader = ConsoleReader()
    lines = (
        "1668 host error   Epoch    GPU_mem   box_loss   Size",
        "1668 host error     2/9      1.5G        0.5     640: 100%|####| 16/16 [00:05<00:00]",
        "                    all         9        0.5     0.25",
        "1668 host error   Class    Images        mAP50   mAP50-95: 100%|####| 4/4 [00:05<00:00]",
        "                    all         9        0.5     0.25",
    )
    seen = [reader.line(line) for line in lines]
    assert [bool(one and (one.values or one.evaluated)) for one in seen] == [False, True, False, False, True]
    assert seen[1]
    assert (dict(seen[1].values), seen[1].iteration) == ({"box_loss": 0.5}, 16)
    assert seen[4]
    assert dict(seen[4].evaluated) == {"mAP50": 0.5, "mAP50-95": 0.25}


def test_a_table_of_groups() -> None:
    """YOLO's, of boxes and of masks."""
    seen = last(
        "Epoch 3",
        "    Class   Images  Box(P   R   mAP50  mAP50-95)  Mask(P   R   mAP50  mAP50-95): 100%|####| 8/8 [00:03]",
        "      all      722   0.5   0.25   0.75  0.125   1   2   3   4",
    )
    assert seen
    assert dict(seen.evaluated) == {
        **{"box_p": 0.5, "box_r": 0.25, "box_mAP50": 0.75, "box_mAP50-95": 0.125},
        **{"mask_p": 1, "mask_r": 2, "mask_mAP50": 3, "mask_mAP50-95": 4},
    }


@pytest.mark.parametrize("before", ["", "[01.02.31|03:04:05] ", "[ Tue Jan  2 03:04:05 2031 ] ", LEVEL])
def test_a_mean_on_its_own_line_is_of_the_epoch_that_is_named_above(before: str) -> None:
    """ST-GCN's."""
    reader = ConsoleReader()
    said = (
        *(
            "Training epoch: 0",
            "\tIter 0 Done. | loss: 0.5 | lr: 0.1",
            "\tmean_loss: nan",
            "Time consumption:",
        ),
        *("Eval epoch: 0", "\tmean_loss: 0.75", "Evaluating:", "\tmean_loss: 0.25"),
        *("Training epoch: 1", "Test: [1/9] loss: 0.5", "\tmean_loss: 0.25"),
    )
    seen = [reader.line(f"{before}{line}\n") for line in said]
    assert [bool(one and (one.values or one.evaluated)) for one in seen] == [
        *(False, True, True, False),
        *(False, True, False, False),
        *(False, False, False),
    ]
    assert seen[2]
    assert seen[5]
    assert (seen[2].epoch, seen[2].iteration, seen[2].loss) == (0, None, pytest.approx(math.nan, nan_ok=True))
    assert dict(seen[5].evaluated) == {"mean_loss": 0.75}
    assert not last(f"{before}\tmean_loss: 0.5")
