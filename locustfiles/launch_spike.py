"""Does the app survive its launch?

At noon it is in the news, and four times as many people come as on other days.

quotalab run launch_spike

The load halves every half hour. A good app serves what it has to those who only look, keeps its calls for
those who change something, and is back to normal when the spike is over: no retry keeps it alive.
"""

from quotalab.scenario import Asked, PlannedPerson, operation


class Visitor(PlannedPerson):
    """Someone who uses the app by day, or has just heard of it."""

    traffic = "launch-spike"

    @operation(deadline="30s")
    def look_at_week(self, asked: Asked) -> object:
        return self.app.week(self.name, self.patience(asked))

    @operation(deadline="30s")
    def open_event(self, asked: Asked) -> object:
        return self.app.event(self.name, "7", self.patience(asked))

    @operation(deadline="10m")
    def add_event(self, asked: Asked) -> object:
        return self.app.add(self.name, "Review", self.patience(asked))
