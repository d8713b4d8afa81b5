"""Its request budget keeps no margin below the limit."""

RULE = "QL102"
FOLLOWS = {
    "QL501",  # more is asked than there is, and the budget declines it
}
RUN = {"users": 100, "for": "3h", "settings": ("limits.hourly.limit=20",)}
POLICY = {"budget": {"calls": 20, "margin": 0.0}}
