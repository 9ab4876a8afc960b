"""The keypoint demo: its scenes, its sequences, the laws of its losses, its output, and what a resume is."""

import importlib.util
import json
import sys
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

CHECKOUT = Path(__file__).resolve().parents[3] / "workflow" / "demo" / "keypoints"
sys.path.insert(0, str(CHECKOUT))
from keypoints import checkpoint, scenes, sequence  # noqa: E402
from keypoints.dataset import Scenes, collate  # noqa: E402
from keypoints.engine import values_to_log  # noqa: E402
from keypoints.losses import build_criterion, cross_entropy  # noqa: E402
from keypoints.metric_logger import MetricLogger, SmoothedValue  # noqa: E402
from keypoints.model import build_model  # noqa: E402
from keypoints.pck import count_correct  # noqa: E402
from keypoints.sequence import CLS, COORD, EOS, PAD, SEP  # noqa: E402

CPU = torch.device("cpu")
COEFS = {"loss_ce": 2, "loss_coords": 5, "loss_ce_room": 1}


def load_script():
    spec = importlib.util.spec_from_file_location("keypoints_main", CHECKOUT / "main.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = load_script()


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tiny tensors are slower on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_args(*said: str):
    return ArgumentParser(parents=[script.get_args_parser()]).parse_args(["--device", "cpu", *said])


def make_batch(cls_tokens: bool = False, n: int = 6):
    dataset = Scenes(range(n), 32, cls_tokens)
    return collate([dataset[i] for i in range(n)])


def step(*said: str):
    """Losses of a fresh model on one batch: (batch, outputs, losses, criterion)."""
    torch.manual_seed(0)
    args = make_args("--hidden_dim", "32", *said)
    batch, criterion = make_batch(args.cls_tokens), build_criterion(args)
    outputs = build_model(args)(batch["image"], batch["tokens"], batch["points"])
    return batch, outputs, criterion(outputs, batch), criterion


# ------------------------------------------------------------------------------- scenes


@pytest.mark.parametrize("index", [0, 1, 17])
def test_a_scene_is_the_same_each_time_it_is_drawn(index):
    first, again = (Scenes(range(20), 32, cls_tokens=True)[index] for _ in range(2))
    assert first.keys() == again.keys()
    for key, value in first.items():
        np.testing.assert_array_equal(value, again[key], err_msg=key)


def test_different_indices_and_seeds_give_different_scenes():
    corners = [scenes.make_scene(i, seed)[0].keypoints.tolist() for seed in (0, 1) for i in (0, 1)]
    assert all(corners[i] != corners[j] for i in range(4) for j in range(i))


def test_figures_stay_in_the_image_and_each_in_a_quarter_of_its_own():
    for index in range(300):
        figures = scenes.make_scene(index)
        assert 1 <= len(figures) <= scenes.MAX_OBJECTS
        quarters = []
        for figure in figures:
            assert len(figure.keypoints) == len(scenes.CORNERS[scenes.CATEGORIES[figure.category]])
            assert figure.keypoints.min() > 0
            assert figure.keypoints.max() < 1
            (quarter,) = {tuple(quarter) for quarter in np.floor(2 * figure.keypoints[:, ::-1])}
            quarters.append(quarter)  # row, column
        assert quarters == sorted(set(quarters)), "not in reading order"


def test_every_category_and_every_number_of_figures_is_drawn():
    drawn = [scenes.make_scene(i) for i in range(100)]
    assert {len(figures) for figures in drawn} == {1, 2, 3}
    assert {figure.category for figures in drawn for figure in figures} == set(range(len(scenes.CATEGORIES)))


def test_the_image_is_bright_inside_the_figures_and_dark_between_them():
    square = np.array([[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]])
    image = scenes.draw([scenes.Figure(1, square, np.full(3, 0.8))], 32, np.random.default_rng(0))
    assert image.shape == (3, 32, 32)
    inside = np.zeros((32, 32), dtype=bool)
    inside[8:24, 8:24] = True
    assert image[:, inside].mean() == pytest.approx(0.8, abs=0.02)
    assert image[:, ~inside].mean() == pytest.approx(0.0, abs=0.02)


def test_keypoints_go_clockwise_on_the_screen():
    for corners in scenes.CORNERS.values():
        x, y = np.array(corners).T
        assert (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() > 0  # twice the area, y pointing down


# ------------------------------------------------------------------------------- sequences


@pytest.mark.parametrize("cls_tokens", [False, True])
@pytest.mark.parametrize("index", range(8))
def test_a_sequence_follows_the_grammar(index, cls_tokens):
    figures = scenes.make_scene(index)
    target = sequence.encode(figures, cls_tokens)
    tokens, expected = target["tokens"].tolist(), []
    for figure in figures:
        expected += [COORD] * len(figure.keypoints) + [CLS] * cls_tokens + [SEP]
    expected[-1] = EOS
    assert tokens == expected + [PAD] * (sequence.MAX_LENGTH - len(expected))
    on_cls = target["categories"][target["tokens"] == CLS].tolist()
    assert on_cls == [figure.category for figure in figures] * cls_tokens
    assert (target["categories"][target["tokens"] != CLS] == PAD).all()
    written = sequence.decode(tokens, target["points"].tolist())
    assert len(written) == len(figures)
    for figure, keypoints in zip(figures, written, strict=True):
        np.testing.assert_allclose(keypoints, figure.keypoints, rtol=1e-6)


def test_a_full_image_with_categories_just_fits():
    house = scenes.Figure(3, np.zeros((scenes.MAX_KEYPOINTS, 2)), np.zeros(3))
    assert sequence.encode([house] * scenes.MAX_OBJECTS, cls_tokens=True)["tokens"][-1] == EOS


def test_nothing_is_read_behind_the_end():
    tokens = [COORD, EOS, COORD, SEP]
    assert sequence.decode(tokens, [[0.0, 0.1]] * 4) == [[[0.0, 0.1]]]


# ------------------------------------------------------------------------------- losses


def test_the_cross_entropy_is_never_negative_and_is_that_of_torch_without_the_padding():
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        logits = 5 * torch.randn(3, 5, 4, generator=generator)
        targets = torch.randint(-1, 4, (3, 5), generator=generator)
        loss = cross_entropy(logits, targets)
        real = targets != PAD
        by_hand = -logits.softmax(-1)[real].gather(1, targets[real][:, None]).log().mean()
        assert loss >= 0
        assert loss.item() == pytest.approx(
            functional.cross_entropy(logits[real], targets[real]).item(), rel=1e-5
        )
        assert loss.item() == pytest.approx(by_hand.item(), rel=1e-4)


def test_each_layer_has_its_losses_under_its_own_suffix():
    batch, outputs, losses, _ = step()
    suffixes = ["", "_0", "_1", "_2", "_3", "_4"]
    names = [name + suffix for suffix in suffixes for name in COEFS]
    assert list(losses) == [*names, "class_error"]
    coord = batch["tokens"] == COORD
    for suffix, layer in zip(suffixes, [5, 0, 1, 2, 3, 4], strict=True):
        off = (outputs["points"][layer] - batch["points"])[coord].abs().sum(-1).mean()
        assert losses[f"loss_coords{suffix}"].item() == pytest.approx(off.item(), rel=1e-5)
        ce = cross_entropy(outputs["tokens"][layer], batch["tokens"])
        assert losses[f"loss_ce{suffix}"].item() == pytest.approx(ce.item(), rel=1e-5)


def test_without_auxiliary_losses_only_the_last_layer_counts():
    assert list(step("--no_aux_loss")[2]) == [*COEFS, "class_error"]


@pytest.mark.parametrize("said", [[], ["--cls_tokens"]], ids=["plain", "cls_tokens"])
def test_the_logged_total_is_the_sum_of_coefficient_times_unscaled_over_all_layers(said):
    _, _, losses, criterion = step(*said)
    logged = values_to_log(losses, criterion.weight_dict)
    unscaled = {key.removesuffix("_unscaled"): v for key, v in logged.items() if key.endswith("_unscaled")}
    assert len(unscaled) == 18
    for name, value in unscaled.items():
        coef = COEFS[name.rstrip("_01234")]
        assert logged[name] == pytest.approx(coef * value)
    assert logged["loss"] == pytest.approx(sum(logged[name] for name in unscaled))
    assert logged["loss"] > 0


def test_the_category_loss_is_exactly_zero_without_cls_tokens_and_real_with_them():
    without, with_tokens = step()[2], step("--cls_tokens")[2]
    rooms = [name for name in without if name.startswith("loss_ce_room")]
    assert len(rooms) == 6
    assert all(without[name].item() == 0.0 for name in rooms)
    assert all(with_tokens[name].item() > 0.1 for name in rooms)


def test_training_on_one_batch_lowers_every_loss():
    torch.manual_seed(0)
    args = make_args("--hidden_dim", "32", "--cls_tokens")
    batch, model, criterion = make_batch(cls_tokens=True), build_model(args), build_criterion(args)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    rows = []
    for _ in range(25):
        losses = criterion(model(batch["image"], batch["tokens"], batch["points"]), batch)
        rows.append({name: value.item() for name, value in losses.items()})
        optimizer.zero_grad()
        sum(losses[name] * weight for name, weight in criterion.weight_dict.items()).backward()
        optimizer.step()
    assert all(rows[-1][name] < 0.8 * rows[0][name] for name in criterion.weight_dict)


# ------------------------------------------------------------------------------- model


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build_model(make_args("--hidden_dim", "32")).eval()


@torch.no_grad()
def test_a_later_step_changes_no_earlier_prediction(model):
    batch = make_batch()
    image, tokens, points = batch["image"], batch["tokens"], batch["points"]
    before = model(image, tokens, points)
    changed, moved = tokens.clone(), points.clone()
    assert (tokens[:, 2] == COORD).all()
    moved[:, 2] += 0.3  # what was written at step 2 is the input of step 3
    changed[:, 4] = (tokens[:, 4].clamp(min=0) + 1) % 3
    after = model(image, changed, moved)
    for name in before:
        torch.testing.assert_close(after[name][:, :, :3], before[name][:, :, :3])
        assert not torch.allclose(after[name][:, :, 3], before[name][:, :, 3])
        assert not torch.allclose(after[name][:, :, 5], before[name][:, :, 5])


@torch.no_grad()
def test_greedy_decoding_is_what_teacher_forcing_predicts_from_the_models_own_writing(model):
    image = make_batch()["image"]
    tokens, points = model.generate(image)
    assert tokens.shape[1] <= sequence.MAX_LENGTH
    again = model(image, tokens, points)
    for row in range(len(image)):
        ended = (tokens[row] == EOS).nonzero().flatten().tolist()
        length = ended[0] + 1 if ended else tokens.shape[1]
        assert (tokens[row, length:] == PAD).all()
        assert again["tokens"][-1, row, :length].argmax(-1).tolist() == tokens[row, :length].tolist()
        torch.testing.assert_close(again["points"][-1, row, :length], points[row, :length])


# ------------------------------------------------------------------------------- PCK


def test_perfect_predictions_are_all_correct_and_shifted_ones_all_wrong():
    batch = make_batch()
    truth = batch["tokens"], batch["points"]
    total = int((batch["tokens"] == COORD).sum())
    assert count_correct(truth, truth) == (total, total)
    assert count_correct((batch["tokens"], batch["points"] + 0.07), truth) == (total, total)
    assert count_correct((batch["tokens"], batch["points"] + 0.08), truth) == (0, total)


def test_keypoints_that_were_not_written_are_wrong_and_surplus_ones_do_not_count():
    point = [0.5, 0.5]
    truth = torch.tensor([[COORD, COORD, SEP, COORD, EOS]]), torch.tensor([[point] * 5])
    short = torch.tensor([[COORD, EOS, PAD, PAD, PAD]]), torch.tensor([[point] * 5])
    long = torch.tensor([[COORD, COORD, COORD, SEP, COORD]]), torch.tensor([[point] * 5])
    assert count_correct(short, truth) == (1, 3)
    assert count_correct(long, truth) == (3, 3)


# ------------------------------------------------------------------------------- console


def test_a_meter_prints_the_median_of_its_window_and_the_mean_of_everything():
    meter = SmoothedValue(window_size=3)
    for value in (100.0, 1.0, 2.0, 6.0):
        meter.update(value)
    assert str(meter) == "2.0000 (27.2500)"
    meter.update(3.0)
    meter.update(4.0)
    assert meter.median == 4.0
    even = SmoothedValue()
    even.update(1.0)
    even.update(5.0)
    assert even.median == 1.0  # of two, the lower, as torch has it


def test_a_mean_is_weighted_by_what_it_is_a_mean_of():
    meter = SmoothedValue()
    meter.update(1.0, n=3)
    meter.update(0.0, n=1)
    assert meter.global_avg == 0.75


@pytest.mark.parametrize("cuda", [True, False])
def test_the_progress_line_has_detrs_exact_format(monkeypatch, cuda):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3887.4 * 2**20)
    logger = MetricLogger(CPU)
    logger.add_meter("lr", SmoothedValue(window_size=1, fmt="{value:.6f}"))
    logger.add_meter("grad_norm", SmoothedValue(window_size=1, fmt="{value:.2f}"))
    rows = [(10.0258, 0.6020, 1.0595), (10.0258, 0.6020, 1.0595), (14.2927, 1.2008, 1.1696)]
    for loss, loss_ce, loss_coords in rows:
        logger.update({"loss": loss, "loss_ce": loss_ce, "loss_coords": torch.tensor(loss_coords)})
        logger.update({"lr": 1e-4, "grad_norm": 13.634})
    iter_time, data_time = SmoothedValue(fmt="{avg:.4f}"), SmoothedValue(fmt="{avg:.4f}")
    iter_time.update(0.3410)
    data_time.update(0.0766)
    assert logger.line("Epoch: [0]", 10, 1458, iter_time, data_time) == (
        "Epoch: [0]  [  10/1458]  eta: 0:08:13  lr: 0.000100  grad_norm: 13.63  "
        "loss: 10.0258 (11.4481)  loss_ce: 0.6020 (0.8016)  loss_coords: 1.0595 (1.0962)  "
        "time: 0.3410  data: 0.0766" + "  max mem: 3887" * cuda
    )


def test_lines_come_every_print_freq_and_at_the_end(capsys):
    logger = MetricLogger(CPU)
    assert list(logger.log_every(list("abcdefgh"), 3, "Test:")) == list("abcdefgh")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("]")[0] for line in lines[:-1]] == [f"Test:  [{i}/8" for i in (0, 3, 6, 7)]
    assert lines[-1].startswith("Test: Total time: 0:00:00 (0.00")
    assert lines[-1].endswith(" s / it)")


