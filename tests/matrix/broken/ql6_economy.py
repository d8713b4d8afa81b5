"""Integrations that ask for more than they need."""

from contextvars import Context
from dataclasses import replace

import gevent
from reference_variants import Calendar, reference

from quotalab.reference import Patience

CASES = [
    {
        "RULE": "QL601",
        "TOLD": "It asks for everybody's calendar every five minutes.",
        "build": "polling",
        "RUN": {"users": 20, "for": "3h", "settings": ("limits.hourly.limit=1000",)},
        "POLICY": {"budget": {"calls": 1000}},
    },
    {
        "RULE": "QL602",
        "TOLD": "It keeps no ETag, at a provider that sends one.",
        "RUN": {
            "users": 60,
            "for": "3h",
            "settings": ("dialect.headers=[{name='ETag', value='\"a1\"'}]",),
        },
    },
    {
        "RULE": "QL603",
        "TOLD": "Two parts of its page fetch the same list, one after the other.",
        "build": "reading_twice",
        "RUN": {"users": 30, "for": "2h", "settings": ("limits.hourly.limit=1000",)},
        "FOLLOWS": {
            "QL604",  # two calls of one operation to one target
        },
    },
    {
        "RULE": "QL604",
        "TOLD": "It fetches the list again after showing it, to be sure.",
        "build": "reading_again",
        "RUN": {"users": 30, "for": "2h", "settings": ("limits.hourly.limit=1000",)},
    },
    {
        "RULE": "QL605",
        "TOLD": "It fills the app's limit with calls for one person.",
        "build": "reading_much",
        "RUN": {
            "scenario": "overload",
            "users": 1,
            "for": "2h",
            "settings": ("limits.hourly.limit=100",),
        },
        "FOLLOWS": {
            "QL601",  # overload is somebody who asks all the time, as a timer would
            "QL603",  # and for the same thing
        },
    },
    {
        "RULE": "QL606",
        "TOLD": "It reads every event of the week one by one.",
        "build": "one_by_one",
        "RUN": {"users": 20, "for": "2h", "settings": ("limits.hourly.limit=5000",)},
        "POLICY": {"budget": {"calls": 5000}},
        "FOLLOWS": {
            "QL604",  # which takes as many calls as there are events
        },
    },
    {
        "RULE": "QL607",
        "TOLD": "It exports in pages of the default size.",
        "build": "small_pages",
        "RUN": {"provider": "strava", "users": 60, "for": "6h"},
    },
]

_MINUTE_NS = 60 * 10**9


class Polling(Calendar):
    def connected(self, callback):
        person = super().connected(callback)
        # In no context of an operation: it is a timer's work, and nobody's.
        gevent.spawn(Context().run, self._poll, person)
        return person

    def _poll(self, person):
        while True:
            self._clock.sleep_ns(5 * _MINUTE_NS)
            self.week(person, Patience(self._clock.now_ns() + _MINUTE_NS, interactive=False))


class ReadingTwice(Calendar):
    def week(self, person, patience):
        super().week(person, patience)
        return super().week(person, patience)


class ReadingAgain(Calendar):
    def week(self, person, patience):
        shown = super().week(person, patience)
        self._clock.sleep_ns(8 * 10**9)
        super().week(person, patience)
        return shown


class OneByOne(Calendar):
    def week(self, person, patience):
        shown = super().week(person, patience)
        for number in range(1, 13):
            self.event(person, str(number), patience)
        return shown


def polling(access):
    return reference(access, Polling)


def reading_twice(access):
    return reference(access, ReadingTwice)


def reading_again(access):
    return reference(access, ReadingAgain)


def reading_much(access):
    return reference(access)


def one_by_one(access):
    return reference(access, OneByOne)


def small_pages(access):
    app = reference(access)
    app._api = replace(app._api, list_all=None)
    return app
