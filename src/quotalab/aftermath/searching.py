"""Looking for secrets where none may stand: in the app's files, and in what quotalab itself has written.

The sandbox knows every token, code, verifier and client secret of a run; each is looked for as it is,
percent-encoded and in base64, whatever stands before and after it. One pass over the bytes, however many
secrets there are: the first eight bytes at every place are looked up in a table, and only where a secret may
begin is it compared.
"""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

__all__ = ["AppFiles", "Found", "Hit", "Patterns", "Searched", "Skipped", "is_log", "search_file"]

MOST_FILES = 10_000
MOST_BYTES_A_FILE = 256 * 2**20
MOST_BYTES = 2 * 2**30
MOST_HITS = 1_000
_CHUNK = 2**20
_PREFIX = 8
_SHORTEST = 16
"""Shorter texts are no secrets: they would be found by chance."""
_TABLE_BITS = 20
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: spreads keys over the table
_LOG_SUFFIXES = (".log", ".jsonl", ".ndjson", ".logfmt", ".out", ".err")
_LOG_FOLDERS = ("log", "logs")


@dataclass(frozen=True)
class Hit:
    """A secret that was found."""

    line: int
    """Of the file, from 1; 0: in its name."""
    kind: str
    """Of the secret: ``access token``, ..."""
    encoding: str
    """``plain``, ``percent-encoded`` or ``base64``."""


class Patterns:
    """What is looked for: secrets in all their forms."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self.kinds: dict[str, int] = {}
        """How many secrets of each kind are looked for."""
        self._longest = _PREFIX
        self._by_prefix: dict[bytes, list[tuple[bytes, str, str]]] = {}
        for secret, kind in secrets.items():
            if len(secret) < _SHORTEST:
                continue
            self.kinds[kind] = self.kinds.get(kind, 0) + 1
            for form, encoding in _forms(secret):
                self._by_prefix.setdefault(form[:_PREFIX], []).append((form, kind, encoding))
                self._longest = max(self._longest, len(form))
        self._table = np.zeros(2**_TABLE_BITS, dtype=bool)
        if not self._by_prefix:
            return
        self._prefixes = np.unique(np.frombuffer(b"".join(self._by_prefix), dtype=np.uint64))
        self._table[_place(self._prefixes)] = True

    def find(self, data: bytes) -> Iterator[tuple[int, str, str]]:
        """Where in `data` a secret begins, with its kind and encoding."""
        if len(data) < _PREFIX or not self._by_prefix:
            return
        view = np.lib.stride_tricks.sliding_window_view(np.frombuffer(data, dtype=np.uint8), _PREFIX)
        keys = np.ascontiguousarray(view).view(np.uint64).ravel()
        # With many secrets the table is full of others' places: what it lets through is looked up for sure.
        places = np.flatnonzero(self._table[_place(keys)])
        near = np.searchsorted(self._prefixes, keys[places])
        places = places[self._prefixes[np.minimum(near, len(self._prefixes) - 1)] == keys[places]]
        for place in places.tolist():
            for form, kind, encoding in self._by_prefix.get(data[place : place + _PREFIX], ()):
                if data.startswith(form, place):
                    yield place, kind, encoding
                    break

    def search(self, file: BinaryIO, most: int, line: int = 1) -> tuple[list[Hit], int, int]:
        """What is in an open file: hits, how many there are beyond `MOST_HITS`, bytes read (`most` at most).

        `line` is the number of the line at which the file stands.
        """
        hits: list[Hit] = []
        untold, read, kept = 0, 0, b""
        while read < most and (chunk := file.read(min(_CHUNK, most - read))):
            read += len(chunk)
            data = kept + chunk
            # A form that begins in the last bytes is found whole with the next chunk, and only then.
            last = len(chunk) < _CHUNK or read >= most
            end = len(data) if last else max(0, len(data) - self._longest + 1)
            counted = 0
            for place, kind, encoding in self.find(data):
                if place >= end:
                    break
                line += data.count(b"\n", counted, place)
                counted = place
                if len(hits) < MOST_HITS:
                    hits.append(Hit(line, kind, encoding))
                else:
                    untold += 1
            line += data.count(b"\n", counted, end)
            kept = data[end:]
        if kept:
            for place, kind, encoding in self.find(kept):
                hits.append(Hit(line + kept.count(b"\n", 0, place), kind, encoding))
        return hits[:MOST_HITS], untold + max(0, len(hits) - MOST_HITS), read


def _place(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Where in the table each key lies."""
    place: npt.NDArray[np.uint64] = (keys * _MULTIPLIER) >> np.uint64(64 - _TABLE_BITS)
    return place


