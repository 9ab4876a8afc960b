"""Names of DETR's family: layers, and twins before the coefficient."""

from __future__ import annotations

import pytest

from trainrelay.diagnose.layers import family, is_twin, layered, split


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("loss_ce", ("loss_ce", None, False)),
        ("loss_ce_3", ("loss_ce", 3, False)),
        ("loss_ce_3_unscaled", ("loss_ce", 3, True)),
        ("loss_ce_room_unscaled", ("loss_ce_room", None, True)),
        ("pck@0.1", ("pck@0.1", None, False)),
        ("_unscaled", ("_unscaled", None, False)),
    ],
)
def test_a_name_is_taken_apart(name, parts):
    assert split(name) == parts


def test_layers_are_numbers_of_a_loss_that_is_there_without_one():
    names = ["loss_ce", "loss_ce_1", "loss_ce_0", "loss_ce_0_unscaled", "loss_lonely_0", "error", "error_0"]
    assert layered(names) == {"loss_ce": ("loss_ce_0", "loss_ce_1", "loss_ce")}


def test_a_twin_has_its_scaled_one_beside_it():
    assert is_twin("loss_ce_unscaled", {"loss_ce"})
    assert not is_twin("cardinality_error_unscaled", {"loss_ce"})


def test_earlier_layers_are_one_family():
    names = {"loss_giou", "error_unscaled"}
    assert family("loss_giou_2", names) == "loss_giou_*"
    assert family("error_2_unscaled", names) == "error_*_unscaled"
    assert family("loss_giou", names) is None
    assert family("loss_other_2", names) is None
