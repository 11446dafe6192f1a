"""A whole search: costs first, then trials on Ray Tune, then the front. Knows Ray; the command line only hands over."""

import shutil
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
import ray
import torch
from ray import tune
from rich.console import Console

from search_spaces.checks import BadInput
from trainers.data import DATASETS, ImageData

from .budget import Budget, show
from .cluster import Cluster, cluster
from .cost.table import CostTable
from .feasible import Feasible, Limit
from .front import DIRECTIONS
from .ledger import Ledger, Record
from .progress import Watch
from .proposer import Proposer
from .question import Question
from .references import references
from .samplers import SAMPLERS, WithinBudget
from .trial import ProxyTrial

RESTARTS = 2


@dataclass(frozen=True)
class Outcome:
    """What a search found: candidates and references, finished and failed, and how it ended."""

    candidates: list[Record]
    references: list[Record]
    interrupted: bool
    exhausted: bool
    at_once: int

    def summary(self) -> str:
        """``12 of 12 candidates finished; 97% of …``."""
        finished = sum(r.status == "finished" for r in self.candidates)
        parts = [f"{finished} of {len(self.candidates)} candidates finished"]
        share = time_in_training([*self.candidates, *self.references], self.at_once)
        if share is not None:
            parts.append(f"{share:.0%} of the time of {self.at_once} trials at once went into training")
        if self.exhausted:
            parts.append("every architecture within the budgets has been tried")
        if self.interrupted:
            parts.append("interrupted")
        return "; ".join(parts)


def time_in_training(records: Sequence[Record], at_once: int) -> float | None:
    """The share of the time between the first trial's start and the last one's end that was spent inside training."""
    trials = {r.trial: r for r in records}.values()  # one that is a reference and a candidate stands in both ledgers
    timed = [r for r in trials if r.started is not None and r.ended is not None and r.train_s is not None]
    if not timed:
        return None
    span = max(r.ended or 0 for r in timed) - min(r.started or 0 for r in timed)
    return sum(r.train_s or 0 for r in timed) / (span * min(at_once, len(timed)))


def feasible_set(question: Question, table: CostTable) -> Feasible:
    """The architectures within the budgets; a ValueError with the reachable range if there are none."""
    space = question.space
    limits = {b: Limit(table.options(space, b.metric), b.limit - table.rest[b.metric]) for b in question.budgets}
    for budget, limit in limits.items():
        if limit.limit < limit.least:
            raise BadInput(
                f"no architecture of {space.name} meets the budget {budget}: it reaches "
                f"{reachable(table, budget.metric, limit)}"
            )
    try:
        return Feasible([len(v.options) for v in space.variables], list(limits.values()), question.seed)
    except ValueError:
        ranges = "; ".join(reachable(table, budget.metric, limit) for budget, limit in limits.items())
        names = " and ".join(str(budget) for budget in limits)
        raise BadInput(
            f"no architecture of {space.name} meets the budgets {names} together, alone it reaches {ranges}"
        ) from None


def reachable(table: CostTable, metric: str, limit: Limit) -> str:
    """``2.46 GFLOPs to 4.29 GFLOPs``."""
    least, most = limit.least + table.rest[metric], limit.most + table.rest[metric]
    if metric == "flops":
        return f"{least / 1e9:.6g} to {most / 1e9:.6g} GFLOPs"
    return f"{show(metric, least)} to {show(metric, most)}"


def load_data(question: Question) -> ImageData:
    """The data set at the proxy's resolution; ValueError if it can't be had."""
    return DATASETS[question.dataset](question.data_root, question.proxy_resolution)


def fitted(question: Question, data: ImageData) -> Question:
    """The question with epochs no longer than the data set, so that the rate's schedule ends with the training."""
    images = min(question.recipe.images_per_epoch, len(data.train))
    return replace(question, recipe=replace(question.recipe, images_per_epoch=images))


def connected(question: Question) -> AbstractContextManager[Cluster]:
    """Ray, as the question asks for it."""
    return cluster(question.address, question.cpus_per_trial, question.gpus_per_trial)


def search(
    question: Question, table: CostTable, feasible: Feasible, data: ImageData, at_once: int, console: Console
) -> Outcome:
    """Run the trials. Ctrl-C ends it early; what is finished is returned all the same."""
    proposer = _proposer(question, table, feasible)
    total = question.trials + len(proposer.waiting)
    console.print(f"{total} trials ({question.trials} candidates), {at_once} at a time", highlight=False)
    watch = Watch(console, total, proposer.record_of, proposer.trial_failed)
    tuner = _tuner(question, data, proposer, watch, total, at_once)
    try:
        with watch.bar:
            tuner.fit()
    finally:
        shutil.rmtree(question.run / "tune", ignore_errors=True)  # checkpoints: of use to a running search only
    candidates, beside = proposer.ledger.records, proposer.reference_ledger.records
    ended = {record.trial for record in (*candidates, *beside)}
    interrupted = len(ended) < total and not proposer.exhausted
    return Outcome(candidates, beside, interrupted, proposer.exhausted, at_once)


def _proposer(question: Question, table: CostTable, feasible: Feasible) -> Proposer:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    inner = SAMPLERS[question.sampler](question.seed, question.trials)
    sampler = WithinBudget(inner, question.space, feasible, question.seed)
    study = optuna.create_study(directions=list(DIRECTIONS), sampler=sampler, study_name=question.name)
    return Proposer(
        question.space,
        table,
        study,
        question.trials,
        Ledger(question.run / "trials.jsonl"),
        references(question.space) if question.references else {},
        Ledger(question.run / "references.jsonl"),
        question.seed,
    )


def _tuner(
    question: Question, data: ImageData, proposer: Proposer, watch: Watch, total: int, at_once: int
) -> tune.Tuner:
    trainable = tune.with_parameters(
        ProxyTrial,
        data=data,
        recipe=question.recipe,
        seed=question.seed,
        proxy={"width": question.proxy_width, "resolution": question.proxy_resolution},
        device=question.device,
        threads=max(1, int(question.cpus_per_trial)) if question.device == "cpu" else 1,
    )
    resources = {"cpu": question.cpus_per_trial, "gpu": question.gpus_per_trial}
    shared_disk = len(ray.nodes()) == 1  # checkpoints on this disk are of no use to another node
    return tune.Tuner(
        tune.with_resources(trainable, resources),
        tune_config=tune.TuneConfig(
            search_alg=proposer,
            num_samples=total,
            max_concurrent_trials=at_once,
            reuse_actors=True,
            trial_name_creator=lambda trial: f"{question.name}_{trial.trial_id}",
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(question.run.resolve()),
            verbose=0,
            callbacks=[watch],
            failure_config=tune.FailureConfig(max_failures=RESTARTS),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1, checkpoint_frequency=1 if shared_disk else 0),
        ),
    )


def device_for_costs(question: Question) -> torch.device:
    """Latency is the driver's device's: the GPU if the trials have one and this machine too."""
    return torch.device("cuda" if question.device == "cuda" and torch.cuda.is_available() else "cpu")


def cache_folder(output: Path) -> Path:
    """Where cost tables are kept between searches."""
    return output / ".cache"


def within(budgets: Iterable[Budget]) -> str:
    """``2.5GFLOPs and 12MParams``, or ``no budget``."""
    return " and ".join(str(b) for b in budgets) or "no budget"
