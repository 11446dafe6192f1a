"""Data sets by name. One file each; a new one is a file plus a line here."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from .base import ImageData, Split

Load = Callable[[Path | None, int], ImageData]


def _late(module: str, function: str = "load") -> Load:
    """Imports its module when it is called: torchvision and sklearn are two seconds, 200 MiB, and often not needed."""

    def load(data_root: Path | None, resolution: int) -> ImageData:
        found: Load = getattr(import_module(f"{__name__}.{module}"), function)
        return found(data_root, resolution)

    return load


DATASETS: dict[str, Load] = {
    "digits_on_photos": _late("digits_on_photos"),
    "cifar10": _late("cifar", "load10"),
    "cifar100": _late("cifar", "load100"),
    "imagefolder": _late("imagefolder"),
}

__all__ = ["DATASETS", "ImageData", "Split"]
