"""Composes a run: clock, sandbox, app, scenario and ledger; drives Locust."""
