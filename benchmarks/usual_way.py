"""The search of ``usual.py``, as it is usually written: from Ray Tune's, PyTorch's and torchvision's tutorials.

Stock ``OptunaSearch``, a function trainable, a ``Dataset`` with torchvision's transforms on one image at a time, a
``DataLoader`` without workers (each trial has one core), float32. Digits are PIL images, as torchvision's own data sets
give them: turning one takes a third as long as turning a tensor. It keeps no checkpoints, which ours do. The networks,
the recipe and the images that are scored are ours; so are the digits and photographs that training images are made of,
by the same rules. Nothing here is run by itself.
"""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

import ray
import torch
import torch.nn.functional as F
from optuna.distributions import CategoricalDistribution
from ray import tune
from ray.tune.search.optuna import OptunaSearch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode, v2

from nas.cost.flops import count_flops
from search_spaces import Space, proxy_of
from trainers.data.base import Split
from trainers.data.digits_on_photos import CONTRAST, FRAGMENT, SIZE, DigitsOnPhotos, Sources
from trainers.recipe import Recipe

FRAME = 10 * SIZE // 8  # a digit's 8 × 8 pixels with one of background around them, enlarged
TURN, SHIFT, ZOOM = 20, 3.4 / FRAME, (0.7, 1.0)  # as wide a scatter of places as ours, in whole pixels
DIM = (0.2, 0.7)
SCORING = 256  # images at once


@dataclass(frozen=True)
class Asked:
    """``flops``: the budget. ``width``, ``resolution``: the proxy's."""

    space: Space
    flops: float
    recipe: Recipe
    width: float
    resolution: int
    seed: int


class TrainingImages(Dataset):
    """Each image is made anew whenever it is asked for: a digit and a fragment of another on a dimmed photograph."""

    def __init__(self, sources: Sources, images: int, finish: v2.Transform) -> None:
        framed = v2.functional.resize(F.pad(sources.digits[:, None], (1, 1, 1, 1)), [FRAME, FRAME])  # once, for all
        self.digits = [v2.functional.to_pil_image(digit) for digit in framed]
        self.labels, self.photos = sources.labels.tolist(), sources.photos.permute(0, 3, 1, 2).contiguous()
        self.images = images
        self.crop = v2.Compose([v2.RandomCrop(SIZE), v2.RandomHorizontalFlip()])
        affine = v2.RandomAffine(TURN, (SHIFT, SHIFT), ZOOM, interpolation=InterpolationMode.BILINEAR)
        self.turn = v2.Compose([affine, v2.CenterCrop(SIZE), v2.PILToTensor()])
        self.finish = finish

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        digit, other = (random.randrange(len(self.labels)) for _ in range(2))
        image = self.crop(self.photos[random.randrange(len(self.photos))]) * random.uniform(*DIM)
        brightness = float(image.mean())
        top, left = (random.randrange(SIZE - FRAGMENT + 1) for _ in range(2))
        window = (slice(None), slice(top, top + FRAGMENT), slice(left, left + FRAGMENT))
        fragment = self.turn(self.digits[other])[window] / 255
        image[window] = torch.lerp(image[window], contrasting(brightness), fragment)
        image = torch.lerp(image, contrasting(brightness), self.turn(self.digits[digit]) / 255)
        return self.finish(image), self.labels[digit]


class ScoredImages(Dataset):
    """The very images that our trials are scored on."""

    def __init__(self, split: Split, finish: v2.Transform) -> None:
        self.images, self.labels, self.finish = split.images, split.labels.tolist(), finish

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.finish(self.images[index]), self.labels[index]


def contrasting(brightness: float) -> Tensor:
    """A random colour ``(3, 1, 1)`` that stands out from the background."""
    colour = torch.rand(3, 1, 1)
    return (colour / colour.max() * (brightness + CONTRAST)).clamp(0, 1)


def training_images(data: DigitsOnPhotos, images: int, resolution: int) -> TrainingImages:
    finish = v2.Compose([v2.Resize(resolution), v2.Normalize(data.mean, data.std)])
    return TrainingImages(data.sources, images, finish)


def scored_images(split: Split, data: DigitsOnPhotos) -> ScoredImages:
    return ScoredImages(split, v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(data.mean, data.std)]))


