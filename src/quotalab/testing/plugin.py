"""The pytest plugin: the fixture `under_quota`. Nothing is loaded before a test asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from quotalab.testing.asking import UnderQuota

__all__ = ["under_quota"]


@pytest.fixture
def under_quota(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> UnderQuota:
    """Run a function under virtual time against a provider; see `quotalab.testing.asking.UnderQuota`."""
    from quotalab.testing.asking import UnderQuota

    return UnderQuota(tmp_path_factory.mktemp("quotalab"), request.config.rootpath)
