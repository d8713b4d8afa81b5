"""Whoever was refused comes back at the very moment that was promised, without jitter."""

RULE = "QL105"
FOLLOWS = {
    "QL101",  # it has no budget, so that there is something to wait for
    "QL102",  # what is overrun has no headroom
    "QL108",  # calls under way overshoot by nature
    "QL201",  # others call before the promised end
    "QL502",  # whoever is told to come back in an hour waits for it
}
RUN = {"scenario": "overload", "users": 40, "for": "2h", "settings": ("limits.hourly.limit=30",)}
POLICY = {"budget": {"enabled": False}, "retry": {"jitter": "none"}}
