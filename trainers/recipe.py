"""The training recipe of a proxy: all that decides a training but the data, the network and the seed."""

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
STARTED = Recipe(images_per_epoch=2048, peak_lr=5e-3)  # the same from weights that were trained for other classes
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
