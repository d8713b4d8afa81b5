"""The matrix of runs: many side by side, what they say together, and how they differ from accepted ones."""
