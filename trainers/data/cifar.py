"""CIFAR-10 and CIFAR-100 through torchvision, from ``data_root`` or downloaded into it."""

from pathlib import Path

import numpy as np
import torch
from torchvision.datasets import CIFAR10, CIFAR100

from search_spaces.checks import BadInput

from .base import ImageData, Split, digest, held_out, mean_std, resized

VALIDATION = 5000


def load10(data_root: Path | None, resolution: int) -> ImageData:
    """10 classes, 45,000 training images; 5,000 of the training file are the validation split."""
    return _load("cifar10", CIFAR10, 10, data_root, resolution)


def load100(data_root: Path | None, resolution: int) -> ImageData:
    """100 classes, 45,000 training images; 5,000 of the training file are the validation split."""
    return _load("cifar100", CIFAR100, 100, data_root, resolution)


def _load(name: str, source: type[CIFAR10], classes: int, data_root: Path | None, resolution: int) -> ImageData:
    """ValueError if the files are neither there nor to be had."""
    if data_root is None:
        raise BadInput(f"{name} needs --data-root, the folder that holds it or that it is downloaded into")
    if not data_root.is_dir():
        raise BadInput(f"--data-root {data_root}: there is no such folder")
    whole, test = (_read(name, source, data_root, part) for part in (True, False))
    made_from = digest([whole.images, whole.labels, test.images, test.labels])
    scaled, test = (Split(resized(part.images, resolution), part.labels) for part in (whole, test))
    train, validation = held_out(scaled, min(VALIDATION, len(scaled) // 5))
    return ImageData(name, classes, train, validation, test, *mean_std(train.images), made_from)


def _read(name: str, source: type[CIFAR10], data_root: Path, train: bool) -> Split:
    try:
        found = source(str(data_root), train=train, download=True)
    except (OSError, RuntimeError) as error:
        raise BadInput(
            f"{name} is not in --data-root {data_root} and can't be downloaded: {' '.join(str(error).split())}"
        ) from None
    images = torch.from_numpy(np.asarray(found.data)).permute(0, 3, 1, 2).contiguous()
    return Split(images, torch.tensor(found.targets))
