"""Ladders in config.yaml: rungs of one's own, and what is wrong with one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from trainrelay.config import Config, parse
from trainrelay.errors import ConfigError
from trainrelay.trainers import TRAINERS, TrainerConfig
from trainrelay.training.context import StageContext
from trainrelay.training.request import ladder, launch_request

OWN: Mapping[str, Any] = {"one-network": {"backend": "nccl", "env": {"NCCL_SOCKET_IFNAME": "eth0"}}}


def data(rungs: Mapping[str, Any] = OWN, **stage: Any) -> dict[str, Any]:
    trainer = {"kind": "mmcv", "nproc_per_node": 2, "device": "cpu", "env": {"NCCL_SOCKET_IFNAME": "lo"}}
    stages = {"a": {"config": "a.py", "epochs": 2, **stage}}
    return {"rungs": rungs, "runs": {"r": {"trainer": trainer, "stages": stages}}}


def problems(data: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(data)
    return caught.value.problems


def first_launch(config: Config) -> tuple[list[str], dict[str, str]]:
    request = replace(launch_request(StageContext(config, "r", "a")), trainer_config=TrainerConfig())
    launch = TRAINERS["mmcv"].launch(request, {})
    return list(launch.argv), dict(launch.env)


def test_a_rung_of_ones_own_is_a_name_for_backends() -> None:
    config = parse(data(backends=["one-network", "gloo"]))
    assert [(rung.name, rung.backend) for rung in ladder(StageContext(config, "r", "a"))] == [
        ("one-network", "nccl"),
        ("gloo", "gloo"),
    ]


def test_a_rungs_environment_wins_over_the_trainers() -> None:
    argv, env = first_launch(parse(data(backends=["one-network", "gloo"])))
    assert "dist_params.backend=nccl" in argv
    assert env["NCCL_SOCKET_IFNAME"] == "eth0"


def test_another_rung_leaves_the_trainers_environment_as_it_is() -> None:
    argv, env = first_launch(parse(data(backends=["gloo", "one-network"])))
    assert "dist_params.backend=gloo" in argv
    assert env["NCCL_SOCKET_IFNAME"] == "lo"


@pytest.mark.parametrize(
    ("wrong", "wanted"),
    [
        (
            data(backends=["nccl", "nccl-no-p2"]),
            "runs.r.stages.a.backends.1: unknown backend 'nccl-no-p2'; allowed: nccl, nccl-no-p2p, "
            "nccl-no-ib, nccl-no-shm, gloo, one-network, or one that you define under `rungs`; "
            "did you mean nccl-no-p2p?",
        ),
        (
            data(backends=["gloo", "gloo"]),
            "runs.r.stages.a.backends.1: 'gloo' is listed twice; remove one",
        ),
        (
            data({"gloo": {"backend": "gloo"}}),
            "rungs.gloo: is built in; give your rung another name",
        ),
        (
            data({"x": {"backend": "ncl"}}),
            "rungs.x.backend: got 'ncl'; allowed: 'nccl' or 'gloo'; did you mean nccl?",
        ),
        (
            data({"../x": {"backend": "gloo"}}),
            "rungs.../x: not allowed as a name; expected a rung's name: lower-case letters, digits and '-', "
            "starting with a letter",
        ),
        (
            data({"x": {"backend": "gloo", "env": {"A": 1}}}),
            "rungs.x.env.A: got 1; expected text (in quotes)",
        ),
        (
            data({"x": {"backend": "gloo", "environment": {}}}),
            "rungs.x.environment: unknown key; allowed: backend, env",
        ),
        (
            data(probe_timeout_s=0),
            "runs.r.stages.a.probe_timeout_s: got 0; expected greater than 0",
        ),
        (
            data(probe=60),
            "runs.r.stages.a.probe: got 60; expected true or false",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_is_wrong_with_a_ladder_names_its_place_and_what_is_allowed(
    wrong: dict[str, Any], wanted: str
) -> None:
    assert problems(wrong) == [wanted]
