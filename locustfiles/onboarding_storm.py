"""Does sign-up hold when everybody connects at once?

A newsletter brings two hundred new people in an hour.

quotalab run onboarding_storm

Each connects an account and wants the first month at once. A good app connects people whatever its quota,
shows that it is still fetching, and imports in the background: nobody's sign-up fails, and no import eats
the calls that somebody waits for.
"""

from quotalab.scenario import Asked, PlannedPerson, operation


class Newcomer(PlannedPerson):
    """Someone who has just read about the app."""

    traffic = "onboarding-storm"

    @operation(deadline="2m")
    def look_at_week(self, asked: Asked) -> object:
        return self.app.week(self.name, self.patience(asked))

    @operation(deadline="12h", interactive=False)
    def export_calendar(self, asked: Asked) -> object:
        return self.app.export(self.name, self.patience(asked))
