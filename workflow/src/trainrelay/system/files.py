"""Files that survive a kill and a power cut: written aside, synced, put in place by one `os.replace`."""

from __future__ import annotations

import errno
import functools
import hashlib
import itertools
import operator
import os
import secrets
import shlex
import shutil
import stat
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from trainrelay.errors import RecordError, UserError
from trainrelay.records import FileDigest

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

_reader: ContextVar[Callable[..., Any]] = ContextVar("reader", default=operator.call)
_instead: ContextVar[Mapping[Path, BaseModel | None]] = ContextVar("instead", default={})  # noqa: B039

DOCTOR = "to see what can be rebuilt of it, run: trainrelay doctor RUN/STAGE"
CHUNK_BYTES = 4 * 1024 * 1024  # 256 reads for a GiB, and little memory
_MOST_ENTRIES = 1000  # of a folder that is only looked into: one with a data set in it costs little time
_MOST_FILES = 20_000  # of a checkpoint's folder: some for each rank
_REMOVED = ".trainrelay-removed-"  # before the name of a folder that is being removed
_AGAIN = "fix that, then run the same command again"
FULL = (errno.ENOSPC, errno.EDQUOT)
_JSON_OPTIONS = (
    orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE
)


# ---------------------------------------------------------------------- writing


def write_bytes(path: Path, data: bytes) -> None:
    """Replaces `path` by `data`, all or nothing; UserError where the folder does not take it."""
    with replacing(path) as file:
        file.write(data)


def write_private(path: Path, data: bytes) -> None:
    """The same for what only you may read; nothing is written where it is so already."""
    with suppress(OSError):
        if path.stat().st_mode & 0o777 == 0o600 and path.read_bytes() == data:
            return
    with replacing(path) as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(data)


def write_json(path: Path, value: Any) -> None:
    """Writes a record, dataclass or plain value: the same value is the same bytes; NaN becomes null."""
    write_bytes(path, json_bytes(path, value))


def json_bytes(path: Path, value: Any) -> bytes:
    """The bytes that `write_json` writes; `path` is for the message only."""
    try:
        return orjson.dumps(value, default=_plain, option=_JSON_OPTIONS)
    except orjson.JSONEncodeError as error:
        if "UTF-8" not in str(error):
            raise
        raise UserError(f"{path} would hold a name that is not UTF-8: rename that file or folder") from None


def copy_durably(
    source: Path, target: Path, before_replace: Callable[[FileDigest], None] | None = None
) -> FileDigest:
    """Copies and hashes in one pass; what `before_replace` raises leaves `target` as it was.

    The digest is that of the bytes written, under the target's path. Of a folder, each file; a folder that is
    at the target is replaced.
    """
    if source.is_dir():
        return _copy_folder(source, target, before_replace)
    with reading(source) as reader, replacing(target) as writer:
        digest = _hash(target, _copied(source, reader, writer))
        sync(writer)
        if before_replace:
            before_replace(digest)
    return digest


