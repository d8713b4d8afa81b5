"""The way between app and provider: how long each leg of a call takes, by the profile's distribution.

Computing takes no virtual time, so latency has to be modelled.
"""

from __future__ import annotations

from hashlib import blake2b
from math import exp
from statistics import NormalDist

from quotalab.clock import Entropy
from quotalab.profiles.provider import Latency

__all__ = ["Network"]

_NORMAL = NormalDist()
_HALF = 2**-53


class Network:
    """Draws the two legs of each call.

    A draw is a keyed hash of who asks for what at which instant, not the next of a shared sequence: so
    another person's call never changes how long yours takes.
    """

    def __init__(self, latency: Latency, entropy: Entropy) -> None:
        self._median_ns = latency.median_ns
        self._sigma = latency.sigma
        self._key = entropy.key("network")

    @property
    def is_instant(self) -> bool:
        """Whether no call takes any time."""
        return not self._median_ns

    def legs_ns(self, who: str, what: str, sent_ns: int) -> tuple[int, int]:
        """Nanoseconds there and back."""
        if not self._median_ns:
            return 0, 0
        text = f"{sent_ns} {who} {what}".encode("utf-8", "surrogatepass")
        digest = blake2b(text, key=self._key, digest_size=16).digest()
        return self._leg_ns(digest[:8]), self._leg_ns(digest[8:])

    def _leg_ns(self, drawn: bytes) -> int:
        share = (int.from_bytes(drawn, "big") >> 12) * 2 * _HALF + _HALF  # in (0, 1)
        return int(self._median_ns * exp(self._sigma * _NORMAL.inv_cdf(share)))
