"""A quota as a unit test: a function under virtual time against a provider, in a process of its own."""
