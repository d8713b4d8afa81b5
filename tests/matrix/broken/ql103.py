"""It counts its calls by the hours of the clock, and spends what it saved up at the turn of the hour."""

from __future__ import annotations

from reference_variants import Calendar, reference

from quotalab.reference import Declined

RULE = "QL103"
FOLLOWS = {
    "QL501",  # what comes later in the hour is declined
}
RUN = {"users": 150, "for": "3h", "settings": ("limits.hourly.limit=20", "limits.hourly.kind=fixed_window")}
_HOUR_NS = 3600 * 10**9


class ByTheHour:
    """A budget that begins anew at each full hour."""

    def __init__(self, clock, calls):
        self._clock, self._calls = clock, calls
        self._hour = self._used = 0

    def acquire(self, who, *, interactive, deadline_ns):
        hour = self._clock.now_ns() // _HOUR_NS
        if hour != self._hour:
            self._hour, self._used = hour, 0
        if self._used == self._calls:
            raise Declined("this hour's calls are gone")
        self._used += 1
        return []

    def settle(self, accounts):
        pass

    def heed(self, who, headers):
        pass

    def close(self, who, duration_ns):
        pass


class OnTheHour(Calendar):
    def __init__(self, access, policy, api, *, clock, **more):
        super().__init__(access, policy, api, clock=clock, **more)
        self._budget = ByTheHour(clock, 19)


def build(access):
    return reference(access, OnTheHour)
