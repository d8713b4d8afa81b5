"""Randomness by purpose: repeatable from a seed, or the operating system's."""

from __future__ import annotations

import base64
import hashlib
import random
from os import urandom as _urandom  # this name stays the system's own when os.urandom is replaced

__all__ = ["SeededEntropy", "SystemEntropy"]

_BLOCK = hashlib.blake2b.MAX_DIGEST_SIZE


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


class SeededEntropy:
    """Everything drawn follows from ``seed`` and the purpose, on every machine and in every process.

    Never for secrets that guard anything real: who knows the seed knows every draw.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._tokens_drawn: dict[str, int] = {}

    def stream(self, *purpose: str) -> random.Random:
        """A fresh generator for the purpose; asked for again, it starts again from its first draw."""
        return random.Random(int.from_bytes(self._bytes("stream", purpose, 0, _BLOCK), "big"))

    def token(self, purpose: str, nbytes: int = 32) -> str:
        """The next token of the purpose's own sequence: ``nbytes`` bytes in URL-safe base64, unpadded."""
        drawn = self._tokens_drawn.get(purpose, 0)
        self._tokens_drawn[purpose] = drawn + 1
        return _base64(self._bytes("token", (purpose,), drawn, nbytes))

    def key(self, purpose: str, nbytes: int = 32) -> bytes:
        """The purpose's key of ``nbytes`` bytes, the same at every call."""
        return self._bytes("key", (purpose,), 0, nbytes)

    def __repr__(self) -> str:
        return f"SeededEntropy({self.seed})"

    def _bytes(self, kind: str, purpose: tuple[str, ...], number: int, nbytes: int) -> bytes:
        # Each part is preceded by its length, so that ("ab", "c") and ("a", "bc") are different purposes.
        parts = [part.encode("utf-8", "surrogatepass") for part in (str(self.seed), str(number), *purpose)]
        material = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        blocks = bytearray()
        for block in range(-(-nbytes // _BLOCK)):
            salt = block.to_bytes(hashlib.blake2b.SALT_SIZE, "big")
            blocks += hashlib.blake2b(material, salt=salt, person=kind.encode("ascii")).digest()
        return bytes(blocks[:nbytes])


class _SystemRandom(random.SystemRandom):
    """``random.SystemRandom`` over the system's own urandom; the original looks its module's up, which may
    have been seeded by then."""

    def random(self) -> float:
        return (int.from_bytes(_urandom(7), "big") >> 3) * 2.0**-53

    def getrandbits(self, k: int, /) -> int:
        if k < 0:
            raise ValueError("number of bits must be non-negative")
        nbytes = -(-k // 8)
        return int.from_bytes(_urandom(nbytes), "big") >> (nbytes * 8 - k)

    def randbytes(self, n: int) -> bytes:
        return _urandom(n)


class SystemEntropy:
    """The operating system's randomness, also in a process whose own generators are seeded."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str, int], bytes] = {}

    def stream(self, *purpose: str) -> random.Random:  # noqa: ARG002 - one source serves all purposes
        """A generator over the system's randomness."""
        return _SystemRandom()

    def token(self, purpose: str, nbytes: int = 32) -> str:  # noqa: ARG002
        """A new token: ``nbytes`` random bytes in URL-safe base64, unpadded."""
        return _base64(_urandom(nbytes))

    def key(self, purpose: str, nbytes: int = 32) -> bytes:
        """A key of ``nbytes`` random bytes, the same for this purpose as long as this object lives."""
        return self._keys.setdefault((purpose, nbytes), _urandom(nbytes))

    def __repr__(self) -> str:
        return "SystemEntropy()"
