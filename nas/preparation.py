"""All that is known before the first trial: the device, the data, the costs of every choice, what the budgets allow."""

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from search_spaces import VANILLA, Backbone, Space, load_space
from search_spaces.backbones.foreign import OWN, given, imported, is_own, size_of
from search_spaces.checks import BadInput
from search_spaces.sensitivity import sensitivity
from trainers.data import DATASETS, GIVEN
from trainers.data.base import ImageData
from trainers.loop import is_fast
from trainers.proxy import ProxyTraining
from trainers.recipe import RECIPES, Recipe, scaled

from .budget import Budget, within
from .cost.apart import measure_apart, measure_there
from .cost.table import CostTable, build_table
from .devices import device_for_costs, is_here, placed
from .feasible import Feasible
from .form import Form, parse_form
from .knapsack import Limit
from .metrics import METRICS
from .question import FINAL_JUDGE, Question
from .weights import given_weights, read_weights, vanilla_proxy

MEASURED_BATCHES = 8
SENSITIVITY_IMAGES = 256  # with half of them the search knows less beforehand (benchmarks/README.md)
LONGEST_S = {True: 45.0, False: 90.0}  # one trial, where the chip is fast with bfloat16 or not
SLOWER, SCORING = 1.5, 1 / 3  # a candidate's training and an image's scoring, against the vanilla network's training
SEARCH_S = {True: 160.0, False: 300.0}  # all trials, before repeats and the final stage
LEAST_TRIALS, MOST_TRIALS = 12, 400
CLOSE = 2e-3  # means and deviations of one data set, computed on two machines


@dataclass(frozen=True)
class Prepared:
    """A question that can be answered, with what that takes; ``weights`` are those of ``given_weights``."""

    question: Question
    space: Space
    data: ImageData
    table: CostTable
    feasible: Feasible
    weights: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def final_recipe(self) -> Recipe:
        """Of the final stage."""
        return self.question.recipe if self.question.finals_are_alike else self.scaled(RECIPES[FINAL_JUDGE])

    def scaled(self, recipe: Recipe) -> Recipe:
        """Another stage's recipe, as this run's trials are scaled, and with epochs no longer than the data set."""
        longer = scaled(recipe, self.question.recipe, self.question.judge)
        return replace(longer, images_per_epoch=min(longer.images_per_epoch, len(self.data.train)))


def prepare(
    question: Question,
    gpus: float | None,
    doing: Callable[[str], None],
    data: ImageData | None = None,
    on_a_gpu: Callable[..., Any] | None = None,
) -> Prepared:
    """Whatever is wrong with a new question is found here, before anything is made.

    Args:
        gpus: of the cluster that is joined; ``None`` where trials run on this machine.
        doing: told what takes a while.
        data: what the user gave in Python, in place of a data set by its name.
        on_a_gpu: runs a function on one of the cluster's GPUs, where this machine has none.

    Raises:
        BadInput: a device, a data set or a space that is not to be had, or budgets that nothing meets.
    """
    torch.set_num_threads(1)
    space = space_of(question)
    question = placed(question, gpus)
    data = data or load_data(question)
    require_proxy(question, space, data.classes)
    table = _table(question, space, doing, on_a_gpu)
    vanilla = table.total(space.uniform(VANILLA))
    question = replace(question, budget=tuple(budget.of(vanilla) for budget in question.budget))
    weights = given_weights(question, space, data)
    question = measured(fitted(question, data), space, data, doing)
    return Prepared(question, space, data, table, feasible_set(space, table, question), weights)


def _table(
    question: Question, space: Space, doing: Callable[[str], None], on_a_gpu: Callable[..., Any] | None
) -> CostTable:
    """The costs of every choice, latency's measured where it is asked for."""
    form = parse_form(str(question.latency_on))
    cache = None if is_own(space.backbone.name) else question.output / ".cache"  # code that may change has none
    if is_here(form):
        return build_table(space, form, cache, doing, measure_apart, question.remeasure)
    if on_a_gpu is None:
        raise BadInput(f"--latency-on {form}: there is no GPU to measure on; use --latency-on cpu")
    there = on_a_gpu

    def measure_far(space: Space, form: Form, doing: Callable[[str], None]) -> CostTable:
        doing("measuring the cost of every choice on a GPU of the cluster")
        found: CostTable = there(measure_there, given(space.backbone.name), METRICS, space, form)
        return found

    return build_table(space, form, None, doing, measure_far)  # which GPU it was is known afterwards only


def space_of(question: Question) -> Space:
    """The space that is asked for, on the network that is asked for; code that ``--model`` names is imported.

    Raises:
        BadInput: no such space or network, or one that nothing can be chosen for.
    """
    asked_for = " ".join(f"--{n} {v}" for n in ("model", "detector") if (v := getattr(question, n)) is not None)
    if not asked_for:
        return load_space(question.space)
    try:
        return load_space(question.space, _backbone_of(question))
    except BadInput as error:
        raise BadInput(f"{asked_for}: {error}") from None


def _backbone_of(question: Question) -> Backbone:
    """Of ``--model`` and ``--detector``: what is not said is the network's own, or as both papers detect."""
    if question.model is None:
        backbone = load_space(question.space).backbone
    else:
        if is_own(question.model) and question.model not in OWN:
            imported(question.model)
        own = size_of(question.model)
        backbone = Backbone(question.model, own.classes, own.resolution)
    if question.detector is not None:
        backbone = backbone.in_detector(question.detector)
    classes, resolution = question.classes or backbone.classes, question.resolution or backbone.resolution
    return replace(backbone, classes=classes, resolution=resolution)


def require_proxy(question: Question, space: Space, classes: int) -> None:
    """BadInput where a foreign network can't be trained as a proxy: at its resolution, for the data's classes."""
    if not space.backbone.is_foreign:
        return
    proxy = vanilla_proxy(question, space, classes)
    network, side = proxy.build().train(), question.proxy_resolution
    try:
        found = network(torch.zeros(2, 3, side, side))
    except Exception as error:  # whatever a network raises that can't take it
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        raise BadInput(
            f"--proxy-resolution {side}: {space.backbone.name} can't be trained on images of that size ({said})"
        ) from None
    if not isinstance(found, torch.Tensor) or found.shape != (2, classes):
        got = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        raise BadInput(f"{space.backbone.name} must give logits (B, {classes}) in training too, got {got}")


def load_data(question: Question) -> ImageData:
    """The data set at the proxy's resolution; BadInput if it can't be had."""
    if question.dataset == GIVEN:
        raise BadInput(
            "the data of this run was given in Python, by search(data=…): go on with it by search(resume=…, data=…)"
        )
    return DATASETS[question.dataset](question.data_root, question.proxy_resolution)


def fitted(question: Question, data: ImageData) -> Question:
    """The question with epochs no longer than the data set, so that the rate's schedule ends with the training."""
    images = min(question.recipe.images_per_epoch, len(data.train))
    return replace(question, recipe=replace(question.recipe, images_per_epoch=images))


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
