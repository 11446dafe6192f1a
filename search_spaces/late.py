"""Things that are looked up by name and imported only when they are used: torch alone takes two seconds."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Late:
    """The function ``name`` of ``module``, imported when it is called. It can be pickled wherever it was made."""

    module: str
    name: str

    def __call__(self, *arguments: Any) -> Any:
        return getattr(import_module(self.module), self.name)(*arguments)
