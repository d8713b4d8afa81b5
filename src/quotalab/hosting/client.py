"""A person's HTTP client on a web app: what `person.app` is, with the person's own cookies.

What the app answers decides how an operation went. Of each address (method and path) the latest answer of
the operation counts: any 4xx or 5xx makes it failed, but for 429 and 503, by which an app says "not now" and
which make it declined; otherwise it is done.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from quotalab.errors import ScenarioError
from quotalab.reference import Declined, IntegrationError

__all__ = ["AppAnsweredError", "AppClient", "Misfit", "answers", "judge_answers"]

_NOT_NOW = (429, 503)
_MOST_STEPS = 12

answers: ContextVar[dict[tuple[str, str], int] | None] = ContextVar("quotalab_answers", default=None)
"""The latest status of each address in the operation under way."""


class Misfit(ScenarioError):
    """Scenario, settings and app do not fit together, so that going on would tell nothing."""


class AppAnsweredError(IntegrationError):
    """The app answered with an error, or sent the person astray; the message names the status or the host."""


def judge_answers(heard: dict[tuple[str, str], int]) -> None:
    """Raise what the answers of an operation amount to, if it is not done."""
    statuses = [status for status in heard.values() if status >= 400]
    for status in statuses:
        if status not in _NOT_NOW:
            raise AppAnsweredError(f"the app answered {status}")
    if statuses:
        raise Declined(f"the app answered {statuses[0]}")


class AppClient(httpx.Client):
    """`httpx.Client` with the app as its base; redirects inside the app are followed.

    `connect` and `sandbox` are the path that begins consent and the sandbox's own address.
    """

    def __init__(
        self,
        transport: httpx.BaseTransport,
        base_url: str,
        *,
        connect: str | None,
        rewritten: Callable[[str], str],
        sandbox: str,
        traceparent: Callable[[], str | None],
    ) -> None:
        super().__init__(
            transport=transport,
            base_url=base_url,
            follow_redirects=True,
            timeout=None,  # a person's patience is the operation's deadline
            trust_env=False,
            headers={"User-Agent": "simulated-person/1.0"},
            event_hooks={"request": [self._carry_trace], "response": [self._note]},
        )
        self._connect = connect
        self._rewritten = rewritten
        self._sandbox = sandbox
        self._trace = traceparent
        self.connected = connect is None
        """Whether the app has taken the person's consent, or needs none."""

    def begin_consent(self) -> str:
        """The address at the provider to which the app sends the person.

        Raises `Misfit` where it sends them nowhere, or to another provider than the sandbox.
        """
        if self._connect is None:
            raise Misfit(
                "tool.quotalab.app.connect: is missing; name the path that sends people to the provider"
            )
        response = self.get(self._connect, follow_redirects=False)
        for _ in range(_MOST_STEPS):
            location = response.headers.get("location")
            if location is None or response.status_code >= 400:
                break
            address = self._rewritten(urljoin(str(response.url), location))
            if address.startswith(self._sandbox + "/"):
                return address
            if urlsplit(address).netloc != urlsplit(str(self.base_url)).netloc:
                there = urlsplit(address)
                raise Misfit(
                    f"the app sends people to {there.scheme}://{there.netloc}, not to the sandbox at "
                    f"{self._sandbox}: it does not use the endpoints that it was given; see env and rewrite "
                    f"under [tool.quotalab.app]"
                )
            response = self.get(address, follow_redirects=False)
        raise AppAnsweredError(
            f"the app answered {response.status_code} where it should have sent the person to the provider"
        )

    def deliver(self, callback: str) -> None:
        """Come back to the app, at the address that the provider gave. Raises `AppAnsweredError`."""
        response = self.get(callback)
        if response.status_code >= 400:
            raise AppAnsweredError(f"the app answered {response.status_code} to its own callback")
        self.connected = True

    def _carry_trace(self, request: httpx.Request) -> None:
        traceparent = self._trace()
        if traceparent is not None:
            request.headers["traceparent"] = traceparent

    def _note(self, response: httpx.Response) -> None:
        heard = answers.get()
        if heard is not None:
            heard[response.request.method, response.request.url.path] = response.status_code

    def __getattr__(self, name: str) -> Any:
        # Only for what httpx.Client lacks; the error says what there is.
        raise AttributeError(f"a person's client on a web app has no {name!r}", name=name, obj=self)
