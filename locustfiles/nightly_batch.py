"""Does the nightly batch leave room for people?

A cron job exports everybody's calendar at two o'clock.

quotalab run nightly_batch

A good app spreads the batch over the hours until it is due, keeps room for whoever is awake, and does not
start all of it at the full minute, as cron does.
"""

from quotalab.scenario import Asked, PlannedPerson, operation


class Sleeper(PlannedPerson):
    """Someone whose calendar is backed up while they sleep, and who looks at it by day."""

    traffic = "nightly-batch"

    @operation(deadline="30s")
    def look_at_week(self, asked: Asked) -> object:
        return self.app.week(self.name, self.patience(asked))

    @operation(deadline="30s")
    def open_event(self, asked: Asked) -> object:
        return self.app.event(self.name, "7", self.patience(asked))

    @operation(deadline="6h", interactive=False)
    def export_calendar(self, asked: Asked) -> object:
        return self.app.export(self.name, self.patience(asked))
