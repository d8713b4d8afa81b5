"""Its request budget is larger than what the provider allows."""

RULE = "QL101"
FOLLOWS = {
    "QL102",  # what is overrun has no headroom
    "QL108",  # and calls under way go beyond it too
    "QL208",  # it asks once, as a second attempt would hide how much more it wants
    "QL501",  # people whose calls are refused get nothing
    "QL503",  # it asks once, and so shows the refusal
    "QL504",  # what was refused is lost
}
RUN = {"users": 100, "for": "3h", "settings": ("limits.hourly.limit=20",)}
POLICY = {"budget": {"calls": 40}, "retry": {"attempts": 1}}