def _copy_folder(
    source: Path, target: Path, before_replace: Callable[[FileDigest], None] | None
) -> FileDigest:
    aside, digests = temporary_beside(target), dict[str, FileDigest]()
    try:
        with written_or_explained(target):
            aside.mkdir()
            for file in files_below(source):
                copy = aside / file.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                with reading(file) as reader, copy.open("xb") as writer:
                    digests[str(copy.relative_to(aside))] = _hash(copy, _copied(file, reader, writer))
                    sync(writer)
                os.utime(copy, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
            for folder in sorted({copy.parent for copy in files_below(aside)}, reverse=True):
                sync_folder(folder)
            digest = _digest_of_folder(target, digests)
            if before_replace:
                before_replace(digest)
            put_in_place(aside, target)
    finally:
        remove(aside)
    return digest


def put_in_place(aside: Path, target: Path, old: Path | None = None) -> None:
    """Makes what was written aside the target. Nothing replaces a folder at once: it is renamed before, to
    `old`, where readers find it if this is killed in between."""
    old = old or temporary_beside(target)
    if target.is_dir():
        remove(old)
        make_folder(old.parent)
        target.rename(old)
    aside.rename(target)
    sync_folder(target.parent)
    remove(old)


def remove(path: Path) -> None:
    """Removes a file, or a folder with all that is in it; nothing may be there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_whole(path: Path) -> None:
    """Removes a file or a folder at once: what a kill leaves has another name, and goes with the next one."""
    if not path.is_dir():
        path.unlink()
        return
    path.rename(path.with_name(f"{_REMOVED}{secrets.token_hex(6)}"))
    for left in path.parent.glob(f"{_REMOVED}*"):
        remove(left)


def append(path: Path, line: bytes) -> int:
    """One more line, in one write, so that those of two writers would not mix; the file's size. OSError."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o666)
    try:
        os.write(descriptor, line + b"\n")
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A new file that becomes `path` when the block ends well, and vanishes when it does not."""
    aside = temporary_beside(path)
    try:
        with written_or_explained(path):
            with aside.open("xb") as file:
                yield file
                sync(file)
            aside.replace(path)
            sync_folder(path.parent)
    finally:
        with suppress(OSError):
            aside.unlink()


def make_folder(folder: Path) -> None:
    """Makes it, and those above it; UserError where that is not possible."""
    with written_or_explained(folder):
        folder.mkdir(parents=True, exist_ok=True)


def sync(file: IO[bytes]) -> None:
    """Everything written so far is on the disk afterwards."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """The names in a folder are on the disk afterwards, where the file system can promise that."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


# The name of the target goes in as a hash, so that a name of the maximum length still has a
# temporary one, and so that left-overs are found without globbing over a hostile name.


def temporary_beside(path: Path) -> Path:
    """A fresh name in the same folder for what will become `path`."""
    return path.with_name(f"{_temporary_prefix(path)}{secrets.token_hex(6)}.tmp")


def unused(path: Path, ending: str) -> Path:
    """The first of NAME.ending, NAME.ending2, ... that is not there."""
    numbers = itertools.chain([""], itertools.count(2))
    names = (path.with_name(f"{path.name}.{ending}{number}") for number in numbers)
    return next(name for name in names if not os.path.lexists(name))


def remove_left_overs(path: Path) -> None:
    """Removes what killed writers of `path` left; only for a caller that is its one writer."""
    prefix = _temporary_prefix(path)
    with written_or_explained(path):
        for entry in list(path.parent.iterdir()):
            if entry.name.startswith((prefix, _REMOVED)):
                remove(entry)


def _temporary_prefix(path: Path) -> str:
    return f".trainrelay-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]}-"


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


@contextmanager
def written_or_explained(path: Path) -> Iterator[None]:
    """UserError, in a sentence, where what is done within it cannot be written."""
    try:
        yield
    except OSError as error:
        raise UserError(_why_not_written(path, error)) from error


def _why_not_written(path: Path, error: OSError) -> str:
    """What the operating system said when a file was to be written, and what to do about it."""
    folder = shlex.quote(str(path.parent))
    if error.errno in FULL:
        what = "the disk is full" if error.errno == errno.ENOSPC else "the disk quota is used up"
        again = "and run the same command again"
        return f"cannot write {path}: {what}; nothing was changed: free space in {folder} {again}"
    if error.errno == errno.ENOENT:
        return f"cannot write {path}: its folder does not exist; run: mkdir -p {folder}"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"cannot write {path}: {error.strerror}; make {folder} writable and run the same command again"
    return f"cannot write {path}: {error.strerror or error}; check {folder} and run the same command again"


# ---------------------------------------------------------------------- reading


def read_once(read: Callable[..., T], *args: Hashable) -> T:
    """What a call reads; within `one_reading` the same call is answered from memory."""
    return _reader.get()(read, *args)  # type: ignore[no-any-return]


@contextmanager
def one_reading() -> Iterator[None]:
    """A plan of many stages, say: read at one moment, and what they share only once."""
    outer = _reader.get()
    token = _reader.set(functools.cache(outer) if outer is operator.call else outer)
    try:
        yield
    finally:
        _reader.reset(token)


def inside(folder: Path) -> list[Path]:
    """What is in a folder, nothing if it is not there; UserError if that cannot be seen."""
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UserError(f"cannot list {folder}: {error.strerror}; {_AGAIN}") from error


def first_below(folder: Path, depth: int) -> Iterator[Path]:
    """What is in a folder and down to `depth` folders below it, of each level the first thousands at most."""
    level = [str(folder)]
    for _ in range(depth + 1):
        found = list(itertools.islice(itertools.chain.from_iterable(map(_entries, level)), 5 * _MOST_ENTRIES))
        yield from (Path(entry) for entry in found)
        level = [entry.path for entry in found if entry.is_dir()]


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(itertools.islice(entries, _MOST_ENTRIES))
    except OSError:
        return []


@contextmanager
def regular_file(path: Path, flags: int = 0) -> Iterator[IO[bytes]]:
    """A regular file; OSError also for a folder, and for a pipe, on which reading would wait."""
    flags |= os.O_NONBLOCK
    with open(path, "rb", opener=lambda name, more: os.open(name, more | flags)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        yield file


def content(path: Path) -> bytes:
    """All of a regular file. OSError."""
    with regular_file(path) as file:
        return file.read()


def last_bytes(path: Path, most: int) -> bytes:
    """The end of a regular file in a shared folder; empty if there is none, or none that can be read."""
    with suppress(OSError):
        # Opening a folder makes an NFS client ask the server; a missing name may be answered from its cache.
        if path.name in [one.name for one in path.parent.iterdir()]:
            with regular_file(path, os.O_NOFOLLOW) as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - most))
                return file.read(most)
    return b""


