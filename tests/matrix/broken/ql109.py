"""It does not read the header that says how much is left."""

RULE = "QL109"
FOLLOWS = {
    "QL102",  # what is overrun has no headroom
    "QL201",  # a refusal is not read either
    "QL501",  # it does not ask again
    "QL504",  # what was refused is not asked for again
}
RUN = {
    "provider": "ietf-draft-10",
    "users": 100,
    "for": "2h",
    "settings": ("limits.daily.limit=3",),
}
POLICY = {"budget": {"enabled": False}, "retry": {"attempts": 1}}
