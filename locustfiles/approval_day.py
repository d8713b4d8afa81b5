"""Is the app ready for the day of its approval?

Until noon it has twenty people at most and a hundred calls an hour. Then it is approved: five hundred people,
three hundred calls, and everybody who had waited is told.

quotalab run approval_day

A good app keeps to what it was granted until the last minute, takes up the new limit without a restart, and
does not let the crowd at its door run over that one too.
"""

from quotalab.scenario import Asked, PlannedPerson, operation


class Candidate(PlannedPerson):
    """Someone who tests the app, or who has waited to be let in."""

    provider = "temporary-production/approval"
    traffic = "approval-day"

    @operation(deadline="30s")
    def look_at_week(self, asked: Asked) -> object:
        return self.app.week(self.name, self.patience(asked))

    @operation(deadline="30s")
    def open_event(self, asked: Asked) -> object:
        return self.app.event(self.name, "7", self.patience(asked))

    @operation(deadline="10m")
    def add_event(self, asked: Asked) -> object:
        return self.app.add(self.name, "Review", self.patience(asked))
