"""Stopping rules by name: when a trial that can't matter any more is ended. A new one is a file plus a line here.

Each is a function of the problem, as samplers have it, that returns a ``Rule``.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from search_spaces.late import Late

from ..record import Record

if TYPE_CHECKING:
    from ..samplers.problem import Problem

Rule = Callable[[Record, Sequence[Record]], str | None]
"""``(running, ended)`` → why a candidate that has come so far is to be stopped, or ``None``.

``running`` is its record as it would be if it ended now, ``ended`` are the candidates' so far. References are never
stopped.
"""

STOPPING: "dict[str, Callable[[Problem], Rule]]" = {
    "none": Late("nas.stopping.none", "make"),
    "front": Late("nas.stopping.front", "make"),
}
