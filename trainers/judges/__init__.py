"""Judges by name: how a candidate gets its accuracy. One file each; a new one is a file plus a line here.

Each is a function of a ``Setting`` that returns a ``Judge`` (both in ``base``).
"""

from typing import TYPE_CHECKING

from search_spaces.late import Late

if TYPE_CHECKING:
    from collections.abc import Callable

    from .base import Judge, Setting

JUDGES: "dict[str, Callable[[Setting], Judge]]" = {
    "scratch": Late("trainers.judges.scratch", "Scratch"),
    "inherited": Late("trainers.judges.inherited", "Inherited"),
}
WANT_PARENT = ("inherited",)  # judges whose candidates start from a trained vanilla proxy
