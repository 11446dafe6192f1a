"""The full training of an architecture: both papers' recipes, and how a YAML words one."""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from search_spaces.checks import BadInput, require_known

Schedule = Literal["step", "cosine", "one_cycle"]
BESIDE = ("classes", "detector")  # what a YAML's section says beside the recipe; the latter null, in older ones


@dataclass(frozen=True)
class FullRecipe:
    """The full training of an exported architecture, as the section ``training`` of its YAML words it: by SGD.

    Args:
        batch: images of one step, whatever parts they go through in.
        lr: the highest learning rate; ``schedule`` says how it falls: by ``lr_divisor`` after each of ``lr_steps``
            (epochs), along a cosine to 0, or in one cycle that rises over ``warmup_epochs`` and falls to 0.
        warmup_epochs: over which it rises linearly first.
        weight_decay: of all parameters; without ``decay_norms`` not of scales, shifts and biases.
        augmentation: names and numbers in torchvision's terms: ``trainers.full.augmentation``.
        label_smoothing: share of the target that all classes have alike.
        distillation: the share of the loss that is the distance from a teacher's predictions, where there is one, both
            softened by ``temperature`` (Hinton et al., *Distilling the Knowledge in a Neural Network*, 2015).
        ema: decay of the average over the steps' weights that is scored; 0 scores the last weights.
        source: where it is from, and what had to be added.
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
    schedule: Schedule = "step"
    warmup_epochs: int = 0
    nesterov: bool = False
    decay_norms: bool = True
    label_smoothing: float = 0.0
    ema: float = 0.0
    distillation: float = 0.5
    temperature: float = 4.0

    def __post_init__(self) -> None:
        require_known("schedule", self.schedule, get_args(Schedule))
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise BadInput(f"training: {name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.distillation <= 1:
            raise BadInput(f"training: distillation must be between 0 and 1, got {self.distillation}")
        for name in ("lr", "lr_divisor", "temperature"):
            if not 0 < getattr(self, name) < math.inf:
                raise BadInput(f"training: {name} must be above 0, got {getattr(self, name)}")
        for name in ("momentum", "label_smoothing", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise BadInput(f"training: {name} must be at least 0 and below 1, got {getattr(self, name)}")
        if not 0 <= self.weight_decay < math.inf:
            raise BadInput(f"training: weight_decay must be at least 0, got {self.weight_decay}")
        if not 0 <= self.warmup_epochs < self.epochs:
            raise BadInput(
                f"training: warmup_epochs must be at least 0 and below the {self.epochs} epochs, "
                f"got {self.warmup_epochs}"
            )

    def as_long_as(self, epochs: int) -> "FullRecipe":
        """Another length: the epochs after which the rate falls, and the warm-up, move with it."""
        if epochs < 1:
            raise BadInput(f"--epochs must be at least 1, got {epochs}")
        share = epochs / self.epochs
        steps = tuple(max(1, round(step * share)) for step in self.lr_steps)  # the first epoch is by the whole rate
        return replace(
            self, epochs=epochs, lr_steps=steps, warmup_epochs=min(epochs - 1, round(self.warmup_epochs * share))
        )


def recipe_from(document: object) -> FullRecipe:
    """The section ``training`` of an architecture's YAML; BadInput says what is wrong with it."""
    if not isinstance(document, Mapping):
        raise BadInput(f"'training' must be a mapping, as a search exports it, got {document!r}")
    known = {field.name: field for field in fields(FullRecipe)}
    for name in document:
        require_known("key in training", name, [*known, *BESIDE])
    if missing := [n for n in list(known)[:REQUIRED] if n not in document]:
        raise BadInput(f"training lacks {', '.join(missing)}")
    return FullRecipe(**{name: _value(name, document[name]) for name in known if name in document})


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_word(value: object) -> bool:
    return isinstance(value, str)


def _is_switch(value: object) -> bool:
    return isinstance(value, bool)


def _is_list_of(kind: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, (list, tuple)) and all(map(kind, value))


REQUIRED = 10  # fields of a recipe, the first ones
KINDS = {
    **dict.fromkeys(("dataset", "source", "schedule"), (_is_word, "a word")),
    **dict.fromkeys(("epochs", "batch", "warmup_epochs"), (_is_whole, "a whole number")),
    **dict.fromkeys(("nesterov", "decay_norms"), (_is_switch, "true or false")),
    "lr_steps": (_is_list_of(_is_whole), "a list of epochs"),
    "augmentation": (_is_list_of(_is_word), "a list of steps in words"),
}


def _value(name: str, value: Any) -> Any:
    check, right = KINDS.get(name, (_is_number, "a number"))
    if not check(value):
        raise BadInput(f"training: {name} must be {right}, got {value!r}")
    return tuple(value) if isinstance(value, list) else value


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


OF_DETECTORS = ("spconv_coco", "compconv_coco")
OF_BACKBONE = {  # SPConv's recipe, CompConv's recipe: each paper trains the network in its own way
    "resnet18": ("spconv_imagenet", "compconv_imagenet"),
    "resnet50": ("spconv_imagenet", "compconv_imagenet"),
    "resnet18_cifar": ("spconv_cifar10", "compconv_cifar10"),
    "resnet20": ("resnet20_cifar10", "compconv_cifar10"),
    "resnet50_cifar": ("spconv_cifar10", "compconv_cifar10"),
    "vgg16": ("spconv_cifar10", "compconv_cifar10"),
    "vgg16_two_fc": ("spconv_cifar10", "compconv_cifar10"),
}

SMALL = 64  # pixels: up to here a network that no paper trained is trained as on CIFAR, above as on ImageNet
UNMIRRORED = ("mnist", "digits_on_photos")  # a mirrored digit is none


def full_recipe(
    backbone: str, resolution: int, operators: Collection[str], dataset: str | None, detector: bool = False
) -> FullRecipe:
    """How an architecture is trained in full: by the paper that trained its backbone with its operators.

    Args:
        resolution: of the input, in pixels; the augmentation's sizes follow it.
        operators: those that the architecture may have; CompConv's recipe where it has no other but vanilla.
        dataset: what it is to be trained on; ``None`` is the paper's own.
        detector: whether a detector is built on it, which is trained on COCO, whatever its backbone was judged by.
    """
    of_compconv = "compconv" in operators and not set(operators) - {"compconv", "vanilla"}
    if detector:
        return sized(FULL_RECIPES[OF_DETECTORS[of_compconv]], resolution)
    others = OF_BACKBONE["resnet50" if resolution > SMALL else "resnet50_cifar"]
    recipe = FULL_RECIPES[OF_BACKBONE.get(backbone, others)[of_compconv]]
    return on_data(sized(recipe, resolution), dataset or recipe.dataset)


def on_data(recipe: FullRecipe, dataset: str) -> FullRecipe:
    """For other data: what must not be mirrored is not."""
    kept = tuple(s for s in recipe.augmentation if dataset not in UNMIRRORED or s != "horizontal_flip")
    return replace(recipe, dataset=dataset, augmentation=kept)


def sized(recipe: FullRecipe, resolution: int) -> FullRecipe:
    """For another size of the input: the augmentation's sizes follow it."""
    return replace(recipe, augmentation=tuple(_at(resolution, step) for step in recipe.augmentation))


def _at(resolution: int, step: str) -> str:
    """``random_crop 32 padding 4`` at another size of the input."""
    name, *words = step.split()
    if name == "resize":
        return f"resize {resolution} {round(resolution * float(words[1]) / float(words[0]))}"
    return " ".join([name, str(resolution), *words[1:]]) if name in ("random_crop", "random_resized_crop") else step
