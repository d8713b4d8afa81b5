"""What the master of a run and its workers tell each other, beside Locust's own messages: JSON, a line each.

A connection on loopback, which is open as long as the worker lives. Every line of the worker's is answered by
one of the master's. Who does not know the secret, which Locust's messages carry, is told nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["JOIN", "MOST_BYTES", "MOST_HELLO_BYTES", "TOLD", "line_of", "read_line"]

JOIN = "quotalab-join"
"""Locust's message by which a worker asks where the channel is."""
TOLD = "quotalab-told"
"""The master's answer to it: `port` and `secret`."""
MOST_BYTES = 16 * 2**20
MOST_HELLO_BYTES = 1000
"""What is read of somebody who has not told the secret yet."""


def line_of(message: Mapping[str, Any]) -> bytes:
    """A message as it goes over the channel."""
    return json.dumps(message, separators=(",", ":"), default=str).encode() + b"\n"


def read_line(file: Any, most: int = MOST_BYTES) -> dict[str, Any] | None:
    """The next message; None where the other has gone, or has sent what is none."""
    try:
        line = file.readline(most + 1)
        message = json.loads(line) if line.endswith(b"\n") else None
    except (OSError, ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None
