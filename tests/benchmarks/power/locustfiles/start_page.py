"""Forty people open a start page that asks for three things at once, while a sync works in the background."""

from quotalab.scenario import Asked, PlannedPerson, operation


class Visitor(PlannedPerson):
    """Someone whose start page shows the week and the next event."""

    traffic = "start-page"

    @operation(deadline="30m")
    def look_at_week(self, asked: Asked) -> object:
        return self.app.week(self.name, self.patience(asked))

    @operation(deadline="30m")
    def open_event(self, asked: Asked) -> object:
        return self.app.event(self.name, "7", self.patience(asked))

    @operation(deadline="3h", interactive=False)
    def sync_calendar(self, asked: Asked) -> object:
        return self.app.week(self.name, self.patience(asked))
