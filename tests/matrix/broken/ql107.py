"""It goes on asking for events that are gone, until the provider blocks it."""

from __future__ import annotations

from reference_variants import Calendar, reference

RULE = "QL107"
FOLLOWS = {
    "QL101",  # the block refuses calls
    "QL501",  # and what is missing cannot be shown
    "QL504",  # what was refused is not asked for again
    "QL603",  # two of a person's own calls met, as the block ended
}
RUN = {
    "users": 60,
    "for": "3h",
    "settings": (
        "limits.mistakes.kind=penalty",
        "limits.mistakes.statuses=[404]",
        "limits.mistakes.threshold=4",
        "limits.mistakes.window=1h",
        "limits.mistakes.block=10m",
        "limits.mistakes.source.where=a test",
        "limits.mistakes.source.confidence=own",
    ),
}


class Forgetful(Calendar):
    def event(self, person, event, patience):
        return super().event(person, "999999", patience)


def build(access):
    return reference(access, Forgetful)
