"""A run's folder: what is in it, who may write it, and its copy. Needs neither torch nor Ray."""

from .run import Run

__all__ = ["Run"]
