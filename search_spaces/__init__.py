"""What can be chosen: operators, backbones, spaces and architectures."""

from .architecture import Architecture, Backbone, build, load_architecture, proxy_of
from .folding import fold
from .slots import VANILLA, Choice, Slot, convert, find_slots
from .space import Option, Space, Variable, list_spaces, load_space

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
    "list_spaces",
    "load_architecture",
    "load_space",
    "proxy_of",
]
