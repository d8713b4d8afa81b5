"""Profiles: the TOML files that say what a provider allows, what people do, and how the app backs off."""
