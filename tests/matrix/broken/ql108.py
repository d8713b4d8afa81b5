"""It learns of the limit by being refused, with as many calls under way as there are people."""

RULE = "QL108"
FOLLOWS = {
    "QL101",  # it has no budget
    "QL102",  # what is overrun has no headroom
    "QL106",  # whoever came first is served from what the app has since
    "QL201",  # and it goes on when it has been told
    "QL501",  # and one attempt
    "QL503",  # people see the refusal
    "QL504",  # and nobody asks again
}
RUN = {"scenario": "overload", "users": 60, "for": "30s", "settings": ("limits.hourly.limit=30",)}
POLICY = {"budget": {"enabled": False}, "retry": {"attempts": 1}}
