"""The training recipe of a proxy: all that decides a training but the data, the network and the seed."""

from dataclasses import dataclass

from search_spaces.checks import BadInput


@dataclass(frozen=True)
class Recipe:
    """SGD with Nesterov momentum under a one-cycle learning rate, with label smoothing.

    Args:
        epochs, images_per_epoch, batch: length of the training; ``images_per_epoch`` at most the data set's.
        peak_lr: the highest learning rate, after ``warmup`` (a fraction of all steps).
        head_lr: the classifier's rate, as a share of the others': its features are not normalised, so that at the
            full rate it oscillates, and the network learns nothing until the rate has fallen.
    """

    epochs: int = 8
    images_per_epoch: int = 1536
    batch: int = 32
    peak_lr: float = 0.3
    head_lr: float = 0.1
    warmup: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1

    def __post_init__(self) -> None:
        for name in ("epochs", "images_per_epoch", "batch"):
            if getattr(self, name) < 1:
                raise BadInput(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches only: a last, smaller one would weigh its images more."""
        return max(1, self.images_per_epoch // self.batch)

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch


@dataclass(frozen=True)
class FullRecipe:
    """The full training of an exported architecture, as its YAML words it: SGD, step schedule.

    Args:
        lr_steps: epochs after which the learning rate is divided by ``lr_divisor``.
        augmentation: names in torchvision's terms.
    """

    dataset: str
    epochs: int
    batch: int
    lr: float
    lr_steps: tuple[int, ...]
    lr_divisor: float
    momentum: float
    weight_decay: float
    augmentation: tuple[str, ...]
    source: str


def full_recipe(resolution: int) -> FullRecipe:
    """SPConv's recipes: ImageNet (Section 4.2) for large inputs, CIFAR (Section 4.1) up to 64 pixels."""
    if resolution > 64:
        augmentation = (f"random_resized_crop {resolution}", "horizontal_flip")
        return FullRecipe(
            "imagefolder", 90, 256, 0.1, (30, 60), 10, 0.9, 1e-4, augmentation, "Split to Be Slim, Section 4.2"
        )
    augmentation = (f"random_crop {resolution} padding 4", "horizontal_flip")
    return FullRecipe(
        "cifar10", 200, 128, 0.1, (50, 100, 150), 10, 0.9, 5e-4, augmentation, "Split to Be Slim, Section 4.1"
    )
