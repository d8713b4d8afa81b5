"""It sends calls side by side where the provider allows one at a time."""

RULE = "QL104"
FOLLOWS = {
    "QL101",  # a refused call is an overrun
    "QL102",  # and leaves no headroom
}
RUN = {
    "users": 60,
    "for": "2h",
    "settings": (
        "limits.hourly.limit=10000",
        "latency.work=20s",
        "limits.together.kind=concurrency",
        "limits.together.limit=1",
        "limits.together.source.where=a test",
        "limits.together.source.confidence=own",
    ),
}
POLICY = {"budget": {"calls": 10000}}
