"""Image data in memory: uint8 on the device that trains, augmented there in batches."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

AT_ONCE = 2048  # images that are in memory as floating-point numbers, while data is loaded


@dataclass(frozen=True)
class Split:
    """``images`` uint8 ``(N, 3, H, W)`` and ``labels`` int64 ``(N,)``."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, part: slice) -> "Split":
        return Split(self.images[part], self.labels[part])

    def to(self, device: torch.device) -> "Split":
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class ImageData:
    """A data set: what is trained on, what trials are scored on, and what the search never sees.

    ``mean`` and ``std`` are the training images', per channel, of values in [0, 1]; ``digest`` is a hash of what it was
    made from, before any arithmetic that machines round differently.
    """

    name: str
    classes: int
    train: Split
    validation: Split
    test: Split
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    digest: str

    def fingerprint(self) -> dict[str, Any]:
        """What tells this data from other data of the same name, in plain values."""
        counts = {part: len(getattr(self, part)) for part in ("train", "validation", "test")}
        rounded = {name: [round(v, 3) for v in getattr(self, name)] for name in ("mean", "std")}
        return {"classes": self.classes, **counts, **rounded, "digest": self.digest}

    def to(self, device: torch.device) -> "ImageData":
        splits = {key: getattr(self, key).to(device) for key in ("train", "validation", "test")}
        return type(self)(**{**self.__dict__, **splits})

    def epoch(self, images: int, generator: torch.Generator) -> Split:
        """One epoch's training images in random order: ``images`` of them, at most all there are."""
        order = torch.randperm(len(self.train), generator=generator, device=generator.device)[:images]
        return Split(self.train.images[order], self.train.labels[order])

    def augment(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Mirror half of the images and shift each by up to an eighth of its size; ``(B, 3, H, W)`` → the same."""
        return random_shift(random_mirror(batch, generator), batch.shape[-1] // 8, generator)

    def normalise(self, batch: Tensor) -> Tensor:
        """uint8 ``(B, 3, H, W)`` → float of mean 0 and standard deviation 1, channels last in memory."""
        mean, std = _mean_std(tuple(self.mean), tuple(self.std), batch.device)
        return ((batch - mean) / std).contiguous(memory_format=torch.channels_last)


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _mean_std(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Of values up to 255, each ``(1, 3, 1, 1)``: on the device once, since a GPU would be waited for each time."""
    of_mean, of_std = (torch.tensor(v, device=device).view(1, 3, 1, 1) * 255 for v in (mean, std))
    return of_mean, torch.where(of_std > 0, of_std, 1.0)  # a channel that is the same everywhere is no nan


def random_mirror(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image with probability 1/2."""
    chosen = torch.rand(len(batch), 1, 1, 1, generator=generator, device=batch.device) < 0.5
    return torch.where(chosen, batch.flip(3), batch)


def random_shift(batch: Tensor, reach: int, generator: torch.Generator) -> Tensor:
    """Pad by ``reach`` zeros and crop each image back to its size at random."""
    n, _, h, w = batch.shape
    padded = F.pad(batch, (reach,) * 4)
    top, left = torch.randint(2 * reach + 1, (2, n, 1), generator=generator, device=batch.device)
    rows = top + torch.arange(h, device=batch.device)
    columns = left + torch.arange(w, device=batch.device)
    image = torch.arange(n, device=batch.device)
    return padded.permute(0, 2, 3, 1)[image[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def mean_std(images: Tensor) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Per channel, of uint8 images ``(N, 3, H, W)`` scaled to [0, 1]."""
    channels = images.float().transpose(0, 1).flatten(1) / 255
    (m0, m1, m2), (s0, s1, s2) = channels.mean(1).tolist(), channels.std(1).tolist()
    return (m0, m1, m2), (s0, s1, s2)


def resized(images: Tensor, size: int) -> Tensor:
    """uint8 ``(N, C, H, W)`` → uint8 ``(N, C, size, size)``; the same images where that is their size."""
    if images.shape[-2:] == (size, size):
        return images
    return torch.cat([_scaled(part, size) for part in images.split(AT_ONCE)])


def _scaled(images: Tensor, size: int) -> Tensor:
    scaled = F.interpolate(images.float(), size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    return scaled.round().clamp(0, 255).to(torch.uint8)


def held_out(split: Split, count: int) -> tuple[Split, Split]:
    """Split in two at random, always alike: all but ``count`` images, and ``count`` images."""
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))
    rest, part = order[count:], order[:count]
    return Split(split.images[rest], split.labels[rest]), Split(split.images[part], split.labels[part])


def digest(parts: Iterable[bytes | memoryview | Tensor]) -> str:
    """A hash of bytes and of tensors on the CPU."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part.contiguous().numpy().tobytes() if isinstance(part, Tensor) else part)
    return found.hexdigest()[:32]
