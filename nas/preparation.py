"""All that is known before the first trial: the device, the data, the costs of every choice, what the budgets allow."""

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from search_spaces import VANILLA, Architecture, Space, load_space, proxy_of
from search_spaces.checks import BadInput
from search_spaces.sensitivity import sensitivity
from trainers.data import DATASETS
from trainers.data.base import ImageData
from trainers.loop import is_fast
from trainers.proxy import ProxyTraining
from trainers.recipe import RECIPES, Recipe, scaled

from .budget import Budget, within
from .cost.apart import measure_apart
from .cost.table import CostTable, build_table
from .feasible import Feasible
from .knapsack import Limit
from .question import DEFAULT_GPU_SHARE, DEFAULT_TRIALS, FINAL_JUDGE, Question

MEASURED_BATCHES = 8
SENSITIVITY_IMAGES = 256  # with half of them the search knows less beforehand (benchmarks/README.md)
LONGEST_S = {True: 45.0, False: 90.0}  # one trial, where the chip is fast with bfloat16 or not
SLOWER, SCORING = 1.5, 1 / 3  # a candidate's training and an image's scoring, against the vanilla network's training
SEARCH_S = {True: 160.0, False: 300.0}  # all trials, before repeats and the final stage
LEAST_TRIALS, MOST_TRIALS = 12, 400
CLOSE = 2e-3  # means and deviations of one data set, computed on two machines


@dataclass(frozen=True)
class Prepared:
    """A question that can be answered, with what that takes; ``weights`` is what ``--weights`` names."""

    question: Question
    space: Space
    data: ImageData
    table: CostTable
    feasible: Feasible
    weights: bytes | None = None

    @property
    def final_recipe(self) -> Recipe:
        """Of the final stage."""
        return self.question.recipe if self.question.finals_are_alike else self.scaled(RECIPES[FINAL_JUDGE])

    def scaled(self, recipe: Recipe) -> Recipe:
        """Another stage's recipe, as this run's trials are scaled, and with epochs no longer than the data set."""
        longer = scaled(recipe, self.question.recipe, self.question.judge)
        return replace(longer, images_per_epoch=min(longer.images_per_epoch, len(self.data.train)))


def prepare(question: Question, gpus: float | None, doing: Callable[[str], None]) -> Prepared:
    """Whatever is wrong with a new question is found here, before anything is made.

    Args:
        gpus: of the cluster that is joined; ``None`` where trials run on this machine.
        doing: told what takes a while.

    Raises:
        BadInput: a device, a data set or a space that is not to be had, or budgets that nothing meets.
    """
    torch.set_num_threads(1)
    space = load_space(question.space)
    question = placed(question, gpus)
    data = load_data(question)
    table = build_table(space, device_for_costs(question), question.output / ".cache", doing, measure_apart)
    vanilla = table.total(space.uniform(VANILLA))
    question = replace(question, budget=tuple(budget.of(vanilla) for budget in question.budget))
    weights = given_weights(question, space, data)
    question = measured(fitted(question, data), space, data, doing)
    return Prepared(question, space, data, table, feasible_set(space, table, question), weights)


def placed(question: Question, gpus: float | None) -> Question:
    """The question with its device, each trial's share of GPUs, and the number of trials.

    Args:
        gpus: of the cluster that is joined; ``None`` where trials run on this machine.

    Raises:
        BadInput: a GPU is asked for, or a run needs one, where there is none.
    """
    here = gpus is None
    have = torch.cuda.is_available() if here else bool(gpus)
    where = "this machine has no GPU that torch can use" if here else "the cluster has no GPU"
    asked_for = question.device == "cuda" or bool(question.gpus_per_trial)
    if asked_for and not have and question.planned:
        raise BadInput(f"the trials of this run train on GPUs, and {where}: go on with it on one that has")
    if asked_for and not have:
        option = "--device cuda" if question.device == "cuda" else f"--gpus-per-trial {question.gpus_per_trial:g}"
        raise BadInput(f"{option}: {where}; use --device cpu, or leave it out")
    wanted = question.device == "cuda" or (question.device == "auto" and have and question.gpus_per_trial != 0)
    device = "cuda" if wanted else "cpu"
    return replace(
        question,
        device=device,
        gpus_per_trial=(question.gpus_per_trial or DEFAULT_GPU_SHARE) if wanted else 0.0,
        trials=question.trials or (DEFAULT_TRIALS["cuda"] if wanted else 0),
    )


