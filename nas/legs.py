"""The legs of a search, one after another: parent, trials, repeats, final stage. What each has ended is on disk."""

import errno
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from search_spaces.backbones.foreign import given
from search_spaces.checks import BadInput
from trainers import checkpoint
from trainers.cluster.connection import Cluster
from trainers.judges import JUDGES, WANT_PARENT
from trainers.judges.base import Judge, Setting
from trainers.recipe import PARENT, STARTED, Recipe

from .cost.table import CostTable
from .devices import place_of
from .preparation import Prepared, measured_sensitivity
from .question import FINAL_JUDGE, Question
from .record import Record
from .result.ending import Ending, Outcome
from .run import Run
from .run.copy import Mirror
from .stages import Stages
from .tune.conductor import Conductor, Queue
from .tune.tuner import Work, checkpoint_name, run_trials
from .watch.watch import Watch
from .weights import read_weights

SAID = {
    "parent": "the vanilla network that candidates inherit from",
    "repeats": "the noise, by a second seed",
    "final": "the final stage, from nothing and under three seeds",
}
SHOWN_EVERY_S, SHOWN_SHARE = 60.0, 20.0  # the report while a search goes on: not more than a twentieth of its time
LEARNED = 2.0  # times what guessing has: with less, a network has learned hardly anything
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def mirror_of(run: Run) -> Mirror | None:
    """The copy at ``--storage``, if one was asked for."""
    storage = run.question.storage
    return None if storage is None else Mirror(run.folder, storage)


def copy_all(mirror: Mirror | None, watch: Watch) -> None:
    """The copy at ``--storage``, at the end."""
    if mirror is not None:
        mirror.sync(now=True)
        if mirror.problem:
            watch.said(f"the copy at --storage is not complete: {mirror.problem}")


def resources(question: Question) -> dict[str, float]:
    """Of one trial."""
    return {"cpu": question.cpus_per_trial, "gpu": question.gpus_per_trial or 0.0}


def nothing_learned(record: Record, classes: int) -> str | None:
    """What to say where the vanilla network, of which most may be expected, is hardly better than guessing."""
    if record.name.partition(",")[0] != "vanilla" or not record.finished:  # "vanilla, seed 2" in the final stage
        return None
    accuracy, chance = record.accuracy or 0.0, 1 / classes
    if accuracy >= LEARNED * chance:
        return None
    return (
        f"the vanilla network's proxy has {accuracy:.1%} after a trial, where guessing has {chance:.1%}: "
        "it learns too little for scores to tell networks apart; train longer (--epochs)"
    )


def distrusted(table: CostTable) -> str | None:
    """What to say where the table's measurements are in doubt; such a table is kept by this run alone."""
    if not table.doubts:
        return None
    return f"latencies can't be trusted: {'; '.join(table.doubts.values())}; a new search measures them again"


@dataclass(frozen=True)
class Leg:
    """One stage: by which judge and recipe; whether the weights are kept.

    ``weights`` is the file that it starts from, where that is not the parent's.
    """

    name: str
    judge: str
    recipe: Recipe
    keeps: bool = False
    weights: Path | None = None


