"""Data sets by name. One file each; a new one is a file plus a line here."""

from collections.abc import Callable
from pathlib import Path

from . import digits_on_photos
from .base import ImageData, Split

DATASETS: dict[str, Callable[[Path | None, int], ImageData]] = {
    "digits_on_photos": digits_on_photos.load,
}

__all__ = ["DATASETS", "ImageData", "Split"]
