"""An app in another process, in any language: started, awaited, watched, ended. It has the real time.

The process leads a session of its own, so that what it starts ends with it. Should quotalab itself be killed,
a guard, which is a shell that waits for the end of a pipe, ends the app in its place. A daemon that leaves
the session is not followed.
"""

from __future__ import annotations

import ipaddress
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

__all__ = ["AppProcess", "await_listening", "free_port", "is_here", "last_lines"]

_LOOK_EVERY_NS = 50_000_000
_LAST_LINES = 20
_LAST_BYTES = 8_000
_GRACE_S = 5
_GUARD = f'read -r _; kill -s TERM -- "-$1"; sleep {_GRACE_S}; kill -s KILL -- "-$1"'

_real = RealClock()


def free_port() -> int:
    """A port of this machine's loopback on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class AppProcess:
    """The app's process, with its output kept in a file of `folder`. Raises `ScenarioError`.

    `named` is how messages call it: its words may have been filled with what is secret.
    """

    def __init__(
        self, named: str, command: Sequence[str], env: Mapping[str, str], root: Path, folder: Path
    ) -> None:
        self._named = named
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
        except (OSError, ValueError) as error:  # a null character in a word or a variable
            why = getattr(error, "strerror", None) or error
            raise ScenarioError(f"app {named!r}: cannot be started: {why}") from error
        self._guard = subprocess.Popen(  # noqa: S603 - words of our own
            ["/bin/sh", "-c", _GUARD, "guard", str(self._process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def await_listening(self, address: str, within_ns: int) -> None:
        """Wait until something listens at `address`. Raises `ScenarioError` with the app's last output."""

        def ended() -> None:
            if self._process.poll() is not None:
                raise ScenarioError(
                    f"app {self._named!r}: ended ({self._how()}) before it listened at {address}"
                    f"{self.last_output()}"
                )

        if not await_listening(address, within_ns, ended):
            raise ScenarioError(
                f"app {self._named!r}: does not listen at {address} after {within_ns / 1e9:g} s; is it "
                f"told to, by env or in its command? (listens_within allows more){self.last_output()}"
            )

    def watch(self, on_end: Callable[[ScenarioError], None]) -> None:
        """Call `on_end` should the process end before `close`."""

        def wait() -> None:
            self._process.wait()
            if not self._closing:
                on_end(
                    ScenarioError(
                        f"app {self._named!r}: ended ({self._how()}) in the middle of the run"
                        f"{self.last_output()}"
                    )
                )

        gevent.spawn(wait)

    def last_output(self) -> str:
        """The last lines that it wrote, to end a message with; they may hold secrets, and go to no file."""
        return last_lines(self.output)

    def close(self) -> None:
        """End the process and what it started, also if it has ended itself: asked first, then made to."""
        self._closing = True
        for number in (signal.SIGTERM, signal.SIGKILL):
            until_ns = _real.monotonic_ns() + _GRACE_S * 10**9
            there = self._signal(number)
            while there and _real.monotonic_ns() < until_ns:
                gevent.sleep(_LOOK_EVERY_NS / 1e9)
                there = self._signal(0)  # which only asks
        self._guard.kill()
        self._guard.communicate()

    def _signal(self, number: int) -> bool:
        """Send a signal to all that the process leads; whether there was anyone."""
        self._process.poll()  # or one that has ended stays among them
        try:
            os.killpg(self._process.pid, number)
        except OSError:
            return False
        return True

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
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LAST_BYTES))
            written = file.read(_LAST_BYTES).decode("utf-8", "replace")
    except OSError:
        written = ""
    lines = written.rstrip().splitlines()[-_LAST_LINES:]
    shown = "".join(f"\n  | {_printable(line)}" for line in lines)
    return f"; its last output:{shown}" if shown else "; it wrote nothing"


def is_here(address: str) -> bool:
    """Whether a host is this machine, or unknown: the way to it begins where it ends. Nothing is sent."""
    parts = urlsplit(address)
    try:
        places = socket.getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_DGRAM)
    except OSError:
        return True
    for family, kind, protocol, _, place in places:
        with socket.socket(family, kind, protocol) as probe:
            try:
                probe.connect(place)
            except OSError:
                continue
            there = ipaddress.ip_address(str(place[0]).partition("%")[0])
            if not there.is_loopback and probe.getsockname()[0] != place[0]:
                return False
    return True


def _printable(line: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in line.expandtabs(4))[:300]