# ------------------------------------------------------------------------------- trainings


@pytest.fixture
def train(monkeypatch, tmp_path, capsys):
    """Train a tiny model in this process: (folder, console)."""
    monkeypatch.delenv("RANK", raising=False)

    def run(name: str, *said: str) -> tuple[Path, str]:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        tiny = ["--hidden_dim", "16", "--dec_layers", "2", "--train_images", "16", "--val_images", "6"]
        small = ["--batch_size", "4", "--dropout", "0.2", "--lr_drop", "1", "--output_dir", str(folder)]
        script.main(make_args(*tiny, *small, *said))
        return folder, capsys.readouterr().out

    return run


def test_a_resumed_training_equals_an_uninterrupted_one_bit_for_bit(train):
    whole, _ = train("whole", "--epochs", "3")
    parts, _ = train("parts", "--epochs", "1")
    _, console = train("parts", "--epochs", "3", "--resume", str(parts / "checkpoint.pth"))
    assert "Epoch: [1]  [0/4]" in console
    assert "Epoch: [0]" not in console
    assert (whole / "log.txt").read_text() == (parts / "log.txt").read_text()
    for name in ("checkpoint.pth", "checkpoint0001.pth", "checkpoint0002.pth"):
        a, b = (checkpoint.load(str(folder / name)) for folder in (whole, parts))
        assert a["epoch"] == b["epoch"]
        assert a["lr_scheduler"] == b["lr_scheduler"]
        assert all(torch.equal(a["model"][key], b["model"][key]) for key in a["model"])
        for key, state in a["optimizer"]["state"].items():
            for part, value in state.items():
                assert torch.equal(value, b["optimizer"]["state"][key][part])


