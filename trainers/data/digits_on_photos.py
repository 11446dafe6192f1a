"""Real handwritten digits over crops of real photographs, from what scikit-learn ships: no download.

Digits and photo regions are split three ways, so that nothing of the validation or test images is trained on. The
training images are rendered afresh for every epoch.
"""

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits, load_sample_images
from torch import Tensor

from .base import AT_ONCE, ImageData, Split, digest, mean_std, resized

SIZE = 32
MAX_TURN = math.radians(20)
FRAGMENT = 9
CONTRAST = 0.6
SHARES = (0.6, 0.2, 0.2)
TRAIN, HELD_OUT = 4096, 8192


@dataclass(frozen=True)
class Sources:
    """What images are made of. ``digits`` (N, 8, 8) in [0, 1], ``labels`` (N,), ``photos`` (P, H, W, 3) in [0, 1]."""

    digits: Tensor
    labels: Tensor
    photos: Tensor

    def to(self, device: torch.device) -> "Sources":
        return Sources(self.digits.to(device), self.labels.to(device), self.photos.to(device))


@dataclass(frozen=True)
class DigitsOnPhotos(ImageData):
    """``ImageData`` whose training images are rendered anew for each epoch; that is all the augmentation it needs."""

    sources: Sources

    def to(self, device: torch.device) -> "DigitsOnPhotos":
        moved = super().to(device)
        assert isinstance(moved, DigitsOnPhotos)
        return DigitsOnPhotos(**{**moved.__dict__, "sources": self.sources.to(device)})

    def epoch(self, images: int, generator: torch.Generator) -> Split:
        split = render(self.sources, images, generator)
        size = self.validation.images.shape[-1]
        return Split(resized(split.images, size), split.labels)

    def augment(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        return batch


def load(data_root: Path | None, resolution: int) -> DigitsOnPhotos:
    """10 classes; 8,192 images each for validation and test, rendered once, the same on every machine."""
    parts = [_sources(i) for i in range(3)]
    train = render(parts[0], TRAIN, torch.Generator().manual_seed(0))
    validation, test = (_held_out(parts[i], torch.Generator().manual_seed(i)) for i in (1, 2))
    mean, std = mean_std(train.images)
    splits = [Split(resized(split.images, resolution), split.labels) for split in (train, validation, test)]
    return DigitsOnPhotos(
        "digits_on_photos", 10, splits[0], splits[1], splits[2], mean, std, _digest(parts), sources=parts[0]
    )


def _held_out(sources: Sources, generator: torch.Generator) -> Split:
    """``HELD_OUT`` images, rendered ``AT_ONCE`` at a time: the first ones don't depend on how many follow."""
    chunks = [render(sources, AT_ONCE, generator) for _ in range(HELD_OUT // AT_ONCE)]
    return Split(torch.cat([chunk.images for chunk in chunks]), torch.cat([chunk.labels for chunk in chunks]))


def _digest(parts: list[Sources]) -> str:
    """Of the digits and photographs as whole numbers, which they are: photos are means of four."""
    whole = ((p.digits * 16, p.labels, p.photos * (4 * 255)) for p in parts)
    rules = f"{SIZE} {MAX_TURN:.4f} {FRAGMENT} {CONTRAST} {SHARES} {TRAIN} {HELD_OUT} {AT_ONCE}"
    return digest(
        [rules.encode(), *(t.round().to(torch.int32) if t.is_floating_point() else t for p in whole for t in p)]
    )


def render(sources: Sources, count: int, generator: torch.Generator) -> Split:
    """``count`` images ``(count, 3, 32, 32)``: a turned, shifted, coloured digit over a dimmed crop, and a distractor.

    The distractor is one coloured 9×9 fragment of another digit: without it the task is too easy to tell networks
    apart, with more of it too hard to learn in a short training.
    """
    device = generator.device
    index, other = torch.randint(len(sources.labels), (2, count), generator=generator, device=device)
    crop = _photo_crops(sources.photos, count, generator)
    crop = crop * _uniform((count, 1, 1, 1), 0.2, 0.7, generator)
    brightness = crop.mean((1, 2, 3), keepdim=True)
    digit = _turned(sources.digits[index], generator)
    fragment = _turned(sources.digits[other], generator) * _window(count, generator)
    for mask in (fragment, digit):
        crop = torch.lerp(crop, _contrasting(brightness, generator), mask)
    return Split((crop * 255).round().clamp(0, 255).to(torch.uint8), sources.labels[index])


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device) * (high - low) + low


def _turned(digits: Tensor, generator: torch.Generator) -> Tensor:
    """Masks ``(N, 1, 32, 32)`` of digits ``(N, 8, 8)``: scaled to most of the frame, turned, shifted."""
    n = len(digits)
    angle = _uniform((n,), -MAX_TURN, MAX_TURN, generator)
    zoom = 1 / _uniform((n,), 0.7, 1.0, generator)
    shift = _uniform((2, n), -0.25, 0.25, generator)
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    theta = torch.stack([torch.stack([cos, -sin, shift[0]], 1), torch.stack([sin, cos, shift[1]], 1)], 1)
    grid = F.affine_grid(theta, [n, 1, SIZE, SIZE], align_corners=False)
    return F.grid_sample(digits[:, None], grid, align_corners=False).clamp(0, 1)


def _photo_crops(photos: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Random 32×32 crops ``(count, 3, 32, 32)`` of photos ``(P, H, W, 3)``, half of them mirrored."""
    device = generator.device
    p, h, w, _ = photos.shape
    photo = torch.randint(p, (count, 1, 1), generator=generator, device=device)
    top = torch.randint(h - SIZE + 1, (count, 1, 1), generator=generator, device=device)
    left = torch.randint(w - SIZE + 1, (count, 1, 1), generator=generator, device=device)
    pixels = torch.arange(SIZE, device=device)
    crops = photos[photo, top + pixels[:, None], left + pixels].permute(0, 3, 1, 2)
    mirrored = torch.rand((count, 1, 1, 1), generator=generator, device=device) < 0.5
    return torch.where(mirrored, crops.flip(3), crops)


def _window(count: int, generator: torch.Generator) -> Tensor:
    """Masks ``(count, 1, 32, 32)`` that are 1 in one 9×9 square."""
    corner = torch.randint(SIZE - FRAGMENT + 1, (2, count, 1), generator=generator, device=generator.device)
    pixels = torch.arange(SIZE, device=generator.device)
    rows, columns = ((pixels >= c) & (pixels < c + FRAGMENT) for c in corner)
    return (rows[:, :, None] & columns[:, None, :])[:, None].float()


def _contrasting(brightness: Tensor, generator: torch.Generator) -> Tensor:
    """A random colour ``(N, 3, 1, 1)`` whose strongest channel stands out from the background's brightness."""
    colour = _uniform((len(brightness), 3, 1, 1), 0.0, 1.0, generator)
    strongest = colour.amax(1, keepdim=True)
    return (colour / strongest * (brightness + CONTRAST)).clamp(0, 1)


@cache
def _sources(part: int) -> Sources:
    """Part 0 (train), 1 (validation) or 2 (test): 6, 2 or 2 of every ten digits, and a strip of each photo."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32) / 16
    labels = torch.tensor(digits.target, dtype=torch.int64)
    order = torch.argsort(labels, stable=True)  # so that each class is split alike
    position = torch.arange(len(order)) % 10
    chosen = order[torch.isin(position, torch.tensor([range(6), (6, 7), (8, 9)][part]))]
    photos = torch.stack([torch.tensor(p, dtype=torch.float32) for p in load_sample_images().images]) / 255
    half = F.avg_pool2d(photos.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
    width = half.shape[2]
    first = round(sum(SHARES[:part]) * width)
    last = round(sum(SHARES[: part + 1]) * width)
    return Sources(images[chosen], labels[chosen], half[:, :, first:last].contiguous())
