"""Does the app help a provider that is down, or keep it down?

From ten to eleven every call is answered 503, with five minutes to wait. Then the phones wake up that had
held back what was asked of them.

quotalab run outage_and_recovery

A good app asks seldom while the provider is down, shows what it has, and fails fast where it has nothing.
When the provider is back, what has waited comes spread out and within the limit, and soon all is as before.
"""

from quotalab.scenario import Asked, PlannedPerson, operation


class Commuter(PlannedPerson):
    """Someone whose phone keeps what could not be sent."""

    provider = "temporary-production/outage"
    traffic = "outage-and-recovery"

    @operation(deadline="30s")
    def look_at_week(self, asked: Asked) -> object:
        return self.app.week(self.name, self.patience(asked))

    @operation(deadline="30s")
    def open_event(self, asked: Asked) -> object:
        return self.app.event(self.name, "7", self.patience(asked))

    @operation(deadline="10m")
    def add_event(self, asked: Asked) -> object:
        return self.app.add(self.name, "Review", self.patience(asked))
