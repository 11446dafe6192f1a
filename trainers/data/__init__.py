"""Data sets by name. One file each; a new one is a file plus a line here.

Each is a function ``(data_root, resolution) -> ImageData``; torchvision and sklearn are imported when one is loaded.
"""

from typing import TYPE_CHECKING

from search_spaces.late import Late

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .base import ImageData

DATASETS: "dict[str, Callable[[Path | None, int], ImageData]]" = {
    "digits_on_photos": Late("trainers.data.digits_on_photos", "load"),
    "cifar10": Late("trainers.data.cifar", "load10"),
    "cifar100": Late("trainers.data.cifar", "load100"),
    "fashion_mnist": Late("trainers.data.mnist", "load_fashion"),
    "mnist": Late("trainers.data.mnist", "load_mnist"),
    "imagefolder": Late("trainers.data.imagefolder", "load"),
}
GIVEN = "given"  # data that a Python program hands over: search(data=…)
STAND_INS = ("digits_on_photos",)  # for quick proxies: nobody deploys a network that was trained on it
