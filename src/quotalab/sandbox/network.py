"""How long a call takes, by the profile's distributions: each leg of its way, and the provider's work.

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
    """Draws the two legs of each call, and the work between them.

    A draw is a keyed hash of who asks for what at which instant, not the next of a shared sequence: so
    another person's call never changes how long yours takes.
    """

    def __init__(self, latency: Latency, entropy: Entropy) -> None:
        self._median_ns = latency.median_ns
        self._sigma = latency.sigma
        self._work_ns = latency.work_ns
        self._work_sigma = latency.work_sigma
        self._key = entropy.key("network")
        self._work_key = entropy.key("work")

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
        median_ns, sigma = self._median_ns, self._sigma
        return _lognormal_ns(median_ns, sigma, digest[:8]), _lognormal_ns(median_ns, sigma, digest[8:])

    def work_ns(self, who: str, what: str, at_ns: int, median_ns: int | None) -> int:
        """Nanoseconds for which an admitted call is under way at the provider; None: the profile's median."""
        median_ns = self._work_ns if median_ns is None else median_ns
        if not median_ns:
            return 0
        text = f"{at_ns} {who} {what}".encode("utf-8", "surrogatepass")
        drawn = blake2b(text, key=self._work_key, digest_size=8).digest()
        return _lognormal_ns(median_ns, self._work_sigma, drawn)


def _lognormal_ns(median_ns: int, sigma: float, drawn: bytes) -> int:
    """A draw about the median, from eight bytes that are as good as drawn evenly."""
    share = (int.from_bytes(drawn, "big") >> 12) * 2 * _HALF + _HALF  # in (0, 1)
    return int(median_ns * exp(sigma * _NORMAL.inv_cdf(share)))
