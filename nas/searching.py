"""A whole search: costs first, then trials on Ray Tune, then the front. Knows Ray; the command line only hands over."""

import logging
import os
import platform
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import optuna
import ray
import torch
from ray import tune
from rich.console import Console

from search_spaces.checks import BadInput
from trainers import checkpoint
from trainers.data import DATASETS, ImageData

from .budget import Budget, show
from .cost.table import CostTable
from .feasible import Feasible, Limit
from .question import Question
from .references import references
from .result.front import DIRECTIONS
from .run.copy import Mirror
from .run.ledger import Ledger, Record
from .samplers import SAMPLERS, WithinBudget
from .tune.cluster import Cluster, cluster
from .tune.proposer import Proposer
from .tune.trial import ProxyTrial
from .tune.watch import Watch

RESTARTS = 10  # of a trial whose process died: killed, out of memory, its node lost


@dataclass(frozen=True)
class Outcome:
    """What a search found: candidates and references, finished and failed, and how it ended.

    ``lately`` are the trials that ended since it was begun or resumed. ``disk_error`` is why it had to stop.
    """

    candidates: list[Record]
    references: list[Record]
    lately: list[Record]
    interrupted: bool
    exhausted: bool
    at_once: int
    disk_error: OSError | None = None

    def summary(self) -> str:
        """``12 of 12 candidates finished; 97% of …``."""
        finished = sum(r.status == "finished" for r in self.candidates)
        parts = [f"{finished} of {len(self.candidates)} candidates finished"]
        share = time_in_training(self.lately, self.at_once)
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
    return cluster(question.address, question.cpus_per_trial, question.gpus_per_trial, question.allow_unauthenticated)


def search(
    question: Question,
    proposer: Proposer,
    data: ImageData,
    at_once: int,
    console: Console,
    mirror: Mirror | None = None,
) -> Outcome:
    """Run the trials that are still to do. Ctrl-C ends it early; what is finished is returned all the same."""
    total, to_propose = proposer.to_do, max(0, question.trials - proposer.asked)
    console.print(f"{total} trials ({to_propose} to be proposed), {at_once} at a time", highlight=False)
    checkpoints = checkpoints_of(question)
    if checkpoints is None:
        console.print("the nodes share no folder (--storage names one): a trial whose node is lost starts over")

    def forget(*records: Record) -> None:
        if checkpoints is not None:
            checkpoint.delete_all(checkpoints, {record.key for record in records})

    forget(*proposer.ledger.records, *proposer.reference_ledger.records)  # a crash may have left them
    watch = Watch(console, total, proposer.record_of, proposer.trial_failed, forget, mirror)
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1000000000")  # Tune's own snapshot: nobody reads it
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a process that died is said in a line of ours
    with tempfile.TemporaryDirectory(prefix="layerwise-nas-", ignore_cleanup_errors=True) as scratch, watch.bar:
        _tuner(question, data, proposer, watch, total, at_once, scratch, checkpoints).fit()
    return outcome_of(proposer, at_once)


def outcome_of(proposer: Proposer, at_once: int) -> Outcome:
    """What there is, whether or not something was still to do."""
    return Outcome(
        proposer.ledger.records,
        proposer.reference_ledger.records,
        list(proposer.ended.values()),
        interrupted=proposer.to_do > 0 and not proposer.exhausted,
        exhausted=proposer.exhausted,
        at_once=at_once,
        disk_error=proposer.disk_error,
    )


def proposer_of(question: Question, table: CostTable, feasible: Feasible) -> Proposer:
    """What proposes, as the run's files say; for a new run there are none."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    make, planned = SAMPLERS[question.sampler], question.planned or question.trials
    sampler = WithinBudget(lambda seed: make(seed, planned), question.space, feasible, question.seed)
    study = optuna.create_study(directions=list(DIRECTIONS), sampler=sampler, study_name=question.name)
    return Proposer(
        question.space,
        table,
        study,
        question.trials,
        Ledger.open(question.run / "trials.jsonl"),
        references(question.space) if question.references else {},
        Ledger.open(question.run / "references.jsonl"),
        question.state / "proposals.jsonl",
        question.seed,
    )


def checkpoints_of(question: Question) -> str | None:
    """Where trials write their checkpoints, for any process to go on from; ``None``: nowhere that all reach."""
    if question.storage is not None:
        return f"{question.storage}/{question.name}/state/checkpoints"
    hosts = {node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
    return str((question.state / "checkpoints").resolve()) if hosts == {platform.node()} else None


def _shown_name(run: str, trial: Any) -> str:
    """In the dashboard. (Tune pickles it for each trial: it must not drag the question along.)"""
    return f"{run}_{trial.trial_id}"


class _StopWhenFull(tune.Stopper):
    """Ends all trials once nothing more can be written."""

    def __init__(self, proposer: Proposer) -> None:
        self.proposer = proposer

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.proposer.disk_error is not None

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles it for a restore that we never ask for."""
        return {}


def _tuner(
    question: Question,
    data: ImageData,
    proposer: Proposer,
    watch: Watch,
    total: int,
    at_once: int,
    scratch: str,
    checkpoints: str | None,
) -> tune.Tuner:
    """Tune keeps nothing that we need: proposals, results and checkpoints are in the run's folder."""
    trainable = tune.with_parameters(
        ProxyTrial,
        data=data,
        recipe=question.recipe,
        seed=question.seed,
        proxy={"width": question.proxy_width, "resolution": question.proxy_resolution},
        device=question.device,
        threads=max(1, int(question.cpus_per_trial)) if question.device == "cpu" else 1,
        checkpoints=checkpoints,
    )
    resources = {"cpu": question.cpus_per_trial, "gpu": question.gpus_per_trial}
    return tune.Tuner(
        tune.with_resources(trainable, resources),
        tune_config=tune.TuneConfig(
            search_alg=proposer,
            num_samples=total,
            max_concurrent_trials=at_once,
            reuse_actors=True,
            trial_name_creator=partial(_shown_name, question.name),
            trial_dirname_creator=attrgetter("trial_id"),
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=scratch,
            verbose=0,
            callbacks=[watch],
            stop=_StopWhenFull(proposer),
            failure_config=tune.FailureConfig(max_failures=RESTARTS),
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
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
