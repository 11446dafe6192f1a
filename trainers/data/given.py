"""Data that a user has in Python: tensors, arrays, or data sets as torch has them; ``search(data=…)``."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from search_spaces.checks import BadInput

from . import GIVEN
from .base import ImageData, Split, digest, mean_std, resized

PARTS = ("train", "validation", "test")


def image_data(parts: Mapping[str, Any] | Sequence[Any], resolution: int) -> ImageData:
    """``train``, ``validation`` and ``test``, each images and labels, or a data set of pairs of them.

    Images are uint8 ``(N, 3, H, W)``, or floating-point in [0, 1]; those of a data set may be PIL's, and of any size.
    Grey ones ``(N, 1, H, W)`` get three channels. They are scaled to ``resolution``; classes count from 0.

    Raises:
        BadInput: a part is missing, or is something else.
    """
    named = dict(parts) if isinstance(parts, Mapping) else dict(zip(PARTS, parts, strict=False))
    if set(named) != set(PARTS):
        raise BadInput(f"data must have {', '.join(PARTS)}, in a mapping or in this order; got {', '.join(named)}")
    splits = {name: _split(name, named[name], resolution) for name in PARTS}
    classes = 1 + max(int(split.labels.max()) for split in splits.values())
    if classes < 2:
        raise BadInput("data must have two classes or more, got labels of 0 alone")
    mean, std = mean_std(splits["train"].images)
    found = digest(t for split in splits.values() for t in (split.images, split.labels))
    splits["validation"] = _shuffled(splits["validation"])  # its first images alone are scored between
    return ImageData(GIVEN, classes, **splits, mean=mean, std=std, digest=found)


def _shuffled(split: Split) -> Split:
    """Always the same way."""
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))
    return Split(split.images[order], split.labels[order])


def _split(name: str, part: Any, resolution: int) -> Split:
    images, labels = part if _is_pair(part) else _read(name, part, resolution)
    images, labels = _tensor(images), _tensor(labels).to(torch.int64)
    if images.dim() != 4 or images.shape[1] not in (1, 3) or labels.shape != images.shape[:1] or not len(labels):
        raise BadInput(
            f"data, {name}: images must be (N, 3, H, W) or (N, 1, H, W), and labels (N,), "
            f"got {tuple(images.shape)} and {tuple(labels.shape)}"
        )
    if int(labels.min()) < 0:
        raise BadInput(f"data, {name}: labels must be 0 or more, got {int(labels.min())}")
    return Split(resized(_bytes(name, images).expand(-1, 3, -1, -1).contiguous(), resolution), labels)


def _is_pair(part: Any) -> bool:
    arrays = (Tensor, np.ndarray)
    return isinstance(part, (tuple, list)) and len(part) == 2 and isinstance(part[0], arrays)


def _tensor(values: Any) -> Tensor:
    return values.cpu() if isinstance(values, Tensor) else torch.as_tensor(np.asarray(values))


def _bytes(name: str, images: Tensor) -> Tensor:
    """uint8, of what may be in [0, 1]."""
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point() or images.min() < 0 or images.max() > 1:
        raise BadInput(
            f"data, {name}: images must be uint8, or floating-point in [0, 1] (they are normalised by the search), "
            f"got {images.dtype} from {images.min().item():g} to {images.max().item():g}"
        )
    return (images * 255).round().to(torch.uint8)


def _read(name: str, source: Any, resolution: int) -> tuple[Tensor, Tensor]:
    """All items of a data set, each scaled and, where it is not square, cropped in the middle."""
    if not hasattr(source, "__getitem__") or not hasattr(source, "__len__"):
        raise BadInput(
            f"data, {name}: must be images and labels, or a data set with a length and (image, label) items, "
            f"got {type(source).__name__}"
        )
    fit = v2.Compose([v2.Resize(resolution, antialias=True), v2.CenterCrop(resolution)])
    images, labels = [], []
    for index in range(len(source)):
        image, label = source[index]
        pixels = image if isinstance(image, Tensor) else v2.functional.pil_to_tensor(image)
        images.append(fit(pixels if pixels.dim() == 3 else pixels[None]))
        labels.append(int(label))
    return torch.stack(images), torch.tensor(labels)
