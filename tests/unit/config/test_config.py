"""config.yaml: typed, frozen, unknown keys refused, all problems at once with path, value and remedy."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from trainrelay.config import Config, load_config, load_plain, parse, save_snapshot, schema
from trainrelay.errors import ConfigError
from trainrelay.trainers import ScriptSettings

ROOT = Path(__file__).parents[3]


def minimal(**stage: Any) -> dict[str, Any]:
    return {
        "runs": {
            "r": {
                "trainer": {"kind": "mmcv", "nproc_per_node": 2, "device": "cpu"},
                "stages": {"a": {"config": "a.py", "epochs": 2, "backends": ["gloo"], **stage}},
            }
        }
    }


def problems(data: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(data)
    return caught.value.problems


def test_the_root_config_is_the_uniad_job_of_the_reference_user() -> None:
    config = load_config(ROOT / "config.yaml")
    stage1, stage2 = config.stage("uniad", "stage1"), config.stage("uniad", "stage2")
    assert (stage1.epochs, stage2.epochs, stage2.init_from) == (6, 20, "stage1")
    assert (stage1.resources.gpu, stage1.resources.gpu_model) == (8, "a40")
    assert stage1.promotion is not None
    assert stage1.promotion.target == "ckpts/full_track_map.pth"
    assert (stage1.log, stage2.log) == ("train_stage1.log", "train_stage2.log")
    assert stage2.options == {"data.workers_per_gpu": 4, "log_config.interval": 10}
    assert (stage2.backends, stage2.master_port) == (("gloo",), 28599)


def all_keys(model: type[BaseModel]) -> set[str]:
    keys = {field.alias or name for name, field in model.model_fields.items()}
    return keys.union(*(all_keys(inner) for inner in nested(model)), set())


def nested(model: type[BaseModel]) -> set[type[BaseModel]]:
    found: set[type[BaseModel]] = set()
    pending: list[Any] = [field.annotation for field in model.model_fields.values()]
    while pending:
        annotation = pending.pop()
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found.add(annotation)
        pending += getattr(annotation, "__args__", ())
    return found


IN_BRACES = {"epoch", "iteration", "best", "mode", "last", "every"}  # beside `checkpoint` and `keep`


# The keys of `script` are on their own page, which a test holds.
@pytest.mark.parametrize("key", sorted(all_keys(Config) - IN_BRACES - ScriptSettings.model_fields.keys()))
def test_every_key_stands_commented_in_the_root_config(key: str) -> None:
    lines = (ROOT / "config.yaml").read_text().splitlines()
    at = next((n for n, line in enumerate(lines) if re.match(rf"\s*{key}:", line)), None)
    assert at is not None, f"{key} is not in config.yaml"
    assert "#" in lines[at] or "#" in lines[at - 1] or key in ("runs", "stages", "trainer"), key


def test_every_field_of_the_config_says_what_it_means() -> None:
    for model in [Config, *nested(Config)]:
        for name, field in model.model_fields.items():
            assert field.description or name in ("runs", "trainer", "stages", "resources"), (model, name)


def test_the_schema_on_disk_is_the_one_of_the_code() -> None:
    on_disk = json.loads((ROOT / "workflow/schemas/config.schema.json").read_text())
    assert on_disk == schema(), "type: trainrelay schema > workflow/schemas/config.schema.json"


def test_a_config_cannot_be_changed() -> None:
    config = parse(minimal())
    with pytest.raises(ValidationError):
        config.out = "elsewhere"  # type: ignore[misc]


def test_all_problems_come_at_once() -> None:
    data = minimal(epochs=0, gate="yes", resources={"gpus": 8})
    data["outt"] = "x"
    assert len(problems(data)) == 4


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"epoch": 3}, "runs.r.stages.a.epoch: unknown key; did you mean epochs?"),
        ({"resources": {"gpus": 8}}, "runs.r.stages.a.resources.gpus: unknown key; did you mean gpu?"),
        ({"epochs": "six"}, "runs.r.stages.a.epochs: got 'six'; expected a whole number"),
        ({"epochs": True}, "runs.r.stages.a.epochs: got True; expected a whole number"),
        ({"epochs": 2.0}, "runs.r.stages.a.epochs: got 2.0; expected a whole number"),
        (
            {"checkpoint": "best"},
            "runs.r.stages.a.checkpoint: got 'best'; allowed: latest, {epoch: N}, {iteration: N}, or {best",
        ),
        ({"log": "../x.log"}, "runs.r.stages.a.log: got '../x.log'; expected a file name ending in .log"),
        ({"options": {"x": {}}}, "runs.r.stages.a.options.x: got {}; allowed: true, false"),
        ({"master_port": 0}, "runs.r.stages.a.master_port: got 0; expected greater than or equal to 1"),
        ({"backends": []}, "runs.r.stages.a.backends: got []; expected at least 1 entry"),
        (
            {"init_from": "b"},
            "init_from: got 'b', no stage of this run; allowed: none, there is no other",
        ),
        ({"init_from": "a"}, "runs.r.stages.a.init_from: a cycle: a -> a"),
        (
            {"checkpoint": {"epoch": 3}},
            "runs.r.stages.a.checkpoint.epoch: got 3; it trains 2 epochs",
        ),
        (
            {"checkpoint": {}},
            "runs.r.stages.a.checkpoint: set one of epoch, iteration and best, or write: checkpoint: latest",
        ),
        ({"checkpoint": {"epoch": 1, "best": "NDS"}}, "a.checkpoint: set one of epoch, iteration and best"),
        ({"checkpoint": {"epoch": 1, "mode": "max"}}, "a.checkpoint.mode: goes with best; leave it out"),
        ({"checkpoint": {"best": "NDS", "mod": "max"}}, "a.checkpoint.mod: unknown key; did you mean mode?"),
        (
            {"checkpoint": {"best": "NDS", "mode": "up"}},
            "checkpoint: got {'best': 'NDS', 'mode': 'up'}; allowed",
        ),
        (
            {"checkpoint": {"best": "quality"}},
            "a.checkpoint.mode: missing; is more of quality better (max), or less (min)? Set it",
        ),
        (
            {"checkpoint": {"best": "NDS", "mode": "max"}, "validate": False},
            "a.checkpoint.best: needs the validation, and validate is false",
        ),
        ({"work_dir": "a\nb"}, "text without control characters"),
        ({"work_dir": "."}, "is or holds the trainer's checkout"),
        ({"work_dir": ".."}, "is or holds the trainer's checkout"),
        ({"work_dir": "/"}, "is or holds the trainer's checkout"),
        ({"work_dir": "/proc"}, "is or holds a whole file system"),
        (
            {"options": {"load_from": "x.pth"}},
            "load_from: not as an option; set the stage's init_from",
        ),
        ({"init_match_min": 1.1}, "init_match_min: got 1.1; expected less than or equal to 1"),
        ({"init_match_min": 0.5, "hook": False}, "runs.r.stages.a.init_match_min: needs hook: on"),
        ({"options": {"runner.max_epochs": 3}}, "not as an option; set the stage's epochs"),
        ({"options": {"model.name": "a b"}}, "mmcv deletes the spaces of an option"),
    ],
)
def test_a_problem_names_place_value_and_remedy(change: dict[str, Any], wanted: str) -> None:
    found = problems(minimal(**change))
    assert any(wanted in problem for problem in found), found


def test_a_work_dir_that_would_take_others_files_along_is_refused_also_through_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "home")
    (tmp_path / "outer/runs").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for work_dir, held in {
        "home": "your home",
        "link": "your home",
        "outer": "out",
        "outer/runs": "out",
        "outer/runs/r": "its run's folder",
    }.items():
        data = minimal(work_dir=str(tmp_path / work_dir)) | {"out": str(tmp_path / "outer/runs")}
        assert any(f"is or holds {held}," in problem for problem in problems(data)), work_dir
    parse(minimal(work_dir=str(tmp_path / "home/mine")) | {"out": str(tmp_path / "outer/runs")})


def test_a_missing_key_is_named_with_its_meaning() -> None:
    data = minimal()
    del data["runs"]["r"]["trainer"]["kind"]
    assert problems(data) == [
        "runs.r.trainer.kind: missing; add it (Which command line and log format: "
        "mmcv (1.x, `tools/train.py` as in UniAD), mmengine (`tools/train.py` as in mmdet 3, mmpretrain, "
        "mmseg 1), metriclogger (scripts with argparse, as DETR's, whose lines read "
        "`Epoch: [0] [ 10/1458] eta: ..`), script (any other), or the kind of an installed package)"
    ]


@pytest.mark.parametrize("name", ["a/b", "a;b", "..", "", "a b", "ü", "a" * 65, "a.b"])
def test_a_run_is_not_called(name: str) -> None:
    data = minimal()
    data["runs"][name] = data["runs"].pop("r")
    assert any("not allowed as a name" in problem for problem in problems(data))


@pytest.mark.parametrize("name", ["a-b", "1a", "a/b", "a;b", "a.old"])
def test_a_stage_is_not_called(name: str) -> None:
    data = minimal()
    data["runs"]["r"]["stages"][name] = data["runs"]["r"]["stages"]["a"]
    assert any("not allowed as a name" in problem for problem in problems(data))


def test_a_cycle_of_three_is_named_along_its_way() -> None:
    data = minimal(init_from="c")
    stages = data["runs"]["r"]["stages"]
    stages["b"] = {"config": "b.py", "epochs": 1, "backends": ["gloo"], "init_from": "a"}
    stages["c"] = {"config": "c.py", "epochs": 1, "init_from": "b"}
    assert "runs.r.stages.a.init_from: a cycle: a -> c -> b -> a" in problems(data)


@pytest.mark.parametrize(
    ("first", "second"), [("w", "./w/"), ("w", "x/../w"), ("w", "w/inside"), ("w/inside", "w")]
)
def test_two_stages_never_share_a_work_dir(first: str, second: str) -> None:
    data = minimal(work_dir=first)
    data["runs"]["r"]["stages"]["b"] = {
        "config": "b.py",
        "epochs": 1,
        "backends": ["gloo"],
        "work_dir": second,
    }
    assert any("is also runs.r.stages.a.work_dir's" in problem for problem in problems(data))


def test_two_runs_never_share_a_promotion_target_even_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    data = minimal(promotion={"target": f"{tmp_path}/real/x.pth"})
    other = minimal(promotion={"target": f"{tmp_path}/link/x.pth"})
    data["runs"]["s"] = other["runs"]["r"]
    assert any("is also runs.r.stages.a.promotion.target's" in problem for problem in problems(data))


@pytest.mark.parametrize("outer_first", [True, False])
def test_a_place_inside_of_another_stages_is_refused_whichever_comes_first(outer_first: bool) -> None:
    places = {"outer": {"work_dir": "w"}, "inner": {"promotion": {"target": "w/deep/x.pth"}}}
    order = ["outer", "inner"] if outer_first else ["inner", "outer"]
    data = {"runs": {name: minimal(**places[name])["runs"]["r"] for name in order}}
    (problem,) = problems(data)
    assert all(f"runs.{name}.stages.a." in problem for name in order)
    data["runs"]["beside"] = minimal(work_dir="w2")["runs"]["r"]
    assert problems(data) == [problem]


def test_ranks_and_gpus_agree_on_cuda() -> None:
    data = minimal(resources={"gpu": 4})
    data["runs"]["r"]["trainer"] = {"kind": "mmcv", "nproc_per_node": 8}
    assert problems(data) == [
        "runs.r.stages.a.resources.gpu: got 4; device cuda with nproc_per_node 8 needs 8"
    ]


def test_memory_is_asked_for_by_all_runs_of_a_stage_name_or_by_none() -> None:
    data = minimal(resources={"mem_gb": 4})
    data["runs"]["s"] = minimal()["runs"]["r"]
    assert problems(data) == [
        "runs.s.stages.a.resources.mem_gb: missing, but another run's a has it; set it in both or in neither"
    ]


def test_stages_come_after_the_one_they_start_from() -> None:
    data = minimal(init_from="c")
    data["runs"]["r"]["stages"]["b"] = {"config": "b.py", "epochs": 1, "backends": ["gloo"], "init_from": "a"}
    data["runs"]["r"]["stages"]["c"] = {"config": "c.py", "epochs": 1, "backends": ["gloo"]}
    assert parse(data).in_order("r") == ["c", "a", "b"]


@pytest.mark.parametrize("data", [None, [], "text", 3])
def test_anything_but_a_mapping_is_refused(data: Any) -> None:
    assert f"is {'empty' if data is None else 'not a mapping'}" in problems(data)[0]
    assert problems(data)[0].endswith("; begin with `runs:`")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("runs: {\n", "line 2"),
        ("runs:\n  r: 1\nout: a\n\nout: b\n", "line 5, column 1: duplicate key 'out' (lines 3 and 5)"),
        ("a: !!python/object/apply:os.system [touch /tmp/x]\n", "could not determine a constructor"),
        ("\x00", "not YAML"),
        ("a: 1\n\tb: 2\n", "line 2, column 1: a tab; YAML indents with spaces"),
        ("a: 1\nb: *c\n", "line 2, column 4: found undefined alias 'c'"),
        ("a: {b: c\nd: e\n", "line 2, column 2: expected ',' or '}', but got ':'"),
        ('a: "\x01"\n', 'not YAML: unacceptable character #x0001: control characters are not allowed in "'),
        ("a: 1\n---\nb: 1\n", "line 2, column 1: a second document begins here; a config is one"),
        ("a:\n  b: 1:00:00\n", "line 2, column 6: a number with colons counts in base 60"),
        ("a: [2, 1:30.5]\n", "line 1, column 8: a number with colons counts in base 60"),
        (
            "runs:\n  on:\n    a: 1\n",
            "line 2, column 3: the name on is read as a boolean; write it in quotes",
        ),
        ("a:\n  b: 1\n c: 2\n", "line 3, column 2: expected <block end>"),
        ("'a'\nfoo: 1\n", "expected '<document start>', but found '<block mapping start>'"),
        (
            "a: {b} {c} --d\n",
            "line 1, column 8: expected <block end>, but found '{'; put a value that begins",
        ),
        (
            'a: "b" c\n',
            "line 1, column 8: expected <block end>, but found '<scalar>'; put a value that begins",
        ),
    ],
)
def test_a_file_that_is_no_clean_yaml_is_refused_with_its_line(
    tmp_path: Path, text: str, wanted: str
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(wanted)):
        load_config(path)


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML was built without it")
def test_a_clean_file_is_read_by_libyaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own scanner takes longer than all else that is done with a config of 1,000 stages."""
    monkeypatch.delattr(yaml.scanner.Scanner, "fetch_more_tokens")
    path = tmp_path / "config.yaml"
    path.write_text("a: [1, 2]\n")
    assert load_plain(path) == {"a": [1, 2]}


