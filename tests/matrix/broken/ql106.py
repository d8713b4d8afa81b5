"""Every fourth person is given nothing of what the budget has."""

from __future__ import annotations

from reference_variants import Calendar, reference

from quotalab.reference import Declined

RULE = "QL106"
FOLLOWS = {
    "QL501",  # those people are declined
    "QL601",  # the people of its scenario ask for one event, over and over
    "QL603",
}
RUN = {"scenario": "overload", "users": 12, "for": "1m", "settings": ("limits.hourly.limit=2000",)}
POLICY = {"budget": {"calls": 2000}}


class Unfair(Calendar):
    def _send(self, person, request, *, interactive, deadline_ns):
        if int(person.lstrip("p")) % 4 == 0:
            raise Declined("others come first")
        return super()._send(person, request, interactive=interactive, deadline_ns=deadline_ns)


def build(access):
    return reference(access, Unfair)