def test_every_epoch_sees_all_images_in_an_order_of_its_own(train, monkeypatch):
    seen, real = [], script.train_one_epoch

    def spy(model, criterion, loader, *rest):
        seen.append([image.sum().item() for batch in loader for image in batch["image"]])
        return real(model, criterion, loader, *rest)

    monkeypatch.setattr(script, "train_one_epoch", spy)
    train("run", "--epochs", "3")
    assert seen[0] != seen[1] != seen[2] != seen[0]
    assert sorted(seen[0]) == sorted(seen[1]) == sorted(seen[2])
    assert len(set(seen[0])) == 16


def test_an_epoch_prints_detrs_lines_and_leaves_its_files(train):
    folder, console = train("run", "--epochs", "2", "--print_freq", "2")
    lines = console.splitlines()
    assert lines[0] == "Not using distributed mode"
    assert lines[1].startswith("Namespace(lr=0.002, ")
    rows = [json.loads(line) for line in (folder / "log.txt").read_text().splitlines()]
    assert lines[2:4] == [f"number of params: {rows[0]['n_parameters']}", "Start training"]
    assert [line.split("  eta")[0] for line in lines[4:7]] == [f"Epoch: [0]  [{i}/4]" for i in (0, 2, 3)]
    assert lines[7].startswith("Epoch: [0] Total time: ")
    assert lines[8].startswith("Averaged stats: lr: 0.002000  grad_norm: ")
    assert [line.split("  eta")[0] for line in lines[9:11]] == ["Test:  [0/2]", "Test:  [1/2]"]
    assert lines[12].startswith("Averaged stats: class_error: ")
    assert "pck@0.1: " in lines[12]
    assert lines[13:17] == [
        "Epoch 1 Summary:",
        f"  Train Loss: {rows[0]['train_loss']:.4f}",
        f"  Val Loss: {rows[0]['test_loss']:.4f}",
        f"  Val PCK@0.1: {rows[0]['test_pck@0.1']:.4f}",
    ]
    assert lines[-1].startswith("Training time 0:0")
    assert [row["epoch"] for row in rows] == [0, 1]
    assert [row["train_lr"] for row in rows] == pytest.approx([0.002, 0.0002])
    assert {path.name for path in folder.iterdir()} == {
        "log.txt",
        "checkpoint.pth",
        "checkpoint0000.pth",
        "checkpoint0001.pth",
    }
    saved = checkpoint.load(str(folder / "checkpoint0000.pth"))
    assert saved.keys() == {"model", "optimizer", "lr_scheduler", "epoch", "args"}
    assert saved["epoch"] == 0
    assert saved["args"].output_dir == str(folder)


