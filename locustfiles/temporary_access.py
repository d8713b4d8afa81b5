"""An office day on temporary production access: people look at, open, add and export calendar events.

quotalab run temporary_access
quotalab run temporary_access --provider strava
locust -f locustfiles/temporary_access.py --headless -u 200 -t 1h     (an hour of the day, in an hour)
"""

from quotalab.scenario import Asked, PlannedPerson, operation


class OfficeWorker(PlannedPerson):
    """Someone whose calendar comes from the provider."""

    traffic = "office-day"

    @operation(deadline="30s")
    def look_at_week(self, asked: Asked) -> object:
        return self.app.week(self.name, self.patience(asked))

    @operation(deadline="30s")
    def open_event(self, asked: Asked) -> object:
        return self.app.event(self.name, "7", self.patience(asked))

    @operation(deadline="10m")
    def add_event(self, asked: Asked) -> object:
        return self.app.add(self.name, "Review", self.patience(asked))

    @operation(deadline="12h", interactive=False)
    def export_calendar(self, asked: Asked) -> object:
        return self.app.export(self.name, self.patience(asked))
