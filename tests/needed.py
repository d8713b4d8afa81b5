"""What some tests need beside Python: servers, a browser, a runtime. Without one they skip, where they may."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest


def need(name: str, found: object) -> None:
    """Skip, as `found` is empty; fail where `QUOTALAB_NEEDS` (names, by commas) says that it must be there."""
    if not found:
        assert name not in os.environ.get("QUOTALAB_NEEDS", "").split(","), f"{name} is not installed"
        pytest.skip(f"{name} is not installed")


class RedisServer:
    """A redis-server of the test's own, on loopback, with nothing in it and nothing kept."""

    def __init__(self, folder: Path) -> None:
        need("redis", shutil.which("redis-server"))
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port: int = found.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.folder = folder
        self.start()

    def start(self) -> None:
        """Empty, each time; returns when it answers."""
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder)]
        command += ["--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert any("Ready to accept connections" in line for line in self.process.stdout)

    def kill(self) -> None:
        """At once; once more does nothing."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
