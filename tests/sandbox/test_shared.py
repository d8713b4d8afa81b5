"""The address of a Redis that sandboxes share, as it is written down."""

from __future__ import annotations

import pytest

from quotalab.sandbox.shared import without_password


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://127.0.0.1:6379/0#mine", "redis://127.0.0.1:6379/0#mine"),
        ("redis://127.0.0.1/0?password=secret", "redis://127.0.0.1/0"),
        ("rediss://me:secret@cache.test:6380/1", "rediss://cache.test:6380/1"),
        ("redis://:sec@ret@127.0.0.1/0", "redis://127.0.0.1/0"),
        ("redis://:sec/ret@127.0.0.1/0", "redis://127.0.0.1/0"),
        ("redis://:sec?ret@127.0.0.1/0", "redis://127.0.0.1/0"),
        ("redis://:sec#ret@127.0.0.1/0#mine", "redis://127.0.0.1/0#mine"),
        ("unix://me:secret@/run/redis.sock?db=2", "unix:///run/redis.sock"),
    ],
)
def test_no_part_of_a_password_is_written_down(url: str, told: str) -> None:
    """Whatever characters it holds."""
    assert without_password(url) == told