def test_a_merged_yaml_anchor_may_be_overridden(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("base: &b {x: 1}\nother:\n  <<: *b\n  x: 2\n")
    assert load_plain(path)["other"] == {"x": 2}


def test_a_missing_file_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--configfile FILE"):
        load_config(tmp_path / "none.yaml")


def test_a_snapshot_gives_the_same_config_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(ROOT / "config.yaml")
    monkeypatch.chdir(tmp_path)
    path = save_snapshot(config)
    assert load_config(path) == config
    assert save_snapshot(config) == path


def test_only_you_may_read_a_snapshot_and_one_that_others_could_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = save_snapshot(parse(minimal()))
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.stat().st_ino
    assert save_snapshot(parse(minimal())).stat().st_ino == before
    path.chmod(0o644)
    assert save_snapshot(parse(minimal())).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("env", "place"),
    [
        ({"HF_TOKEN": 4711}, "trainer.env.HF_TOKEN"),
        ({"HF_TOKEN": ["a", "4711"]}, "trainer.env.HF_TOKEN"),
        ("HF_TOKEN=4711", "trainer.env"),
        (["HF_TOKEN=4711"], "trainer.env"),
        ({"A": {"HF_TOKEN": "4711"}}, "trainer.env.A"),
    ],
)
def test_a_problem_with_a_secret_does_not_quote_it(env: Any, place: str) -> None:
    data = minimal()
    data["runs"]["r"]["trainer"]["env"] = env
    (problem,) = problems(data)
    assert problem.startswith(f"runs.r.{place}: got ***; expected ")


