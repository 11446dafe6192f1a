"""All that is known before the first trial: the device, the data, the costs of every choice, what the budgets allow."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch

from search_spaces import Space, load_space
from search_spaces.checks import BadInput
from trainers.data import DATASETS
from trainers.data.base import ImageData

from .budget import Budget, within
from .cost.apart import measure_apart
from .cost.table import CostTable, build_table
from .feasible import Feasible, Limit
from .metrics import METRICS, show
from .question import DEFAULT_GPU_SHARE, DEFAULT_TRIALS, Question

CLOSE = 2e-3  # means and deviations of one data set, computed on two machines


@dataclass(frozen=True)
class Prepared:
    """A question that can be answered, with what that takes."""

    question: Question
    space: Space
    data: ImageData
    table: CostTable
    feasible: Feasible


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
    return Prepared(fitted(question, data), space, data, table, feasible_set(space, table, question))


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
        trials=question.trials or DEFAULT_TRIALS[device],
    )


def load_data(question: Question) -> ImageData:
    """The data set at the proxy's resolution; BadInput if it can't be had."""
    return DATASETS[question.dataset](question.data_root, question.proxy_resolution)


def fitted(question: Question, data: ImageData) -> Question:
    """The question with epochs no longer than the data set, so that the rate's schedule ends with the training."""
    images = min(question.recipe.images_per_epoch, len(data.train))
    return replace(question, recipe=replace(question.recipe, images_per_epoch=images))


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
            raise BadInput(
                f"no architecture of {space.name} meets the budget {budget}: it reaches "
                f"{reachable(space, table, budget.metric)}"
            )
    try:
        return Feasible([len(v.options) for v in space.variables], list(limits.values()), question.seed)
    except ValueError:
        ranges = "; ".join(reachable(space, table, b.metric) for b in question.budget)
        raise BadInput(
            f"no architecture of {space.name} meets the budgets {within(question.budget)} together, "
            f"alone it reaches {ranges}"
        ) from None


def limit_of(space: Space, table: CostTable, budget: Budget) -> Limit:
    """What a budget leaves for the slots."""
    return Limit(table.options(space, budget.metric), budget.limit - table.rest[budget.metric])


def reachable(space: Space, table: CostTable, metric: str) -> str:
    """``2.46012 GFLOPs to 4.29341 GFLOPs``."""
    limit = Limit(table.options(space, metric), math.inf)
    digits = 6 if METRICS[metric].prefixes else 3
    return " to ".join(show(metric, cost + table.rest[metric], digits) for cost in (limit.least, limit.most))
