"""Every published row of both papers beside ours: ``python -m nas.papers``."""
