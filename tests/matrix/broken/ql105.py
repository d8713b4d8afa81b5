"""Whoever was refused comes back at the very moment that was promised, without jitter."""

RULE = "QL105"
FOLLOWS = {
    "QL101",  # it has no budget, so that there is something to wait for
    "QL102",
    "QL108",
    "QL201",
    "QL502",
}
RUN = {"scenario": "overload", "users": 40, "for": "2h", "settings": ("limits.hourly.limit=30",)}
POLICY = {"budget": {"enabled": False}, "retry": {"jitter": "none"}}
