"""A metric, a judge and a stopping rule as someone would add them: each one file, and a line in its list."""