@pytest.mark.parametrize(
    "value", ["*key-4711", "!key-4711 x", "!a'key-4711 x", "!!int key-4711", "!!timestamp key-4711"]
)
def test_a_yaml_mistake_does_not_quote_what_may_be_a_secret(tmp_path: Path, value: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"runs:\n  r:\n    trainer:\n      env:\n        HF_TOKEN: {value}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert "key-4711" not in str(caught.value)
    assert "config.yaml" in str(caught.value)


TEN_TIMES = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))
TOO_MUCH = {
    "an alias bomb": "a0: &a0 [x]\n" + TEN_TIMES + "runs: *a8\n",
    "a bomb of merged keys": "a0: &a0 {k: 1}\n" + TEN_TIMES.replace("[", "{<<: [").replace("]", "]}"),
    "60,000 keys": "".join(f"key{n}: 1\n" for n in range(60_000)),
    "20,000 levels": "runs: " + "{a: " * 20_000 + "}" * 20_000,
    "levels without an end": "runs: " + "[" * 20_000,
    "a number of thousands of digits": f"retrain_guard_gpu_h: 0x{'f' * 5000}",
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_more_than_a_config_may_hold_is_refused_before_anything_is_built_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr("yaml.load", None)
    path = tmp_path / "config.yaml"
    path.write_text(TOO_MUCH[what])
    with pytest.raises(ConfigError, match=r"line \d+, column \d+: more than a config may hold: 100,000 keys"):
        load_plain(path)


def test_aliases_that_stand_for_little_and_an_alias_of_itself_may_be_there(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("a: &a {k: [1, 2]}\nb: [*a, *a]\nc: &c [*c]\n")
    found = load_plain(path)
    assert found["b"] == [{"k": [1, 2]}] * 2


def test_a_json_file_of_thousands_of_levels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("[" * 20_000)
    with pytest.raises(ConfigError, match="recursion"):
        load_plain(path)


def test_a_large_file_with_a_mistake_is_read_by_libyaml_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's own loader, which explains more, would need seconds."""
    monkeypatch.setattr("trainrelay.config.file.yaml.SafeLoader", None)
    path = tmp_path / "config.yaml"
    path.write_text("a: 1\n" + "#" * 40_000 + "\nb: c: d\n")
    with pytest.raises(ConfigError, match="line 3, column 5: mapping values are not allowed"):
        load_plain(path)


def test_of_hundreds_of_mistakes_the_first_20_are_told_and_the_others_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(
        "trainrelay.config.problems.did_you_mean", lambda got, known: asked.append(got) or "; hint"
    )
    data = minimal()
    data["runs"]["r"]["stages"]["a"].update({f"wrong{n}": 1 for n in range(500)})
    with pytest.raises(ConfigError) as caught:
        parse(data)
    first, *lines = str(caught.value).splitlines()
    assert first == "config.yaml: 500 problems"
    assert lines[0] == "  runs.r.stages.a.wrong0: unknown key; hint"
    assert (len(lines), lines[-1]) == (21, "  and 480 more")
    assert len(asked) == 20


def test_stages_in_each_others_way_are_not_named_pair_by_pair() -> None:
    data = minimal()
    data["out"] = "x"
    stage = data["runs"]["r"]["stages"].pop("a")
    for n in range(100):
        data["runs"]["r"]["stages"][f"in{n}"] = {**stage, "work_dir": f"w/{n}"}
    for n in range(100):
        data["runs"]["r"]["stages"][f"out{n}"] = {**stage, "work_dir": "w"}
    assert len(problems(data)) == 1000


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("epochs", 10**20), ("checkpoint", {"epoch": 10**20}), ("seed", 10**20)),
        *(("probe_timeout_s", 1e300), ("hang_timeout_s", 1e300)),
        *(("resources", {key: 10**20}) for key in ("nodes", "gpu", "cpus_per_gpu", "runtime_min", "mem_gb")),
    ],
)
def test_a_number_that_no_record_and_no_clock_can_hold_is_refused(key: str, value: Any) -> None:
    assert any("expected less than" in problem for problem in problems(minimal(**{key: value})))


