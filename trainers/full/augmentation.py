"""A recipe's augmentation, in words, as torchvision's transforms: ``random_crop 32 padding 4``, ``horizontal_flip``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torchvision.transforms import v2

from search_spaces.checks import BadInput, require_known

Numbers = Sequence[float]


@dataclass(frozen=True)
class Step:
    """A word of a recipe: ``usage`` as it is written; the numbers of it that may be left out come last.

    Args:
        numbers: the fewest and the most.
        normalised: whether it is done to floats of mean 0 and deviation 1, not to bytes.
    """

    usage: str
    numbers: tuple[int, int]
    make: Callable[[Numbers], v2.Transform]
    normalised: bool = False


STEPS = {
    "random_crop": Step(
        "random_crop SIZE [padding PIXELS]",
        (1, 2),
        lambda n: v2.RandomCrop(int(n[0]), padding=int(n[1]) if len(n) > 1 else None),
    ),
    "random_resized_crop": Step(
        "random_resized_crop SIZE [LEAST_SHARE]",
        (1, 2),
        lambda n: v2.RandomResizedCrop(int(n[0]), scale=(n[1] if len(n) > 1 else 0.08, 1.0), antialias=True),
    ),
    "horizontal_flip": Step("horizontal_flip", (0, 0), lambda n: v2.RandomHorizontalFlip()),
    "color_jitter": Step("color_jitter STRENGTH", (1, 1), lambda n: v2.ColorJitter(n[0], n[0], n[0])),
    "rand_augment": Step("rand_augment", (0, 0), lambda n: v2.RandAugment()),
    "trivial_augment": Step("trivial_augment", (0, 0), lambda n: v2.TrivialAugmentWide()),
    "random_erasing": Step("random_erasing SHARE", (1, 1), lambda n: v2.RandomErasing(n[0]), normalised=True),
}


def augmentation(steps: Sequence[str], mean: Sequence[float], std: Sequence[float]) -> v2.Transform:
    """uint8 ``(3, H, W)`` → float ``(3, H', W')`` of mean 0 and standard deviation 1.

    Args:
        steps: as a recipe words them, in their order.
        mean, std: per channel, of values in [0, 1].

    Raises:
        BadInput: a step that is not known, or that has not the right numbers.
    """
    made = [_made(step) for step in steps]
    before = [transform for transform, normalised in made if not normalised]
    after = [transform for transform, normalised in made if normalised]
    return v2.Compose([*before, *normalisation(mean, std), *after])


RESIZE = "resize"  # SHORTER LONGEST: a detector does it itself
OF_BOXES = ("horizontal_flip", "color_jitter")  # steps that keep boxes right


def augmentation_of_boxes(steps: Sequence[str]) -> v2.Transform:
    """For images with boxes: to floats in [0, 1]; a detector resizes and normalises by itself.

    Raises:
        BadInput: a step that is not known there, or that has not the right numbers.
    """
    words = [step for step in steps if step.split()[:1] != [RESIZE]]
    for step in words:
        require_known("step of a detector's augmentation", (step.split() or [""])[0], (RESIZE, *OF_BOXES))
    return v2.Compose([*(_made(step)[0] for step in words), v2.ToDtype(torch.float32, scale=True)])


def resizing(steps: Sequence[str]) -> tuple[int, int] | None:
    """A detector's sizes in pixels, of the shorter side and at most of the longer one; ``None`` if none are named."""
    found = [step.split()[1:] for step in steps if step.split()[:1] == [RESIZE]]
    if not found:
        return None
    try:
        shorter, longest = map(int, found[0])
    except ValueError:
        raise BadInput(f"augmentation: must be written as {RESIZE} SHORTER LONGEST, got {found[0]}") from None
    return shorter, longest


def normalisation(mean: Sequence[float], std: Sequence[float]) -> list[v2.Transform]:
    """A channel that is the same everywhere tells nothing: it is not divided by 0."""
    return [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(mean), [s if s > 0 else 1.0 for s in std])]


def _made(words: str) -> tuple[v2.Transform, bool]:
    name, *rest = words.split() or [""]
    require_known("step of the augmentation", name, STEPS)
    step = STEPS[name]
    try:
        numbers = [float(word) for word in rest if word != "padding"]
        if not step.numbers[0] <= len(numbers) <= step.numbers[1]:
            raise ValueError
        return step.make(numbers), step.normalised
    except ValueError:
        raise BadInput(f"augmentation: {words!r} must be written as {step.usage}") from None
