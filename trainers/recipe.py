"""The training recipe of a proxy: all that decides a training but the data, the network and the seed."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal, get_args

from search_spaces.checks import BadInput, require_known

Optimizer = Literal["adamw", "sgd"]


@dataclass(frozen=True)
class Recipe:
    """A learning rate that rises linearly, then falls linearly to zero, with label smoothing and averaged weights.

    Weights of convolutions and linear layers decay; those of BatchNorm and biases do not.

    Args:
        epochs, images_per_epoch, batch: length of the training; ``images_per_epoch`` at most the data set's.
        optimizer: ``adamw``, or ``sgd`` with Nesterov's momentum ``beta1``.
        peak_lr: the highest learning rate, after ``warmup`` (a fraction of all steps).
        beta1, beta2: AdamW's averages of the gradient and of its square.
        averaged: the share of all steps, the last ones, over which the weights that are scored are averaged, each
            average being ``decay`` of the former one and the rest of the new weights; 0 scores the last weights.
    """

    epochs: int = 8
    images_per_epoch: int = 1536
    batch: int = 32
    peak_lr: float = 0.01
    warmup: float = 0.2
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    optimizer: Optimizer = "adamw"
    averaged: float = 0.3
    decay: float = 0.97

    def __post_init__(self) -> None:
        require_known("optimizer", self.optimizer, get_args(Optimizer))
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

    @property
    def images(self) -> int:
        """That a whole training sees."""
        return self.steps * self.batch


# Half of what counts as a long training here: what is chosen by it holds there (benchmarks/README.md, fidelity).
SCRATCH = Recipe(epochs=20, batch=64, optimizer="sgd", peak_lr=0.1, weight_decay=5e-4, averaged=0.0)
INHERITED = Recipe(epochs=4, peak_lr=5e-3)  # a candidate that starts from trained weights
PARENT = Recipe(epochs=12, images_per_epoch=2048)  # the vanilla network that it starts from
RECIPES = {"scratch": SCRATCH, "inherited": INHERITED}  # judge → its recipe; ``Recipe()`` is that of all others


def scaled(recipe: Recipe, own: Recipe, judge: str) -> Recipe:
    """``recipe`` as much longer or shorter than usual as a judge's ``own`` one is.

    By SGD it has no fewer images an epoch: too few steps would leave it on its first plateau.
    """
    usual = RECIPES.get(judge, Recipe())
    epochs = max(1, round(recipe.epochs * own.epochs / usual.epochs))
    images = max(1, round(recipe.images_per_epoch * own.images_per_epoch / usual.images_per_epoch))
    least = recipe.images_per_epoch if recipe.optimizer == "sgd" else 1
    return replace(recipe, epochs=epochs, images_per_epoch=max(least, images))


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


COMPCONV_CIFAR = FullRecipe(
    *("cifar10", 150, 128, 0.1, (60, 120), 20, 0.9, 5e-4, ("random_crop 32 padding 4", "horizontal_flip")),
    source="CompConv, Section 4.1; the weight decay is not given: a common value",
)
FULL_RECIPES = {
    "spconv_cifar10": FullRecipe(
        *("cifar10", 200, 128, 0.1, (50, 100, 150), 10, 0.9, 5e-4, ("random_crop 32 padding 4", "horizontal_flip")),
        source="Split to Be Slim, Section 4.1; epochs, momentum and augmentation are not given: common values",
    ),
    "resnet20_cifar10": FullRecipe(
        *("cifar10", 164, 128, 0.1, (82, 123), 10, 0.9, 1e-4, ("random_crop 32 padding 4", "horizontal_flip")),
        source="Deep Residual Learning, Section 4.2, to which Split to Be Slim, Section 4.1, refers: 64k steps",
    ),
    "spconv_imagenet": FullRecipe(
        *("imagefolder", 90, 256, 0.1, (30, 60), 10, 0.9, 1e-4, ("random_resized_crop 224", "horizontal_flip")),
        source="Split to Be Slim, Section 4.2",
    ),
    "spconv_coco": FullRecipe(
        *("coco", 12, 16, 0.02, (8, 11), 10, 0.9, 1e-4, ("resize 800 1333", "horizontal_flip")),
        source="Split to Be Slim, Section 4.3: MMDetection's defaults, its 1x schedule",
    ),
    "compconv_cifar10": COMPCONV_CIFAR,
    "compconv_cifar100": replace(COMPCONV_CIFAR, dataset="cifar100"),
    "compconv_imagenet": FullRecipe(
        *("imagefolder", 100, 256, 0.1, (30, 60, 90), 10, 0.9, 1e-4, ("random_resized_crop 224", "horizontal_flip")),
        source="CompConv, Section 4.1; the weight decay is not given: a common value",
    ),
    "compconv_coco": FullRecipe(
        *("coco", 12, 16, 0.01, (8, 11), 10, 0.9, 1e-4, ("resize 800 1333", "horizontal_flip")),
        source="CompConv, Section 4.1",
    ),
}


OF_BACKBONE = {  # SPConv's recipe, CompConv's recipe: each paper trains the network in its own way
    "resnet18": ("spconv_imagenet", "compconv_imagenet"),
    "resnet50": ("spconv_imagenet", "compconv_imagenet"),
    "resnet18_cifar": ("spconv_cifar10", "compconv_cifar10"),
    "resnet20": ("resnet20_cifar10", "compconv_cifar10"),
    "resnet50_cifar": ("spconv_cifar10", "compconv_cifar10"),
    "vgg16": ("spconv_cifar10", "compconv_cifar10"),
    "vgg16_two_fc": ("spconv_cifar10", "compconv_cifar10"),
}

UNMIRRORED = ("mnist",)  # a mirrored digit is none


def full_recipe(backbone: str, resolution: int, operators: Collection[str], dataset: str | None) -> FullRecipe:
    """How an architecture is trained in full: by the paper that trained its backbone with its operators.

    Args:
        resolution: of the input, in pixels; the augmentation's sizes follow it.
        operators: those that the architecture may have; CompConv's recipe where it has no other but vanilla.
        dataset: what it is to be trained on; ``None`` is the paper's own.
    """
    of_compconv = "compconv" in operators and not set(operators) - {"compconv", "vanilla"}
    recipe = FULL_RECIPES[OF_BACKBONE[backbone][of_compconv]]
    kept = (step for step in recipe.augmentation if dataset not in UNMIRRORED or step != "horizontal_flip")
    sized = tuple(_at(resolution, step) for step in kept)
    return replace(recipe, dataset=dataset or recipe.dataset, augmentation=sized)


def _at(resolution: int, step: str) -> str:
    """``random_crop 32 padding 4`` at another size of the input."""
    name, *words = step.split()
    return " ".join([name, str(resolution), *words[1:]]) if name in ("random_crop", "random_resized_crop") else step