def test_the_checkpoint_of_an_epoch_is_written_before_its_validation(train, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(script, "evaluate", killed)
    with pytest.raises(KeyboardInterrupt):
        train("run", "--epochs", "1")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"checkpoint.pth", "checkpoint0000.pth"}


def test_a_write_that_breaks_off_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pth"
    checkpoint.save({"epoch": 0}, path)

    def full(_, file):
        file.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save({"epoch": 1}, path)
    assert checkpoint.load(str(path)) == {"epoch": 0}


def test_finetuning_takes_the_weights_alone_and_all_of_them(train):
    first, _ = train("first", "--epochs", "1")
    start = str(first / "checkpoint.pth")
    second, console = train(
        "second", "--epochs", "1", "--finetune", start, "--lr", "0", "--weight_decay", "0"
    )
    assert "Epoch: [0]" in console
    a, b = (checkpoint.load(str(folder / "checkpoint.pth"))["model"] for folder in (first, second))
    assert all(torch.equal(a[key], b[key]) for key in a)
    with pytest.raises(RuntimeError, match="Missing key"):
        train("third", "--finetune", start, "--dec_layers", "3")


@pytest.mark.parametrize("option", ["--resume", "--finetune"])
def test_a_checkpoint_that_does_not_exist_is_refused(option, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["main.py", option, "no/such.pth"])
    with pytest.raises(SystemExit) as end:
        script.parse_args()
    assert end.value.code == 2
    assert f"{option}: there is no file no/such.pth" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_stops_the_training_with_1(train, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        train("run", "--coords_loss_coef", "nan")
    assert end.value.code == 1
    assert "Loss is nan, stopping training\n" in capsys.readouterr().out
    assert list((tmp_path / "run").iterdir()) == []


def test_too_few_images_for_a_batch_are_refused(train):
    with pytest.raises(
        SystemExit, match="--train_images 2: too few for a batch on each of 1 ranks; give more"
    ):
        train("run", "--train_images", "2")