class Search:
    """The stages of a run whose folder this process alone writes: parent, trials, repeats, final."""

    def __init__(self, run: Run, ready: Prepared, stages: Stages, cluster: Cluster, watch: Watch) -> None:
        self.run, self.ready, self.stages, self.cluster, self.watch = run, ready, stages, cluster, watch
        self.candidates = stages.candidates
        storage = ready.question.storage
        self.mirror = mirror_of(run)
        shared = storage is not None or cluster.is_one_machine()
        self.checkpoints = run.checkpoints(storage) if shared else None
        self.at_once = cluster.trials_at_once(resources(ready.question))
        there = place_of(ready.question, partial(cluster.on_a_gpu, watch.doing) if cluster.joined else None)
        self.ending = Ending(run, ready.space, ready.table, stages, there)
        self.spent_s = self.running_s = 0.0
        self.shown_at, self.shown_s = time.monotonic(), 0.0

    def run_it(self) -> Outcome:
        """Ctrl-C ends it early, and what is finished is exported all the same; a full disk stops it."""
        self._say_what_was_decided()
        try:
            outcome = self._all_stages()
        except OSError as error:
            self._require_room(error)
            raise
        finally:
            self.watch.closed()
            copy_all(self.mirror, self.watch)
        return outcome

    def _all_stages(self) -> Outcome:
        question = self.ready.question
        own = Leg("trials", question.judge, question.recipe)
        steps: list[tuple[Leg, Callable[[], Queue]]] = [
            (self._parent(), self.stages.parent),
            (own, lambda: self.candidates),
            (replace(own, name="repeats"), self.stages.repeats),
            (Leg("final", FINAL_JUDGE, self.ready.final_recipe), self.stages.final),
        ]
        for leg, queue_of in steps:
            queue = self._or_export(queue_of)
            if queue.to_do and not self._or_export(partial(self._whole, leg, queue)):
                break  # Ctrl-C
            self.ending.export()
        outcome = self.ending.outcome(self.watch)
        return replace(outcome, in_training=self.spent_s / self.running_s if self.running_s else None)

    def _parent(self) -> Leg:
        """From nothing, or from weights that were trained for other classes."""
        started = self.run.start_file.exists()
        judge = WANT_PARENT[0] if started else "scratch"
        return Leg("parent", judge, self.ready.scaled(STARTED if started else PARENT), True, self.run.start_file)

    def _whole(self, leg: "Leg", queue: Queue) -> bool:
        """Whether a stage was done to its end."""
        if leg.name != "parent":
            self.stages.require_parent()
        if leg.name == "trials" and leg.judge in WANT_PARENT and self.run.sensitivity is None:
            self.watch.doing("measuring how far each choice alone moves the trained network")
            self.run.write_sensitivity(measured_sensitivity(self.ready, self.run.parent_file))
        conductor = Conductor(queue, partial(self._ended, leg.name), self.watch)
        self._forget(leg.name, *self._records(leg.name))  # a crash may have left them
        if leg.name != "trials":
            self.watch.said(f"{SAID[leg.name]}: {queue.to_do} to train")
        self.watch.planned(queue.to_do)
        run_trials(self._work(leg, queue), conductor)
        conductor.settle()
        self.spent_s, self.running_s = self.spent_s + conductor.spent_s, self.running_s + conductor.running_s
        if queue.disk_error is not None:
            raise queue.disk_error
        if conductor.hopeless is not None:
            raise BadInput(f"the search stopped: {conductor.hopeless}; mend that, then --resume {self.run.folder}")
        return not queue.to_do

    def _or_export(self, do: Callable[[], Any]) -> Any:
        """Whatever ends it, a second Ctrl-C included: what is finished is exported."""
        try:
            return do()
        except BaseException:
            with suppress(OSError):  # on a full disk there is no room for it
                self.ending.export()
            raise

    def _records(self, stage: str) -> Sequence[Record]:
        if stage == "trials":
            return [*self.candidates.ledger.records, *self.candidates.references.records]
        return self.run.judged(stage)

    def _work(self, leg: "Leg", queue: Queue) -> Work:
        question = self.ready.question
        setting = Setting(
            data=self.ready.data,
            recipe=leg.recipe,
            width=question.proxy_width,
            resolution=question.proxy_resolution,
            device=question.device,
            threads=max(1, int(question.cpus_per_trial)) if question.device == "cpu" else 1,
            parent=read_weights(leg.weights or self.run.parent_file) if leg.judge in WANT_PARENT else None,
            keeps_weights=leg.keeps,
            models=given(self.ready.space.backbone.name),
        )
        judge: Judge = JUDGES[leg.judge](setting)
        return Work(
            run=self.run.folder.name,
            stage=leg.name,
            judge=judge,
            trials=queue.to_do,
            resources=resources(question),
            checkpoints=self.checkpoints,
            at_once=self._places,
            grows=self.cluster.joined,
        )

    def _places(self) -> int:
        """Trials that the cluster holds now: one that was joined may have grown, or have lost its last node."""
        if not self.cluster.joined:
            return self.at_once
        try:
            return self.cluster.trials_at_once(resources(self.ready.question))
        except BadInput:
            return 0

    def _say_what_was_decided(self) -> None:
        question, said = self.ready.question, self.watch.said
        said(f"run {self.run.folder}")
        said(self.cluster.login)
        where = "the cluster's" if self.cluster.joined else "this machine's"
        cores = f"{question.cpus_per_trial:g} CPU core{'' if question.cpus_per_trial == 1 else 's'} each"
        share = f"{question.gpus_per_trial:g} of a GPU and {cores}" if question.device == "cuda" else cores
        kind = "GPUs" if question.device == "cuda" else "CPUs"
        said(
            f"{self.candidates.to_do} trials ({self.candidates.to_propose} to be proposed) train on {where} {kind}, "
            f"{share}: {self.at_once} at once"
        )
        recipe = question.recipe
        said(f"a trial: judge {question.judge}, {recipe.epochs} epochs of {recipe.images_per_epoch:,} images")
        if (doubt := distrusted(self.ready.table)) is not None:
            said(doubt)
        if self.checkpoints is None:
            said("the nodes share no folder (--storage names one): a trial whose node is lost starts over")

    def _ended(self, stage: str, record: Record) -> None:
        """Called with each record that is on disk."""
        self._forget(stage, record)
        self._show()
        if (said := nothing_learned(record, self.ready.data.classes)) is not None:
            self.watch.said(said)
        if self.mirror is not None:
            self.mirror.sync()
            if self.mirror.problem:
                self.watch.said(f"the copy at --storage is behind: {self.mirror.problem}")

    def _show(self) -> None:
        """``best.yaml``, the front and the report as they stand, now and then: for who looks while it goes on."""
        start = time.monotonic()
        if start - self.shown_at < max(SHOWN_EVERY_S, SHOWN_SHARE * self.shown_s):
            return
        try:
            self.ending.export(self.watch)
            self.ending.report(self.watch)
        except OSError as error:  # what has ended is in the ledger, and will be exported at the end
            self.watch.said(f"the report can't be written: {error.strerror or error}")
        self.shown_at = time.monotonic()
        self.shown_s = self.shown_at - start

    def _forget(self, stage: str, *records: Record) -> None:
        """Their checkpoints. Where that can't be done now, it is when the run is gone on with."""
        try:
            if self.checkpoints is not None:
                checkpoint.delete_all(self.checkpoints, {checkpoint_name(stage, record) for record in records})
        except OSError as error:
            self.watch.said(f"checkpoints can't be deleted: {error.strerror or error}")

    def _require_room(self, error: OSError) -> None:
        """BadInput on a full disk: nothing more can be written; what was written is whole."""
        if error.errno in DISK_FULL:
            raise BadInput(
                f"{error.filename or self.run.folder}: {error.strerror or error}: the search stopped; "
                f"no trial that had ended is lost: make room, then go on by --resume {self.run.folder}"
            ) from None