@pytest.mark.parametrize("key", ["out", "root"])
@pytest.mark.parametrize("char", ["\x1b", "\x9b", "\u202e", "\u2066", "\u2028", "\x7f"])
def test_a_path_that_would_turn_or_move_what_snakemake_prints_is_refused(key: str, char: str) -> None:
    data = minimal()
    (data if key == "out" else data["runs"]["r"]["trainer"])[key] = f"a{char}b"
    (problem,) = problems(data)
    assert "without control characters" in problem
    assert problem.isprintable()


@pytest.mark.parametrize("value", [1e-06, 1e-8, 3e22, 0.1, True, None, 2**70, "1e-06", ["a", 1e-6]])
def test_an_option_comes_out_of_a_snapshot_as_it_went_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any
) -> None:
    """JSON writes 1e-06 as YAML 1.1 reads text; another value would be another training."""
    monkeypatch.chdir(tmp_path)
    config = parse(minimal(options={"optimizer.lr": value}))
    assert load_config(save_snapshot(config)) == config


@pytest.mark.parametrize("out", ["a{b", "o{ut}"])
def test_braces_in_out_are_refused_because_snakemake_reads_them(out: str) -> None:
    assert any("without control characters and { }" in line for line in problems({**minimal(), "out": out}))


@pytest.mark.parametrize("text", ["x\ud800", "\udcff", "x\x00y"])
def test_text_that_nothing_can_print_is_refused(text: str) -> None:
    """YAML's "\\ud800" is no character; no argument of a process holds NUL."""
    allowed = "true, false, a number, printable text, a list of them"
    assert problems(minimal(options={"a.b": text})) == [
        f"runs.r.stages.a.options.a.b: got {text!r}; allowed: {allowed}"
    ]
    for place in ("r.trainer.env.A", "r.stages.a.config"):
        data = minimal()
        run, part, *rest = place.split(".")
        home = data["runs"][run][part]
        for step in rest[:-1]:
            home = home.setdefault(step, {})
        home[rest[-1]] = text
        (problem,) = problems(data)
        assert problem.startswith(f"runs.{place}: got {text!r}; expected ")
        assert problem.isprintable()
    (problem,) = problems(
        {**minimal(options={"a.b": "\U0001f600\n"}), "rungs": {"u": {"backend": "gloo", "env": {"A": text}}}}
    )
    assert problem.startswith("rungs.u.env.A: got ")


def test_a_number_that_is_none_is_refused() -> None:
    data = {**minimal(), "retrain_guard_gpu_h": float("inf")}
    assert problems(data) == ["retrain_guard_gpu_h: got inf; expected a finite number"]


def test_the_demo_config_is_valid() -> None:
    data = yaml.safe_load((ROOT / "workflow/demo/config.yaml").read_text())
    assert parse(data).in_order("driving") == ["stage1", "stage2"]


def test_nccl_without_gpus_is_refused_with_what_to_write() -> None:
    assert problems(minimal(backends=["nccl", "nccl-no-p2p"])) == [
        "runs.r.stages.a.backends: nccl needs GPUs, and device is cpu; write: backends: [gloo]"
    ]
    assert parse(minimal(backends=["nccl", "gloo"])).stage("r", "a").backends == ("nccl", "gloo")


def test_an_option_may_be_called_as_the_command_line_spells_it() -> None:
    assert parse(minimal(options={"batch-size": 4})).stage("r", "a").options == {"batch-size": 4}
