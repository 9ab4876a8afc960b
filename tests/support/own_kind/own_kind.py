"""A trainer kind in a package of its own, with nothing of trainrelay but what is public."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from trainrelay.records import EpochBases
from trainrelay.trainers import (
    Launch,
    LaunchRequest,
    Option,
    PatternReader,
    Trainer,
    TrainerConfig,
    environment,
    launcher,
    option_text,
)

_LINES = (r"^epoch (?P<epoch>\d+) step (?P<iter>\d+)/(?P<iters>\d+) loss (?P<loss>\S+)",)


class OwnKind(Trainer):
    """The script of docs/my_own_script.md, which counts epochs from 0."""

    kind = "own-kind"
    looked_for = "epoch_N.pt"
    epoch_bases = EpochBases(printed=0, saved=1)
    lacks = frozenset({"deterministic", "validate"})
    described = staticmethod(lambda: PatternReader(_LINES))

    def read_config(self, root: Path, config: str) -> TrainerConfig:
        """Its text counts, whatever it says."""
        try:
            return TrainerConfig({"config": (root / config).read_text(encoding="utf-8")})
        except (OSError, ValueError) as error:
            return TrainerConfig(problem=f"{config}: {error}")

    def changes_weights(self, setting: str) -> bool:
        return True

    def effective_settings(self, config: TrainerConfig, options: Mapping[str, Option], /) -> dict[str, str]:
        return {**config.settings, **{f"option {key}": option_text(value) for key, value in options.items()}}

    def schedule_over_all_epochs(self, config: TrainerConfig) -> str | None:
        return None

    def launch(self, request: LaunchRequest, inherited: Mapping[str, str]) -> Launch:
        argv = [*launcher(request), request.entry, "--epochs", str(request.epochs), "--out", request.work_dir]
        argv += ["--dist-backend", request.rung.backend]
        argv += ["--resume", request.resume_from] if request.resume_from else []
        for key, value in request.options.items():
            argv += [f"--{key}", option_text(value)]
        return Launch(tuple(argv), environment(request, inherited), request.root)

    def unsupported(self, request: LaunchRequest) -> Iterable[str]:
        if request.load_from:
            yield "own-kind starts from no other stage"

    def checkpoint_path(self, work_dir: Path, epoch: int) -> Path:
        return work_dir / f"epoch_{epoch - 1}.pt"
