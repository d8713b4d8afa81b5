"""The test phase: what holds until the provider has approved the app, and the instant at which it does."""

from __future__ import annotations

from collections.abc import Iterable

from quotalab.profiles.provider import Provider
from quotalab.sandbox.record import Recorder

__all__ = ["Phase"]


class Phase:
    """Asked with the present time; from the instant of approval on nothing of the test phase holds.

    `people` are those who have accounts, in order: the first of them are the listed test users. The
    approval is written down as an event of that very instant, once time has come to it.
    """

    def __init__(self, provider: Provider, people: Iterable[str], start_ns: int, recorder: Recorder) -> None:
        phase = provider.test_phase
        self._recorder = recorder
        self._forbidden = frozenset(phase.forbidden_scopes)
        self._restricted = frozenset(phase.restricted_scopes)
        self._listed = None if phase.listed_people is None else frozenset((*people,)[: phase.listed_people])
        self._unverified = phase.unverified
        self._usual_ns = provider.oauth.refresh_token_lifetime_ns
        self._shorter_ns = self._usual_ns
        if phase.refresh_token_lifetime_ns is not None:
            self._shorter_ns = min(self._usual_ns, phase.refresh_token_lifetime_ns)
        approval = provider.approved
        self._why = approval.why if approval is not None else ""
        self._ends_ns = start_ns + approval.after_ns if approval is not None else None
        self._over = False

    def is_over(self, now_ns: int) -> bool:
        """Whether the app has been approved."""
        if not self._over and self._ends_ns is not None and self._ends_ns <= now_ns:
            self._over = True
            self._recorder.event("approved", None, self._ends_ns, why=self._why)
        return self._over

    def forbids(self, scope: str, now_ns: int) -> bool:
        """Whether one of the scopes may not be asked for yet."""
        return not self._forbidden.isdisjoint(scope.split()) and not self.is_over(now_ns)

    def restricted(self, now_ns: int) -> frozenset[str]:
        """The scopes that the consent page warns of."""
        return frozenset() if self.is_over(now_ns) else self._restricted

    def is_open_to(self, person: str, now_ns: int) -> bool:
        """Whether the person may connect the app."""
        return self._listed is None or person in self._listed or self.is_over(now_ns)

    def warns(self, now_ns: int) -> bool:
        """Whether the consent page says that the app has not been reviewed."""
        return self._unverified and not self.is_over(now_ns)

    def refresh_token_lifetime_ns(self, now_ns: int) -> int:
        """How long a refresh token lasts that is issued now."""
        return self._usual_ns if self.is_over(now_ns) else self._shorter_ns
