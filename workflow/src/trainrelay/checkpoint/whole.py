"""Whether a folder is whole, by what its format says: what is saved last, and which files belong to it.

Hugging Face's Trainer resumes from no folder without trainer_state.json, torch.distributed.checkpoint from
none without .metadata, which names all parts; a shard says of how many it is, a file of DeepSpeed's ZeRO of
how many ranks. Of what no format says, the oldest folder of a training shows what the newer ones hold.
"""

from __future__ import annotations

import os
import pickle
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from trainrelay.checkpoint.machine import unpickle
from trainrelay.checkpoint.problems import CUT, BrokenFile, UnsafeFile, shown
from trainrelay.checkpoint.values import Opaque
from trainrelay.system.files import files_below, last_bytes, reading

TORCH = (".pt", ".pth", ".bin", ".ckpt", ".tar", ".pkl")
STATES = (*TORCH, ".safetensors")
SETTINGS = "training_args.bin"  # the Trainer's own: saved, and read by no resume
SHARD = re.compile(r"[-_](\d{1,9})[-_]of[-_](\d{1,9})(?=\.|$)")
_EACH_RANKS = re.compile(r"^shard-\d+-")  # torch's HuggingFaceStorageWriter: a rank has none of some parts
_TRAINERS = "trainer_state.json"
_PART, _NAMES_PARTS = ".distcp", ".metadata"  # of torch.distributed.checkpoint
_DCP = ("torch.distributed.*", "torch.distributed.checkpoint.metadata._MEM_FORMAT_ENCODING")
_SAVED_LAST = ("latest", ".index.json")  # DeepSpeed's tag; of shards, for those who look for it
_OF_A_RANK = re.compile(r"(?:rank|rng_state|random_states)[-_]?(\d{1,9})")
_OF_ZERO = re.compile(r"(?<=zero_pp_rank_)\d+(?=_mp_rank_\d+_optim_states\.pt$)")


def refuse_part(folder: Path, files: Collection[Path]) -> None:
    """BrokenFile for a folder whose save did not end."""
    refuse_lost(folder, files, [folder / _TRAINERS] if folder / SETTINGS in files else [])
    naming = [file for file in files if file.name.endswith(_NAMES_PARTS)]  # one, or one of each rank
    parts = {file.parent for file in files if file.suffix == _PART}
    refuse_lost(folder, files, (one / _NAMES_PARTS for one in sorted(parts - {one.parent for one in naming})))
    for file in naming:
        if file.parent in parts and last_bytes(file, 1) != pickle.STOP:
            raise BrokenFile(f"holds {file.name}, which {CUT}")
    _refuse_lost_shards(files)


def refuse_short_part(folder: Path) -> None:
    """BrokenFile where a part of torch.distributed.checkpoint is not as long as .metadata says, if that is
    not too long itself: reading it takes seconds."""
    files = dict.fromkeys(files_below(folder)) if folder.is_dir() else {}
    for reach in (_reach(file) for file in files if file.name.endswith(_NAMES_PARTS)):
        refuse_lost(folder, files, reach)
        if short := next((one for one, stop in reach.items() if one.stat().st_size < stop), None):
            raise BrokenFile(f"holds {shown(os.path.relpath(short, folder))}, which {CUT}")


def refuse_lost(folder: Path, files: Collection[Path], named: Iterable[Path]) -> None:
    """BrokenFile where one of those that the others name is not there."""
    if lost := next((one for one in named if one not in files), None):
        raise BrokenFile(f"lacks {shown(os.path.relpath(lost, folder))} and {CUT}")


def _refuse_lost_shards(files: Iterable[Path]) -> None:
    shards: dict[tuple[Path, str, int], set[str]] = defaultdict(set)
    for one in files:
        if one.suffix in STATES and (of := SHARD.search(one.name)):
            shards[one.parent, _EACH_RANKS.sub("", SHARD.sub("", one.name)), int(of[2])].add(of[1])
    for (_, name, total), there in shards.items():
        if len(there) < total:
            raise BrokenFile(f"holds {len(there)} of {total} parts of {shown(name)} and {CUT}")


def _reach(metadata: Path) -> dict[Path, int]:
    """How many bytes at least each part has that it names; none where that cannot be read."""
    reach, said = dict[Path, int](), dict[object, object]()
    with reading(metadata) as opened, suppress(BrokenFile, UnsafeFile):
        match unpickle(opened, lambda one: one, _DCP):
            case Opaque(state={"storage_data": dict(said)}):
                pass
    for one in said.values():
        match one:
            case Opaque(state={"relative_path": str(name), "offset": int(at), "length": int(size)}):
                part = metadata.parent / name
                reach[part] = max(reach.get(part, 0), at + size)
    return reach


def next_of_zero(file: Path, said: object) -> Iterator[Path]:
    """The file of the next rank, of the first behind the last: one of DeepSpeed's ZeRO tells how many."""
    match said:
        case {"ds_config": {"checkpoint": {"use_node_local_storage": True}}}:
            return
        case {"optimizer_state_dict": {"partition_count": int() | list() as counts}}:
            each = counts if isinstance(counts, list) else [counts]  # of each group of parameters
            ranks = max((one for one in each if isinstance(one, int)), default=0)
            if ranks > 0 and (rank := _OF_ZERO.search(file.name)):
                yield file.with_name(_OF_ZERO.sub(str((int(rank[0]) + 1) % ranks), file.name))


def is_ended(path: Path) -> bool | None:
    """Whether a folder has what the Trainer or accelerate saves last; None: of others nothing tells."""
    if (path / _TRAINERS).is_file() or (path / "random_states_0.pkl").is_file():
        return True
    accelerates = (path / "optimizer.bin").is_file() and not (path / SETTINGS).exists()
    weights = ("model.safetensors", "pytorch_model.bin")  # as accelerate calls those of the first model
    return False if accelerates and any((path / name).is_file() for name in weights) else None


def lacking(path: Path, first: Path | None, ranks: int | None) -> str | None:
    """The first file with states that the oldest folder of a training has and this one lacks, and all others
    called so have: some are saved once, or as the best. Numbers do not count, but those of ranks, where as
    many saved both."""
    if (
        first is None
        or not (path.is_dir() and first.is_dir())
        or without_digits(first) != without_digits(path)
    ):
        return None
    here, there = _by_form(path), _by_form(first)
    for form, files in sorted(there.items()):
        each = ranks is not None and ranks > 1 and files.keys() == set(range(ranks))
        lost = files.keys() - here.get(form, {}).keys()
        if (form not in here or (each and lost)) and "best" not in form.lower():
            beside = (one for one in path.parent.iterdir() if without_digits(one) == without_digits(path))
            if all(form in _by_form(one) for one in beside if one != path and one.is_dir()):
                return files[min(lost)]
    return None


def without_digits(path: Path) -> str:
    """Its name without digits: the same of all that a trainer saves one after the other."""
    return re.sub(r"\d", "", path.name)


def _by_form(folder: Path) -> dict[str, dict[int, str]]:
    """The names of the files with states, without numbers, and each by its rank, -1 for none."""
    forms: dict[str, dict[int, str]] = defaultdict(dict)
    for file in files_below(folder):
        if file.suffix in STATES or file.name.endswith(_SAVED_LAST):
            name, rank = file.relative_to(folder).as_posix(), _OF_A_RANK.search(file.name)
            forms[re.sub(r"[-_.]?\d+", "", name)].setdefault(int(rank[1]) if rank else -1, name)
    return forms
