"""Whoever watches a search: the terminal, the log, the tools of the trade. None of it changes anything."""
