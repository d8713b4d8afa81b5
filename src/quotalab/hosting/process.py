"""An app in another process, in any language: started, awaited, watched, ended. It has the real time."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import gevent

from quotalab.clock import RealClock
from quotalab.errors import ScenarioError

__all__ = ["AppProcess", "await_listening", "free_port", "last_lines"]

_LOOK_EVERY_NS = 50_000_000
_LAST_LINES = 20
_LAST_BYTES = 8_000
_GRACE_S = 5

_real = RealClock()


def free_port() -> int:
    """A port of this machine's loopback on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class AppProcess:
    """The app's process, with its output kept in a file of `folder`. Raises `ScenarioError`."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], root: Path, folder: Path) -> None:
        self._command = " ".join(command)
        self.output = folder / "output.txt"
        """What it has printed, on either stream."""
        self._closing = False
        try:
            with self.output.open("wb") as output:
                self._process = subprocess.Popen(  # noqa: S603 - the workspace owner's own command
                    list(command),
                    cwd=root,
                    env={**os.environ, **env},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise ScenarioError(
                f"app {self._command!r}: cannot be started: {error.strerror or error}"
            ) from error

    def await_listening(self, address: str, within_ns: int) -> None:
        """Wait until something listens at `address`. Raises `ScenarioError` with the app's last output."""

        def ended() -> None:
            if self._process.poll() is not None:
                raise ScenarioError(
                    f"app {self._command!r}: ended ({self._how()}) before it listened at {address}"
                    f"{self.last_output()}"
                )

        if not await_listening(address, within_ns, ended):
            raise ScenarioError(
                f"app {self._command!r}: does not listen at {address} after {within_ns / 1e9:g} s; is it "
                f"told to, by env or in its command? (listens_within allows more){self.last_output()}"
            )

    def watch(self, on_end: Callable[[ScenarioError], None]) -> None:
        """Call `on_end` should the process end before `close`."""

        def wait() -> None:
            self._process.wait()
            if not self._closing:
                on_end(
                    ScenarioError(
                        f"app {self._command!r}: ended ({self._how()}) in the middle of the run"
                        f"{self.last_output()}"
                    )
                )

        gevent.spawn(wait)

    def last_output(self) -> str:
        """The last lines that it wrote, to end a message with; they may hold secrets, and go to no file."""
        return last_lines(self.output)

    def close(self) -> None:
        """End the process and what it started: asked first, then made to."""
        self._closing = True
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is not None:
                return
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(_GRACE_S)
            except (OSError, subprocess.TimeoutExpired):
                continue

    def _how(self) -> str:
        code = self._process.returncode
        return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


def await_listening(address: str, within_ns: int, look: Callable[[], None] = lambda: None) -> bool:
    """Whether something listens at `address` within so much real time; `look` is called between."""
    parts = urlsplit(address)
    until_ns = _real.monotonic_ns() + within_ns
    while True:
        look()
        try:
            socket.create_connection((parts.hostname or "", parts.port or 80), timeout=1).close()
        except OSError:
            if _real.monotonic_ns() >= until_ns:
                return False
            gevent.sleep(_LOOK_EVERY_NS / 1e9)
        else:
            return True


def last_lines(output: Path) -> str:
    """The last lines of what an app wrote, to end a message with."""
    try:
        with output.open("rb") as file:
            file.seek(max(0, output.stat().st_size - _LAST_BYTES))
            written = file.read().decode("utf-8", "replace")
    except OSError:
        written = ""
    lines = written.rstrip().splitlines()[-_LAST_LINES:]
    shown = "".join(f"\n  | {_printable(line)}" for line in lines)
    return f"; its last output:{shown}" if shown else "; it wrote nothing"


def _printable(line: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in line.expandtabs(4))[:300]
