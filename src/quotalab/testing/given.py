"""What a function under test is given: a provider's side of things, and people who consent."""

from __future__ import annotations

import tempfile
from base64 import urlsafe_b64encode
from pathlib import Path

import httpx

from quotalab.reference.authorization import Authorizer, BearerAuth
from quotalab.reference.tokens import TokenStore
from quotalab.sandbox import Access
from quotalab.scenario.stage import Stage

__all__ = ["Given"]

_REFRESH_BEFORE_NS = 60 * 10**9


class Given:
    """The provider, as a developer meets it."""

    def __init__(self, stage: Stage, people: tuple[str, ...]) -> None:
        self._stage = stage
        self._folder = tempfile.TemporaryDirectory(prefix="quotalab-test-")
        self.people = people
        """The names of the people that there are."""
        self.access: Access = stage.access
        """API base, endpoints, client id and secret, redirect URI; the transport where it is in memory."""
        self._client = httpx.Client(transport=self.access.transport, timeout=30)
        self._authorizer = Authorizer(
            self.access,
            self._client,
            TokenStore(Path(self._folder.name), urlsafe_b64encode(stage.entropy.key("test-token-store"))),
            stage.clock,
            stage.entropy,
            scope=_scope(stage),
            refresh_before_ns=_REFRESH_BEFORE_NS,
        )

    def consent(self, address: str, person: str | None = None) -> str:
        """The address at which the person comes back, having consented at the provider's `address`."""
        return self._stage.browser(person or self.people[0]).visit(address, self.access.redirect_uri)

    def token(self, person: str | None = None) -> str:
        """A valid access token; the first time the person consents, later it is refreshed when it is due."""
        person = person or self.people[0]
        if not self._authorizer.is_connected(person):
            self._authorizer.finish(self.consent(self._authorizer.start(person), person))
        return self._authorizer.token(person)

    def client(self, person: str | None = None) -> httpx.Client:
        """An HTTP client on the API that sends the person's token; close it when it is no longer needed."""
        person = person or self.people[0]
        self.token(person)
        return httpx.Client(
            transport=self.access.transport,
            base_url=self.access.api_base,
            auth=BearerAuth(self._authorizer, person),
            timeout=30,
        )

    def close(self) -> None:
        """Forget the tokens."""
        self._client.close()
        self._folder.cleanup()


def _scope(stage: Stage) -> str:
    """All scopes that the provider gives in its present phase."""
    provider = stage.provider
    untaken = {*provider.test_phase.forbidden_scopes, *provider.test_phase.restricted_scopes}
    return provider.oauth.scope_delimiter.join(scope for scope in provider.scopes if scope not in untaken)
