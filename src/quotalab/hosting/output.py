"""What an app in the process prints: shown as ever, and kept in a file beside.

Kept is what goes through ``sys.stdout`` and ``sys.stderr`` of Python, logging included. What code in C, a
child process or ``os.write`` puts out is not, nor what goes to a stream that was taken before.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from quotalab.hosting.process import last_lines

__all__ = ["AppOutput"]


class AppOutput:
    """Both streams of this process, kept from its making until `close`, which puts them back."""

    def __init__(self) -> None:
        handle, name = tempfile.mkstemp(prefix="quotalab-output-")
        self._path = Path(name)
        self._file = os.fdopen(handle, "wb")
        self._aside = 0
        self._streams: dict[str, tuple[TextIO, TextIO]] = {}
        for stream in ("stdout", "stderr"):
            before = getattr(sys, stream)
            if before is not None:  # as under pythonw
                with suppress(OSError, ValueError):
                    before.flush()
                tee = _tee(before, self._keep)
                self._streams[stream] = before, tee
                setattr(sys, stream, tee)

    @property
    def file(self) -> Path | None:
        """The file, with all that was printed up to now; None: nothing was."""
        self._file.flush()
        return self._path if self._file.tell() else None

    def last(self) -> str:
        """The last lines, to end a message with; they may hold secrets, and go to no file."""
        self._file.flush()
        return last_lines(self._path)

    def aside(self, say: Callable[[str], None]) -> Callable[[str], None]:
        """`say`, of which nothing is kept: what quotalab itself has to say."""

        def said(what: str) -> None:
            self._aside += 1
            try:
                say(what)
            finally:
                self._aside -= 1

        return said

    def close(self) -> None:
        """Put the streams back, and forget what was printed. Who has kept a stream can still print."""
        for name, (before, tee) in self._streams.items():
            with suppress(OSError, ValueError):
                tee.flush()
            if getattr(sys, name) is tee:
                setattr(sys, name, before)
        self._streams.clear()
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _keep(self, data: bytes) -> None:
        if not self._aside and not self._file.closed:
            self._file.write(data)


class _Tee(io.BufferedIOBase):
    """The bytes of a stream, which go where they went and to `keep` as well."""

    def __init__(self, stream: TextIO, keep: Callable[[bytes], None]) -> None:
        self._stream = stream
        self._keep = keep
        self._bytes: Any = getattr(stream, "buffer", None)

    def writable(self) -> bool:
        """It is there to be written to."""
        return True

    def write(self, data: Any) -> int:
        """See io."""
        kept = bytes(data)
        self._keep(kept)
        if self._bytes is not None:
            self._bytes.write(kept)
        else:  # a stream of text alone, such as io.StringIO
            self._stream.write(kept.decode(_encoding(self._stream), "replace"))
        return len(kept)

    def flush(self) -> None:
        """See io."""
        (self._bytes if self._bytes is not None else self._stream).flush()

    def close(self) -> None:
        """The stream is not ours to close."""

    def fileno(self) -> int:
        """See io."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """See io."""
        return self._stream.isatty()

    @property
    def name(self) -> str:
        """What it is called: ``<stdout>``."""
        return getattr(self._stream, "name", "")


def _tee(stream: TextIO, keep: Callable[[bytes], None]) -> TextIO:
    return io.TextIOWrapper(
        _Tee(stream, keep),
        encoding=_encoding(stream),
        errors=getattr(stream, "errors", None) or "backslashreplace",
        newline="",  # lines' ends go as they come: the platform is a POSIX one
        line_buffering=getattr(stream, "line_buffering", False),
        write_through=True,
    )


def _encoding(stream: TextIO) -> str:
    return getattr(stream, "encoding", None) or "utf-8"
