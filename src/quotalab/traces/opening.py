"""Recorded files as blocks of whole lines: plain, gzip or zstd, in flat memory whatever they hold."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from quotalab.errors import InputError

__all__ = ["PARQUET", "Blocks"]

BLOCK = 1 << 23
"""Bytes; a line that does not fit into one is passed over."""
_READ = 1 << 18
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
PARQUET = b"PAR1"
"""With which a trace begins."""
_MOST_UNPACKED, _MOST_RATIO = 1 << 26, 400
"""Bytes; a compressed file that unpacks to more, and to so many times its size, is read no further."""


class Blocks:
    """The lines of a file, some megabytes at a time; each block ends with a newline.

    What is found on the way is kept in `tear`, `too_long` and `bytes_read`, complete when the iteration is
    over. A tear (a compressed file that ends early or is broken) ends the file; it raises nothing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tear: str | None = None
        """What is wrong with the compressed file, or None."""
        self.too_long = 0
        """Lines of more than `BLOCK` bytes, which were passed over without being kept."""
        self.bytes_read = 0
        """Decompressed bytes."""
        try:
            with path.open("rb") as file:
                self._magic = file.read(4)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
        if self._magic == PARQUET:
            raise InputError(f"{path}: is Parquet, as traces are; show and fit read it as it is")

    def __iter__(self) -> Iterator[bytes]:
        pending: list[bytes] = []
        size = 0
        skipping = False
        packed = self.path.stat().st_size if self._magic.startswith((_GZIP, _ZSTD)) else None
        for chunk in self._chunks():
            self.bytes_read += len(chunk)
            if packed is not None and self.bytes_read > max(_MOST_UNPACKED, _MOST_RATIO * packed):
                self.tear = f"unpacks to more than {_MOST_RATIO} times its size, as a ZIP bomb does"
                break
            begin = 0
            if skipping:
                begin = chunk.find(b"\n") + 1
                if not begin:
                    continue
                skipping = False
            pending.append(chunk[begin:] if begin else chunk)
            size += len(pending[-1])
            if size < BLOCK:
                continue
            cut = pending[-1].rfind(b"\n") + 1
            if cut:
                rest = pending[-1][cut:]
                pending[-1] = pending[-1][:cut]
                yield b"".join(pending)
                pending, size = [rest], len(rest)
                continue
            whole = b"".join(pending)
            cut = whole.rfind(b"\n") + 1
            if cut:
                yield whole[:cut]
                pending, size = [whole[cut:]], len(whole) - cut
            else:
                self.too_long += 1
                pending, size = [], 0
                skipping = True
        if size:
            last = b"".join(pending)
            yield last if last.endswith(b"\n") else last + b"\n"

    def _chunks(self) -> Iterator[bytes]:
        if self._magic.startswith(_GZIP):
            return self._gunzipped()
        if self._magic == _ZSTD:
            return self._unzstd()
        return self._plain()

    def _plain(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            while chunk := file.read(_READ):
                yield chunk

    def _gunzipped(self) -> Iterator[bytes]:
        member = zlib.decompressobj(31)
        with self.path.open("rb") as file:
            raw = file.read(_READ)
            while raw:
                try:
                    data = member.decompress(raw, 4 * _READ)
                except zlib.error as error:
                    self.tear = f"broken gzip: {error}"
                    return
                if data:
                    yield data
                if member.eof:  # the next member, if there is one: logs are often appended that way
                    raw = member.unused_data or file.read(_READ)
                    if raw and not (len(raw) > 1 and raw.startswith(_GZIP)):
                        if raw.strip(b"\0"):
                            self.tear = "gzip followed by what is no gzip"
                        return
                    member = zlib.decompressobj(31)
                    if not raw:
                        return
                else:
                    raw = member.unconsumed_tail or file.read(_READ)
            self.tear = "torn gzip: it ends in the middle"

    def _unzstd(self) -> Iterator[bytes]:
        try:
            with pa.CompressedInputStream(pa.OSFile(str(self.path)), "zstd") as stream:
                while chunk := stream.read(_READ):
                    yield chunk
        except (OSError, pa.ArrowException) as error:
            self.tear = f"torn or broken zstd: {' '.join(str(error).split())[:100]}"