def _forms(secret: str) -> Iterator[tuple[bytes, str]]:
    """A secret as it may stand in a file, each form once."""
    plain = secret.encode("utf-8", "surrogatepass")
    found = {plain}
    yield plain, "plain"
    quoted = quote(plain, safe="").encode()
    every = "".join(f"%{byte:02X}" for byte in plain).encode()
    for form in (quoted, every, every.lower()):
        if form not in found:
            found.add(form)
            yield form, "percent-encoded"
    for before in range(3):
        # Six bits a letter: what stands before and after shares the outermost letters; those are left out.
        whole = base64.b64encode(bytes(before) + plain)
        begin = -(-before * 8 // 6)
        end = (before + len(plain)) * 8 // 6
        for form in (whole[begin:end], whole[begin:end].translate(_URL_SAFE)):
            if form not in found and len(form) >= _SHORTEST:
                found.add(form)
                yield form, "base64"


_URL_SAFE = bytes.maketrans(b"+/", b"-_")


@dataclass(frozen=True)
class Skipped:
    """A file that was not looked at, or not to its end."""

    file: str
    why: str


@dataclass(frozen=True)
class Found:
    """A hit, with the file."""

    file: str
    log: bool
    """Whether that is a log; else it is something that the app keeps."""
    hit: Hit


@dataclass
class Searched:
    """What was looked at, and what was found."""

    names: list[tuple[str, bool]] = field(default_factory=list)
    """The files, each with whether it is a log."""
    size: int = 0
    """Bytes."""
    hits: list[Found] = field(default_factory=list)
    untold: int = 0
    skipped: list[Skipped] = field(default_factory=list)

    def add(self, other: Searched) -> None:
        """What another search has found."""
        self.names += other.names
        self.size += other.size
        self.hits += other.hits
        self.untold += other.untold
        self.skipped += other.skipped


@dataclass(frozen=True)
class _Before:
    size: int
    inode: int
    changed_ns: int


class AppFiles:
    """The app's files, as they were before the run and as they are after it.

    `patterns` are globs relative to `root`; what lies outside of it, by a symbolic link or otherwise, is
    never opened. A log that has grown is read from where it ended before: older runs under the same seed had
    the same tokens. Any other file that was changed is read whole, and one that was not is left out.
    """

    def __init__(self, root: Path, patterns: Sequence[str]) -> None:
        self._root = root.resolve()
        self._patterns = tuple(patterns)
        self._before: dict[Path, _Before] = {}
        for path, _ in _files_named(self._root, self._patterns):
            if path is not None and (told := _stat(path)) is not None:
                self._before[path] = _Before(told.st_size, told.st_ino, told.st_mtime_ns)

    def begins_at(self, path: Path) -> int | None:
        """From which byte on a file is of this run; None: nothing of it is."""
        told = _stat(path)
        if told is None:
            return None
        before = self._before.get(path)
        if before is None:
            return 0
        if (told.st_size, told.st_ino, told.st_mtime_ns) == (before.size, before.inode, before.changed_ns):
            return None
        grown = is_log(path) and told.st_ino == before.inode and told.st_size >= before.size
        return before.size if grown else 0

    def search(self, patterns: Patterns, *, without: Container[str] = ()) -> Searched:
        """Look through the files, but those that are named in `without`."""
        searched = Searched()
        for path, why in _files_named(self._root, self._patterns):
            if why.file in without:
                continue
            if path is None:
                searched.skipped.append(why)
                continue
            search_file(patterns, path, why.file, searched, self.begins_at(path), log=is_log(path))
        return searched


def search_file(
    patterns: Patterns,
    path: Path,
    name: str,
    searched: Searched,
    begin: int | None = 0,
    *,
    log: bool = False,
) -> None:
    """Look through one file from byte `begin` on, and through its name; adds to `searched`."""
    if begin is None:
        searched.skipped.append(Skipped(name, "was not changed by the run"))
        return
    if len(searched.names) >= MOST_FILES or searched.size >= MOST_BYTES:
        searched.skipped.append(Skipped(name, "is one too many"))
        return
    try:
        # Neither a link nor a pipe, whatever it was when it was listed.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                searched.skipped.append(Skipped(name, "is no regular file"))
                return
            line = 1 + _lines_before(file, begin)
            hits, untold, read = patterns.search(file, MOST_BYTES_A_FILE, line)
            if read == MOST_BYTES_A_FILE and file.read(1):
                searched.skipped.append(Skipped(name, f"was read for {MOST_BYTES_A_FILE >> 20} MB only"))
    except OSError as error:
        searched.skipped.append(Skipped(name, f"cannot be read: {error.strerror or error}"))
        return
    hits += [Hit(0, kind, encoding) for _, kind, encoding in patterns.find(name.encode("utf-8", "replace"))]
    searched.names.append((name, log))
    searched.size += read
    room = MOST_HITS - len(searched.hits)
    searched.hits += [Found(name, log, hit) for hit in hits[:room]]
    searched.untold += untold + max(0, len(hits) - room)


def is_log(path: Path) -> bool:
    """Whether a file is a log, which grows, by its name or its folder's; else it is what the app keeps."""
    return path.suffix.lower() in _LOG_SUFFIXES or path.parent.name.lower() in _LOG_FOLDERS


def _files_named(root: Path, patterns: Sequence[str]) -> Iterator[tuple[Path | None, Skipped]]:
    """The files that globs name, once each and in order, with their names.

    None, with the reason, for one that may not be opened.
    """
    seen: set[Path] = set()
    for pattern in patterns:
        for path in sorted(root.glob(pattern)):
            if path in seen:
                continue
            seen.add(path)
            name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
            try:
                real = path.resolve(strict=True)
            except (OSError, RuntimeError):
                yield None, Skipped(name, "is a link to nothing")
                continue
            if not real.is_relative_to(root):
                yield None, Skipped(name, "leads out of the workspace")
            elif real.is_file():
                if real not in seen or real == path:
                    seen.add(real)
                    yield real, Skipped(name, "")
            elif not real.is_dir():
                yield None, Skipped(name, "is no regular file")


def _lines_before(file: BinaryIO, begin: int) -> int:
    """How many lines end before byte `begin`, where the file stands afterwards."""
    lines, left = 0, begin
    while left and (chunk := file.read(min(_CHUNK, left))):
        lines += chunk.count(b"\n")
        left -= len(chunk)
    return lines


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
