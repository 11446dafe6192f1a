"""Data sets by name. One file each; a new one is a file plus a line here."""

from collections.abc import Callable
from pathlib import Path

from . import cifar, digits_on_photos, imagefolder
from .base import ImageData, Split

DATASETS: dict[str, Callable[[Path | None, int], ImageData]] = {
    "digits_on_photos": digits_on_photos.load,
    "cifar10": cifar.load10,
    "cifar100": cifar.load100,
    "imagefolder": imagefolder.load,
}

__all__ = ["DATASETS", "ImageData", "Split"]
