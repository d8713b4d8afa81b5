"""The limits' state in Redis, for several sandboxes that are one provider."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import unquote, urlsplit

from quotalab.errors import InputError, StateLostError
from quotalab.profiles.limits import Limit
from quotalab.quota import Selection
from quotalab.quota.redis import RedisEngine, SharedDecision
from quotalab.sandbox.limits import MakeEngine, OnChange
from quotalab.sandbox.record import Recorder

__all__ = ["in_redis", "without_password"]


class _WatchedEngine(RedisEngine):
    """Writes down when its state goes out of reach, and when it is back."""

    def __init__(self, limits: Sequence[Limit], url: str, recorder: Recorder, **more: object) -> None:
        self._recorder = recorder
        self._is_lost = False
        super().__init__(limits, url, on_loss=self._forgotten, **more)  # type: ignore[arg-type]

    def decide(
        self,
        now_ns: int,
        selection: Selection,
        caller: Mapping[str, str],
        *,
        objects: int = 0,
        objects_asked: int = 0,
        answered_ns: int | None = None,
        charge: bool = True,
    ) -> SharedDecision:
        try:
            decision = super().decide(
                now_ns,
                selection,
                caller,
                objects=objects,
                objects_asked=objects_asked,
                answered_ns=answered_ns,
                charge=charge,
            )
        except StateLostError:
            if not self._is_lost:
                self._is_lost = True
                self._recorder.event("state-lost", None, why="Redis is out of reach")
            raise
        if self._is_lost:
            self._is_lost = False
            self._recorder.event("state-back", None)
        return decision

    def _forgotten(self) -> None:
        self._recorder.event("state-lost", None, why="Redis had forgotten it")


def in_redis(url: str, provider: str) -> MakeEngine:
    """Makes engines with their state in the Redis at `url`, whose fragment may name the deployment.

    Raises `InputError` for what is no such address.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise InputError("--redis: is no address such as redis://127.0.0.1:6379/0") from None
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise InputError("--redis: must be an address such as redis://127.0.0.1:6379/0")
    name = unquote(parts.fragment) or "quotalab:" + re.sub(r"[^\w.-]", ":", provider, flags=re.ASCII)

    def make(
        what: str, limits: Sequence[Limit], start_ns: int, on_change: OnChange | None, recorder: Recorder
    ) -> RedisEngine:
        return _WatchedEngine(
            limits,
            parts._replace(fragment="").geturl(),
            recorder,
            prefix=f"{name}:{what}",
            start_ns=start_ns,
            on_change=on_change,
        )

    return make


def without_password(url: str) -> str:
    """The address as it may be written down: nothing up to its last ``@``, for a password may hold anything,
    and nothing of its query, where redis-py takes one too."""
    scheme, slashes, rest = url.partition("//")
    return scheme + slashes + rest.rpartition("@")[2].partition("?")[0]
