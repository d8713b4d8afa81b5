"""The app's log of its calls to the provider: a JSON object a line, and no secret in any.

What a line says is what somebody needs who looks into a refusal later: when, for whom, what was asked, what
came, how long the app then meant to wait, and the provider's own id of the request, by which its support
finds it.
"""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from urllib.parse import urlsplit

from quotalab.clock import Clock
from quotalab.reference.answers import Answer
from quotalab.reference.requests import Request

__all__ = ["CallLog"]

_ID_HEADERS = ("x-request-id", "request-id", "x-github-request-id", "cf-ray")


class CallLog:
    """Adds lines to a file; each is written when it is added, so that a crash loses none."""

    def __init__(self, file: Path, clock: Clock) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file.open("a", encoding="utf-8", buffering=1)
        self._clock = clock

    def add(
        self, person: str, tenant: str | None, request: Request, answer: Answer | None, wait_ns: int | None
    ) -> None:
        """One call; `answer` is None where none came, `wait_ns` where it is not to be asked again.

        Of the address the path alone is written: a query may hold what is nobody's business.
        """
        headers = answer.response.headers if answer is not None else {}
        line = {
            "at": self._now(),
            "person": person,
            "tenant": tenant,
            "method": request.method,
            "path": urlsplit(request.url).path,
            "route": request.route,
            "status": answer.status if answer is not None else 0,
            "wait": None if wait_ns is None else wait_ns / 1e9,
            "request_id": next((headers[name] for name in _ID_HEADERS if name in headers), None),
        }
        self._file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _now(self) -> str:
        """RFC 3339, to the microsecond."""
        seconds, rest = divmod(self._clock.now_ns(), 10**9)
        moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest // 1000:06d}Z"
