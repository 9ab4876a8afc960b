"""What no trainer prints: nothing may crash, hang or fill the memory."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.metriclogger_logs import in_chunks, interleaved, metriclogger_text
from trainrelay.analysis.readers.assemble import assemble
from trainrelay.analysis.readers.metriclogger_json import MetricLoggerJson
from trainrelay.analysis.readers.metriclogger_text import MetricLoggerText

HEAD = "Epoch: [1]  [ 0/9]  eta: 0:00:01  "
PIECES = [
    "Epoch: [0]  [ 0/9]  eta: ",
    "Epoch: [1]  [ 8/9]  eta: 0:00:01  loss: 1.0000 (1.0000)\n",
    "Epoch: [999999999]  [0/999999999]  eta: 1  loss: nan (inf)\n",
    "Epoch: [3]  [ 9/9]  eta: 0:01  loss: 1.0\n",
    "Epoch: [0]  [ 0/0]  eta: 0:01  loss: 1.0\n",
    "Test:  [ 0/1]  eta: 0:00:01  loss: 1.0000 (2.0000)\n",
    "Averaged stats: ",
    "Averaged stats: loss: 1.0000 (1.0000)\n",
    "Epoch 0 Summary:\n",
    "Epoch 5 Summary:\n",
    "  Train Loss: 2.0\n",
    "Epoch 3:  Train Loss: 1.0  Val Loss: 2.0\n",
    "Namespace(",
    "Namespace(epochs=3, resume='', world_size=True, dist_backend=3)\n",
    "epochs=99999999999999999999)\n",
    "| distributed init (rank 7): env://\n",
    "Start training\n",
    "Traceback (most recent call last):\n",
    "ValueError: x\n",
    "Loss is nan, stopping training\n",
    "load checkpoint from: x\n",
    "\x1b[31m",
    "\r",
    "\ufffd\x00",
    "\n",
]
TEXTS = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=30)), max_size=40).map("".join)


def read_text(*texts):
    form = MetricLoggerText()
    files = [text.splitlines(keepends=True) for text in texts]
    for line in (line for lines in files for line in lines):
        form.claims(line)
    return assemble(form.name, ["x"] * len(texts), [form.events(iter(lines)) for lines in files])


def assert_sound(log):
    assert all(row.epoch >= 1 and row.step >= 1 and row.iteration >= 0 for row in log.rows)
    assert all(isinstance(value, float) for row in log.rows for value in row.values.values())
    assert all(0 <= row.segment < log.segments for row in log.rows)
    steps = [row.step for row in log.rows if row.phase == "train"]
    assert log.redone_iterations >= 0
    assert len(set(steps)) == len(steps) or log.iters_per_epoch is not None


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS)
def test_any_mixture_of_lines_is_read(first, second):
    assert_sound(read_text(first, second))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.integers(0, 100_000), st.sampled_from([",", "\x00", "\n", "x"]))
def test_a_log_of_ranks_is_one_start_wherever_it_ends_and_whatever_is_written_into_it(ranks, cut, dirt):
    texts = [metriclogger_text(epochs=2, rank=rank) for rank in range(ranks)]
    text = interleaved(texts)
    at = cut % len(text)
    whole = read_text(texts[0])
    log = read_text(text[:at] + dirt)
    assert log.segments == 1
    places = {(row.phase, row.epoch, row.iteration) for row in whole.rows}
    assert {(row.phase, row.epoch, row.iteration) for row in log.rows} <= places


@settings(max_examples=40, deadline=None)
@given(st.integers(4096, 40_000))  # the smallest buffer of stdio
def test_ranks_are_one_start_however_their_buffers_are_cut(size):
    texts = [metriclogger_text(epochs=2, rank=rank) for rank in range(2)]
    log = read_text(in_chunks(texts, size))
    assert log.segments == 1
    assert {row.epoch for row in log.rows} == {1, 2}


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=40),
            st.fixed_dictionaries(
                {"epoch": st.one_of(st.integers(), st.floats(), st.none())},
                optional={
                    "train_loss": st.one_of(
                        st.floats(), st.integers(), st.text(max_size=3), st.lists(st.floats())
                    ),
                    "test_x": st.recursive(st.floats(), st.lists),
                    "n_parameters": st.one_of(st.floats(), st.integers(), st.none()),
                },
            ).map(lambda found: __import__("json").dumps(found)),
        ),
        max_size=20,
    )
)
def test_any_json_is_read(lines):
    form = MetricLoggerJson()
    for line in lines:
        form.claims(line)
    log = assemble(form.name, ["x"], [form.events(iter(lines))])
    assert all(row.epoch >= 1 and row.step == row.epoch for row in log.rows)


@pytest.mark.parametrize(
    "line",
    [
        "x" * (1 << 20),
        ": " * (1 << 19),
        HEAD + ": " * (1 << 19),
        HEAD + "a" * (1 << 20),
        HEAD + "a: 1 ((" * (1 << 17),
        "eta: " + "[ " * (1 << 19),
        "eta: [" + " " * (1 << 20),
        HEAD * (1 << 14),
        "Test:  [ 0/9]  eta: " * (1 << 15),
        "Epoch 1: Train " + "a " * (1 << 19),
        "Namespace(a=" + "[" * (1 << 20),
        "Namespace(" + "a=1," * (1 << 16),
        "Traceback (most recent call last):\n" + "A." * (1 << 19) + "!",
        "\x1b[" + "0;" * (1 << 19),
        HEAD + "  ".join(f"k{index}: 1.0000 (1.0000)" for index in range(100_000)),
    ],
    ids=lambda line: line[:24],
)
def test_a_line_of_a_megabyte_is_survived(line):
    log = read_text(metriclogger_text(epochs=1) + line + "\n")
    assert [row.iteration for row in log.rows if row.phase == "train"][:4] == [0, 10, 20, 24]


def test_endless_restarts_are_survived():
    last = HEAD.replace("0/9", "8/9")
    log = read_text((HEAD + "loss: 1.0000 (1.0000)\n" + last + "loss: 1.0000 (1.0000)\n") * 3_000)
    assert log.segments == 3_000
