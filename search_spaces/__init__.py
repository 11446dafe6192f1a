"""What can be chosen: operators, backbones, spaces and architectures.

The names below are imported when they are first used: ``search_spaces.checks`` and ``search_spaces.catalogue`` are
wanted by programs that must answer before torch is there.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .architecture import Architecture, Backbone, build, load_architecture, proxy_of
    from .catalogue import list_spaces
    from .folding import fold
    from .inheritance import inherit
    from .slots import VANILLA, Choice, Slot, convert, find_slots
    from .space import Option, Space, Variable, load_space

_HOMES = {
    "architecture": ("Architecture", "Backbone", "build", "load_architecture", "proxy_of"),
    "catalogue": ("list_spaces",),
    "folding": ("fold",),
    "inheritance": ("inherit",),
    "slots": ("VANILLA", "Choice", "Slot", "convert", "find_slots"),
    "space": ("Option", "Space", "Variable", "load_space"),
}

__all__ = [
    "VANILLA",
    "Architecture",
    "Backbone",
    "Choice",
    "Option",
    "Slot",
    "Space",
    "Variable",
    "build",
    "convert",
    "find_slots",
    "fold",
    "inherit",
    "list_spaces",
    "load_architecture",
    "load_space",
    "proxy_of",
]


def __getattr__(name: str) -> Any:
    home = next((module for module, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
    return found
