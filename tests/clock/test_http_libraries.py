"""HTTP libraries over loopback sockets in virtual time: exact to the nanosecond, without a false timeout."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARIES = ["requests", "httpx", "urllib3", "http.client", "FastHttpUser", "aiohttp"]
CLIENTS = 20


def told(libraries: list[str], kinds: str, requests: int, *spoilt: str) -> list[dict]:
    """What clients of a fresh process saw."""
    program = Path(__file__).with_name("http_clients.py")
    done = subprocess.run(
        [sys.executable, str(program), ",".join(libraries), kinds, str(requests), *spoilt],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_answers_come_exactly_when_they_should():
    """100 requests to a sandbox through each library and 80 of up to 3 MB both ways: none is early or late.

    Twenty clients each keep their connection.
    """
    seen = told(LIBRARIES, "sandbox,echo", 100)
    assert [row.pop("library") for row in seen] == [name for name in LIBRARIES for _ in range(2)]
    kept = [row.pop("connections") for row in seen]
    assert seen == [
        {"kind": kind, "requests": requests, "errors": {}, "wrong": 0}
        for _ in LIBRARIES
        for kind, requests in (("sandbox", 100), ("echo", 80))
    ]
    assert kept[::2] == [CLIENTS] * len(LIBRARIES)
    assert kept[1:-1:2] == [CLIENTS] * (len(LIBRARIES) - 1)  # aiohttp's clients share theirs


@pytest.mark.full
@pytest.mark.parametrize("library", LIBRARIES)
def test_20_000_answers_come_exactly_when_they_should(library):
    """The same for 20,000 requests on twenty connections."""
    seen = told([library], "sandbox", 20_000)
    assert seen == [
        {
            "library": library,
            "kind": "sandbox",
            "requests": 20_000,
            "errors": {},
            "wrong": 0,
            "connections": CLIENTS,
        }
    ]


@pytest.mark.parametrize(("spoilt", "kind"), [("polling", "sandbox"), ("sending", "echo")])
def test_a_spoilt_clock_would_be_found_out(spoilt, kind):
    """The control: without looking for input first, or with packets that wait for others, answers are late."""
    (seen,) = told(["http.client"], kind, 80, spoilt)
    assert seen["requests"] == 80
    assert seen["wrong"] + sum(seen["errors"].values()) > 10