def train(config: Mapping[str, int], asked: Asked, data: DigitsOnPhotos) -> None:
    """One trial: FLOPs first; a candidate that is over the budget has the worst score, and is not trained."""
    started, spent, recipe = time.time(), time.process_time(), asked.recipe
    architecture = asked.space.architecture([config[variable.name] for variable in asked.space.variables])
    flops = count_flops(architecture.inference(), (1, *architecture.backbone.shape))
    told = {"key": architecture.key, "flops": flops, "counting_s": time.time() - started}
    if flops > asked.flops:
        tune.report({"accuracy": 0.0, "trained": False, "seconds": time.time() - started, **told})
        return
    proxy, _ = proxy_of(architecture, width=asked.width, resolution=asked.resolution, classes=data.classes)
    torch.manual_seed(asked.seed)
    random.seed(asked.seed)
    model = proxy.build()
    images = training_images(data, recipe.images_per_epoch, asked.resolution)
    training = DataLoader(images, recipe.batch, shuffle=True, drop_last=True)
    some = data.validation[: max(1, len(data.validation) // 8)]
    part, whole, test = (DataLoader(scored_images(s, data), SCORING) for s in (some, data.validation, data.test))
    optimizer = optimizer_of(model, recipe)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        recipe.peak_lr,
        recipe.steps,
        pct_start=recipe.warmup,
        anneal_strategy="linear",
        cycle_momentum=False,
    )
    loss_of = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    for epoch in range(1, recipe.epochs + 1):
        loss = train_epoch(model, training, loss_of, optimizer, schedule)
        last = epoch == recipe.epochs
        told |= {"accuracy": accuracy(model, whole if last else part), "loss": loss, "epoch": epoch}
        told |= {"test_accuracy": accuracy(model, test)} if last else {}
        took = {"seconds": time.time() - started, "cpu_s": time.process_time() - spent}
        tune.report({**told, "trained": True, **took})


def optimizer_of(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's: kernels and matrices decay, scales and shifts don't."""
    decay = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decay, "weight_decay": recipe.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, recipe.peak_lr, momentum=recipe.beta1, nesterov=True)


def train_epoch(
    model: nn.Module,
    loader: DataLoader,
    loss_of: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.OneCycleLR,
) -> float:
    """The mean loss."""
    model.train()
    total = 0.0
    for images, labels in loader:
        optimizer.zero_grad()
        loss = loss_of(model(images), labels)
        loss.backward()
        optimizer.step()
        if schedule.last_epoch < schedule.total_steps - 1:
            schedule.step()
        total += loss.item()
    return total / len(loader)


@torch.no_grad()
def accuracy(model: nn.Module, loader: DataLoader) -> float:
    model.eval()
    right = sum(int((model(images).argmax(1) == labels).sum()) for images, labels in loader)
    return right / len(loader.dataset)  # type: ignore[arg-type]


class Clock(tune.Callback):
    """When Tune began, and when each trial ended: Unix times."""

    def __init__(self) -> None:
        self.began: float | None = None
        self.ended: list[float] = []

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.began = self.began or time.time()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.ended.append(time.time())


def search(
    asked: Asked, data: DigitsOnPhotos, trials: int, cores: int, first: Sequence[Sequence[int]] = ()
) -> dict[str, Any]:
    """All of it. ``first``: what is tried before the sampler is asked, option indices each."""
    names = [variable.name for variable in asked.space.variables]
    space = {v.name: CategoricalDistribution(range(len(v.options))) for v in asked.space.variables}
    points = [dict(zip(names, indices, strict=True)) for indices in first]
    ray.init(address="local", num_cpus=cores, num_gpus=0, include_dashboard=False, log_to_driver=False)
    clock = Clock()
    try:
        with TemporaryDirectory(prefix="usual-way-") as folder:
            trainable = tune.with_resources(tune.with_parameters(train, asked=asked, data=data), {"cpu": 1})
            found = tune.Tuner(
                trainable,
                tune_config=tune.TuneConfig(
                    search_alg=OptunaSearch(
                        space, metric="accuracy", mode="max", points_to_evaluate=points or None, seed=asked.seed
                    ),
                    num_samples=trials,
                ),
                run_config=tune.RunConfig(storage_path=folder, callbacks=[clock], verbose=0),
            ).fit()
    finally:
        ray.shutdown()
    errors = [str(result.error) for result in found if result.error]
    if errors:
        raise RuntimeError(errors[0])
    kept = ("key", "flops", "trained", "accuracy", "test_accuracy", "seconds", "counting_s", "cpu_s")
    lines = [{name: result.metrics[name] for name in kept if name in result.metrics} for result in found]
    return {"began": clock.began, "ended": clock.ended, "trials": lines}