def load_data(question: Question) -> ImageData:
    """The data set at the proxy's resolution; BadInput if it can't be had."""
    return DATASETS[question.dataset](question.data_root, question.proxy_resolution)


def fitted(question: Question, data: ImageData) -> Question:
    """The question with epochs no longer than the data set, so that the rate's schedule ends with the training."""
    images = min(question.recipe.images_per_epoch, len(data.train))
    return replace(question, recipe=replace(question.recipe, images_per_epoch=images))


def given_weights(question: Question, space: Space, data: ImageData) -> bytes | None:
    """What ``--weights`` names, known to fit the vanilla proxy.

    Raises:
        BadInput: it can't be read, or is the state dict of another network.
    """
    if question.weights is None:
        return None
    proxy = vanilla_proxy(question, space, data.classes)
    with torch.device("meta"):
        wanted = {name: tuple(t.shape) for name, t in proxy.build().state_dict().items()}
    try:
        found = {name: tuple(t.shape) for name, t in read_weights(question.weights).items()}
        content = question.weights.read_bytes()
    except Exception as error:  # what torch raises on a file that is none of its own depends on the first bytes
        raise BadInput(f"--weights {question.weights}: can't be read: {' '.join(str(error).split())[:200]}") from None
    if found != wanted:
        name = next(n for n in [*wanted, *found] if found.get(n) != wanted.get(n))
        raise BadInput(
            f"--weights {question.weights}: must be the state dict of {proxy.backbone}; "
            f"{name} must be {wanted.get(name, 'absent')}, is {found.get(name, 'absent')}"
        )
    return content


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """A state dict, on the CPU; nothing else that a file may hold is loaded."""
    found: dict[str, torch.Tensor] = torch.load(path, weights_only=True, map_location="cpu")
    return found


def vanilla_proxy(question: Question, space: Space, classes: int) -> Architecture:
    """What the vanilla network's trial trains."""
    vanilla, width, resolution = Architecture(space.backbone), question.proxy_width, question.proxy_resolution
    return proxy_of(vanilla, width=width, resolution=resolution, classes=classes)[0]


def measured_sensitivity(ready: Prepared, parent: Path) -> list[list[float]]:
    """How far each option of the space alone moves the trained vanilla proxy, in nats: see ``sensitivity``.

    By one thread: beside other work two take many times as long.
    """
    question, device = ready.question, device_for_costs(ready.question)
    dense = vanilla_proxy(question, ready.space, ready.data.classes).build()
    dense.load_state_dict(read_weights(parent))
    data = ready.data.to(device)
    generator = torch.Generator(device).manual_seed(0)
    images = data.normalise(data.epoch(SENSITIVITY_IMAGES, generator).images)
    return sensitivity(ready.space, dense.to(device), images)


def measured(question: Question, space: Space, data: ImageData, doing: Callable[[str], None]) -> Question:
    """The question with the number of trials and their length, where the user left them open, as this machine allows.

    On a CPU, where machines differ by a factor of three and more: no trial of the vanilla network takes longer than
    ``LONGEST_S``, and all trials take about ``SEARCH_S`` on all cores. A training by SGD is not shortened: it leaves
    its first plateau after so many steps, on whatever machine, and before that every network scores alike.
    """
    if question.trials:
        return question
    doing("measuring how fast this machine trains")
    recipe, seconds = question.recipe, seconds_per_image(question, space, data)
    fast = is_fast(torch.device("cpu"))
    if recipe.optimizer != "sgd":
        scoring = trial_s(seconds, recipe, data) - seconds * SLOWER * recipe.images
        images = int((LONGEST_S[fast] - scoring) / (seconds * SLOWER * recipe.epochs))
        images = min(recipe.images_per_epoch, max(recipe.batch, images))
        recipe = replace(recipe, images_per_epoch=images)
    at_once = max(1.0, (os.cpu_count() or 1) / question.cpus_per_trial)
    count = SEARCH_S[fast] * at_once / trial_s(seconds, recipe, data)
    return replace(question, recipe=recipe, trials=round(min(max(count, LEAST_TRIALS), MOST_TRIALS)))


