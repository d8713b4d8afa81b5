"""Its request budget is larger than what the provider allows."""

RULE = "QL101"
FOLLOWS = {
    "QL102",  # what is overrun has no headroom
    "QL501",  # people whose calls are refused get nothing
}
RUN = {"users": 100, "for": "3h", "settings": ("limits.hourly.limit=20",)}
POLICY = {"budget": {"calls": 40}, "retry": {"attempts": 1}}
