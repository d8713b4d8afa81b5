"""Draws by purpose."""

import base64
import os
import random
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from quotalab.clock import Entropy, SeededEntropy, SystemEntropy

purposes = st.lists(st.text(max_size=8), min_size=1, max_size=3).map(tuple)
seeds = st.integers()


def draws(entropy: Entropy, *purpose: str) -> list[float]:
    generator = entropy.stream(*purpose)
    return [generator.random() for _ in range(3)]


def test_streams_tokens_and_keys_are_pinned():
    """What a seed gives is part of the contract: they never change, or old runs cannot be repeated."""
    entropy = SeededEntropy(7)
    assert entropy.stream("person", "17").getrandbits(64) == 9273073619908806279
    assert entropy.token("access", 12) == "QtzjgQMrKylcCZE7"
    assert entropy.token("access", 12) == "Xdjb9NKq-blWeOlM"
    assert entropy.key("ledger", 8).hex() == "f6a0167f6fca6cdb"


def test_a_draw_does_not_depend_on_the_hash_seed():
    """Two processes with different PYTHONHASHSEED draw the same."""
    code = (
        "from quotalab.clock import SeededEntropy; e = SeededEntropy(3);"
        "print(e.token('a'), e.key('b'), e.stream('c', 'd').random())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(seen) == 1


@given(seeds, purposes, purposes)
def test_drawing_for_one_purpose_changes_no_other(seed, mine, other):
    """However much other purposes draw, and in whatever order, mine sees the same stream, tokens and key."""
    quiet, busy = SeededEntropy(seed), SeededEntropy(seed)
    name = "".join(mine)
    for _ in range(3):
        busy.stream(*other).random()
        busy.key("".join(other))
        if "".join(other) != name:
            busy.token("".join(other))
    assert draws(busy, *mine) == draws(quiet, *mine)
    assert busy.key(name) == quiet.key(name)
    assert [busy.token(name) for _ in range(3)] == [quiet.token(name) for _ in range(3)]


@given(seeds, purposes, purposes)
def test_different_purposes_draw_differently(seed, mine, other):
    """Two purposes share a stream exactly when they are the same, however their parts are cut."""
    entropy = SeededEntropy(seed)
    assert (draws(entropy, *mine) == draws(entropy, *other)) == (mine == other)


@given(seeds, seeds)
def test_different_seeds_draw_differently(one, two):
    """Two seeds give the same exactly when they are equal; a negative seed is not its absolute value."""
    assert (draws(SeededEntropy(one), "p") == draws(SeededEntropy(two), "p")) == (one == two)


@given(st.integers(0, 200))
def test_tokens_are_unpadded_url_safe_base64_of_the_asked_length(nbytes):
    """A token decodes to ``nbytes`` bytes and consists of URL-safe characters, from either source."""
    for entropy in (SeededEntropy(1), SystemEntropy()):
        token = entropy.token("access", nbytes)
        assert "=" not in token
        assert len(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)) == nbytes
        assert len(entropy.key("k", nbytes)) == nbytes


def test_tokens_of_one_purpose_are_distinct():
    """A purpose's tokens never repeat."""
    for entropy in (SeededEntropy(1), SystemEntropy()):
        assert len({entropy.token("access") for _ in range(1000)}) == 1000


def test_a_token_is_no_key():
    """A purpose's first token does not give its key away."""
    entropy = SeededEntropy(1)
    assert entropy.token("same") != base64.urlsafe_b64encode(entropy.key("same")).rstrip(b"=").decode()


def test_the_system_keeps_a_key_for_each_purpose():
    """The system's keys are constant by purpose and differ between purposes and between objects."""
    entropy = SystemEntropy()
    assert entropy.key("a") == entropy.key("a")
    assert entropy.key("a") != entropy.key("b")
    assert entropy.key("a") != SystemEntropy().key("a")


def test_the_system_is_not_reached_by_seeding(monkeypatch):
    """When os.urandom and random are seeded, the system's entropy still does not repeat itself."""
    monkeypatch.setattr(os, "urandom", bytes)
    monkeypatch.setattr(random, "_urandom", bytes)
    entropy = SystemEntropy()
    generator = entropy.stream("x")
    assert entropy.token("t", 16) != "A" * 22
    assert entropy.key("k", 16) != bytes(16)
    assert generator.random() != 0
    assert generator.getrandbits(128) != 0
    assert generator.randbytes(16) != bytes(16)
    assert generator.getrandbits(3) < 8
