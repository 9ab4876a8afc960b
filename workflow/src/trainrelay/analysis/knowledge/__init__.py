"""What is normal: packaged files, one per model family and per family of log formats, and your own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources

import yaml

from trainrelay.analysis.knowledge.model import Knowledge, slow
from trainrelay.analysis.naming import split


@cache
def packaged() -> tuple[Knowledge, ...]:
    """All knowledge files of the package, validated."""
    folder = resources.files(__package__)
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda f: f.name)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    texts = (file.read_text("utf-8") for file in files)
    return tuple(Knowledge.model_validate(yaml.load(text, loader)) for text in texts)  # noqa: S506 - a safe one


_own: list[Knowledge] = []


def learn(files: Iterable[Knowledge]) -> None:
    """Has your own files laid over those of the package, in all that follows."""
    _own[:] = files
    slow.clear()
    _titles.cache_clear()


def every() -> tuple[Knowledge, ...]:
    """Your own files, then those of the package."""
    return (*_own, *packaged())


def best_for(names: Sequence[str]) -> Knowledge:
    """The file that recognises most of the metrics, an empty one if none recognises any; over it those of
    your own that recognise any."""
    best = max(packaged(), key=lambda knowledge: knowledge.recognises(names))
    found = best if best.recognises(names) else Knowledge()
    for own in (own for own in reversed(_own) if own.recognises(names)):
        found = own.over(found)
    return found


@cache
def _titles() -> Mapping[str, str]:
    """The titles of the groups that a file knows, in the files' order."""
    return {key: group.title for knowledge in every() for key, group in knowledge.groups.items()}


def group_title(group: str) -> str:
    """The title of a group of metrics, as in "Tracking losses"; of an unknown one by its name."""
    return _titles().get(group) or f"{group if group not in ('', 'other') else 'Component'} losses"


def grouped(metrics: Iterable[str]) -> dict[str, dict[str, list[str]]]:
    """Metrics by group and family: known groups in their order, then others as they appear."""
    found: dict[str, dict[str, list[str]]] = {group: {} for group in _titles()}
    for metric in metrics:
        parts = split(metric)
        found.setdefault(parts.group, {}).setdefault(parts.family, []).append(metric)
    return {group: families for group, families in found.items() if families}


def of_format(form: str) -> Knowledge:
    """What is known of a log format: the fields of its lines, and what holds of every training."""
    found = Knowledge()
    for knowledge in (one for one in reversed(every()) if form in one.formats):
        found = knowledge.over(found)
    return found
