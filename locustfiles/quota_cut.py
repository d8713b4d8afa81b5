"""Does the app notice that its quota was cut?

At noon a hundred calls an hour become forty. No letter comes: the next answer says so.

quotalab run quota_cut
quotalab run quota_cut --set 'timetable=[{after="12h", why="the provider is strict", limits={hourly=20}}]'

A good app learns of it from the first answer, shares what it knows among all that it does, and lives within
the new limit from then on: it waits as long as it is told, serves people from what it has, and lets the
background wait. That the last hour was above the new limit is nobody's fault, and the report says it
(QL102).
"""

from quotalab.scenario import Asked, PlannedPerson, operation


class Colleague(PlannedPerson):
    """Someone whose calendar the app also looks after by itself."""

    provider = "temporary-production/quota-cut"
    traffic = "quota-cut"

    @operation(deadline="30s")
    def look_at_week(self, asked: Asked) -> object:
        return self.app.week(self.name, self.patience(asked))

    @operation(deadline="30s")
    def open_event(self, asked: Asked) -> object:
        return self.app.event(self.name, "7", self.patience(asked))

    @operation(deadline="4h", interactive=False)
    def sync_calendar(self, asked: Asked) -> object:
        return self.app.week(self.name, self.patience(asked))