def trial_s(seconds_per_image: float, recipe: Recipe, data: ImageData) -> float:
    """About how long a candidate's trial takes, where training the vanilla network takes so long an image."""
    scored = len(data.validation) * (1 + (recipe.epochs - 1) / 8) + len(data.test)
    return seconds_per_image * (SLOWER * recipe.images + SCORING * scored)


def seconds_per_image(question: Question, space: Space, data: ImageData) -> float:
    """Of training the vanilla proxy, measured on a few batches, the first of which warms up."""
    proxy = vanilla_proxy(question, space, data.classes)
    short = replace(question.recipe, epochs=2, images_per_epoch=MEASURED_BATCHES * question.recipe.batch)
    tiny = replace(data, validation=data.validation[:8])
    training = ProxyTraining(proxy.build(), tiny.to(device_for_costs(question)), short, 0)
    training.run_epoch()
    start = time.perf_counter()
    training.run_epoch()
    there = min(short.images_per_epoch, len(data.train))  # a small folder has no more
    return (time.perf_counter() - start) / (max(1, there // short.batch) * min(short.batch, there))


def require_same_data(data: ImageData, before: Mapping[str, object]) -> None:
    """BadInput where a run that is gone on with finds other data than it began with; it says what differs."""
    now = data.fingerprint()
    different = [name for name, value in now.items() if not _alike(value, before.get(name))]
    if different:
        said = ", ".join(f"{name} {before.get(name)} then, {now[name]} now" for name in different)
        raise BadInput(f"--resume: the data set is not the one that the run began with: {said}; give its --data-root")


def _alike(a: object, b: object) -> bool:
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(math.isclose(x, y, abs_tol=CLOSE) for x, y in zip(a, b, strict=True))
    return a == b


def device_for_costs(question: Question) -> torch.device:
    """Latency is the driver's device's: the GPU if the trials have one and this machine too."""
    return torch.device("cuda" if question.device == "cuda" and torch.cuda.is_available() else "cpu")


def feasible_set(space: Space, table: CostTable, question: Question) -> Feasible:
    """The architectures within the budgets; BadInput with the range that is reachable if there are none."""
    limits = {b: limit_of(space, table, b) for b in question.budget}
    for budget, limit in limits.items():
        if limit.limit < limit.least:
            reached = reachable(space, table, budget)
            raise BadInput(f"no architecture of {space.name} meets the budget {budget}: it reaches {reached}")
    try:
        return Feasible([len(v.options) for v in space.variables], list(limits.values()), question.seed)
    except ValueError:
        ranges = "; ".join(reachable(space, table, b) for b in question.budget)
        raise BadInput(
            f"no architecture of {space.name} meets the budgets {within(question.budget)} together, "
            f"alone it reaches {ranges}"
        ) from None


def limit_of(space: Space, table: CostTable, budget: Budget) -> Limit:
    """What a budget leaves for the slots."""
    return Limit(table.options(space, budget.metric), budget.limit - table.rest[budget.metric])


def reachable(space: Space, table: CostTable, budget: Budget) -> str:
    """``2.46012 GFLOPs to 4.29341 GFLOPs``, or as shares of the vanilla network's, as the budget was asked for."""
    limit, rest = Limit(table.options(space, budget.metric), math.inf), table.rest[budget.metric]
    return budget.ends(limit.least + rest, limit.most + rest, table.total(space.uniform(VANILLA))[budget.metric])