@contextmanager
def reading_instead(records: Mapping[Path, BaseModel | None]) -> Iterator[None]:
    """Within it `read_record` finds these records in the place of files; None: no file."""
    token = _instead.set(records)
    try:
        yield
    finally:
        _instead.reset(token)


def read_record(path: Path, model: type[M]) -> M | None:
    """A JSON file of ours, None if there is none; RecordError if it is damaged, else UserError."""
    if path in (instead := _instead.get()):
        return instead[path]  # type: ignore[return-value]
    try:
        return model.model_validate_json(content(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}; {_AGAIN}") from error
    except ValidationError as error:
        raise _why_not_a_record(path, error) from None


def _why_not_a_record(path: Path, error: ValidationError) -> UserError:
    found = error.errors(include_url=False, include_input=False)
    # Neither a power cut nor a full disk adds a key, or makes another number of `format`.
    later = [
        one
        for one in found
        if one["type"] == "extra_forbidden" or (one["loc"] == ("format",) and one["type"] != "missing")
    ]
    first = (later or found)[0]
    place = ".".join(str(part) for part in first["loc"])
    what = f"({f'{place}: ' * bool(place)}{first['msg']})"
    if later:
        unknown = f"{path} holds what this version of trainrelay does not know {what}"
        return UserError(f"{unknown}; use the version of trainrelay that wrote it")
    return RecordError(f"{path} is damaged {what}; {DOCTOR}", path)


def same_place(one: Path, other: Path) -> bool:
    """Whether two absolute names lead to one place, there or not: links and mounts give it several."""
    while True:  # at the latest it ends at /
        with suppress(OSError, ValueError):
            return one.samefile(other)
        if one.name != other.name:
            return False
        one, other = one.parent, other.parent


def below(path: Path, folder: Path) -> Path | None:
    """The part of an absolute path below a folder, whichever names lead to that one; None: it is outside."""
    above = (one for one in (path, *path.parents) if same_place(one, folder.absolute()))
    return next((path.relative_to(one) for one in above), None)


def sha256_of(path: Path) -> FileDigest:
    """The digest of a file's content, read in chunks, or of all files of a folder; UserError where that
    cannot be read."""
    if path.is_dir():
        files = files_below(path)
        return _digest_of_folder(path, {str(one.relative_to(path)): sha256_of(one) for one in files})
    with reading(path) as file:
        return digest_of(path, file)


def digest_of(path: Path, file: IO[bytes]) -> FileDigest:
    """The digest of an open file from its position to its end."""
    return _hash(path, _chunks(path, file))


@contextmanager
def reading(path: Path) -> Iterator[IO[bytes]]:
    """A regular file opened for reading; a pipe, on which opening would wait, is refused."""
    try:
        regular = path.is_file()
        file = path.open("rb", buffering=2**17) if regular else None  # who looks ahead finds it there
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    if file is None:
        problem = "is not a regular file" if path.exists() else "does not exist"
        raise UserError(f"cannot read {path}: it {problem}")
    with file:
        yield file


def files_below(folder: Path) -> list[Path]:
    """All files of a folder and of those below it, in order; UserError for a link, or for too many."""

    def refuse(error: OSError) -> None:
        raise UserError(f"cannot list {error.filename}: {error.strerror}; {_AGAIN}") from error

    found, seen = list[Path](), 0
    for above, folders, names in os.walk(folder, onerror=refuse):
        seen += len(folders) + len(names)
        if seen > _MOST_FILES:
            raise UserError(f"{folder} holds more files than any checkpoint does")
        for path in (Path(above, name) for name in (*folders, *names)):
            if path.is_symlink():
                raise UserError(f"{folder} holds the link {path.relative_to(folder)}, which is not followed")
        found += (Path(above, name) for name in names)
    return sorted(found)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder. OSError or UserError."""
    return sum(one.stat().st_size for one in (files_below(path) if path.is_dir() else [path]))


def _digest_of_folder(folder: Path, files: Mapping[str, FileDigest]) -> FileDigest:
    lines = "".join(f"{one.sha256}  {name!r}\n" for name, one in sorted(files.items()))
    size = sum(one.size for one in files.values())
    return FileDigest(path=str(folder), sha256=hashlib.sha256(lines.encode()).hexdigest(), size=size)


def _chunks(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    try:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def _copied(source: Path, reader: IO[bytes], writer: IO[bytes]) -> Iterator[bytes]:
    for chunk in _chunks(source, reader):
        writer.write(chunk)
        yield chunk


def _hash(path: Path, chunks: Iterator[bytes]) -> FileDigest:
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
    return FileDigest(path=str(path), sha256=digest.hexdigest(), size=size)
