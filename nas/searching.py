"""A whole search: what is known first, then candidates and their trials, then what was found. Knows no terminal."""

import errno
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from search_spaces.checks import BadInput
from search_spaces.space import parse_space
from trainers import checkpoint
from trainers.judges import JUDGES, WANT_PARENT
from trainers.judges.base import Judge, Setting
from trainers.recipe import PARENT, Recipe

from .candidates import Candidates
from .cost.table import table_from, table_to_document
from .metrics import METRICS
from .preparation import (
    Prepared,
    device_for_costs,
    feasible_set,
    load_data,
    placed,
    prepare,
    read_weights,
    require_same_data,
)
from .question import FINAL_JUDGE, Question, asked, named, to_document
from .record import Record
from .result.ending import Ending, Outcome
from .run import Run
from .run.copy import Mirror
from .run.journal import TornWarning
from .run.provenance import provenance
from .run.run import require_new
from .run.watch import Careful, Watch
from .stages import Stages
from .tune.cluster import Cluster, connected
from .tune.conductor import Conductor, Queue
from .tune.tuner import Work, checkpoint_name, run_trials

SAID = {
    "parent": "the vanilla network that candidates inherit from",
    "repeats": "the noise, by a second seed",
    "final": "the final stage, from nothing and under three seeds",
}
LEARNED = 2.0  # times what guessing has: with less, a network has learned hardly anything
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def search(
    space: str | None = None,
    budget: str | Sequence[str] = (),
    *,
    resume: str | Path | None = None,
    watch: Watch | None = None,
    **options: Any,
) -> Outcome:
    """Search a space for networks within budgets; the same search as the command line's.

    ``search("spconv_layerwise", "2.5GFLOPs", trials=40)``, or ``search(resume="results/RUN", trials=80)`` to go on.

    Args:
        space: a space's name, or the path of a YAML.
        budget: upper limits, such as ``2.5GFLOPs``; all must be kept.
        resume: a run's folder, to go on with it.
        watch: who is told what happens.
        options: the other fields of ``nas.question.Question``, which are the command line's options.

    Raises:
        BadInput: something that was asked is wrong or can't be had, or the search can't go on; one line.
    """
    written = {**options, **({"space": space} if space else {}), **({"budget": budget} if budget else {})}
    if resume is not None:
        return go_on(Path(resume), written, Careful(watch or Watch()))
    return begin(asked(written), Careful(watch or Watch()))


def begin(question: Question, watch: Watch) -> Outcome:
    """A new search. Whatever is wrong with the question is found before its folder is made."""
    question = named(question)
    require_new(question)
    with ExitStack() as stack:
        cluster = _joined(question, stack)
        ready = prepare(question, None if cluster is None else cluster.gpus, watch.doing)
        cluster = cluster or stack.enter_context(connected(None))
        cluster.trials_at_once(_resources(ready.question))
        about = {
            "backbone": asdict(ready.space.backbone),
            "data": ready.data.fingerprint(),
            "provenance": provenance(device_for_costs(ready.question)),
        }
        state = {"space": ready.space.document, "costs": table_to_document(ready.table)}
        run = stack.enter_context(Run.create(ready.question, about, state, ready.weights))
        candidates = Candidates(run, ready.space, ready.table, ready.feasible)
        stages = Stages(run, ready.space, ready.table, ready.feasible, candidates)
        return Search(run, ready, stages, cluster, watch).run_it()


def go_on(folder: Path, written: Mapping[str, Any], watch: Watch) -> Outcome:
    """A search that was begun before; one that has nothing left to do is reported, and nothing of it is changed."""
    with ExitStack() as stack:
        run = stack.enter_context(Run.open(folder, written))
        space = parse_space(run.question.space_name, run.space_document, str(run.state / "space.yaml"))
        table = table_from(run.costs_document)
        if table is None or set(table.slots) != set(space.slots):
            raise BadInput(
                f"--resume {run.folder}: state/costs.json can't be read, or lacks one of {', '.join(METRICS)}: "
                f"copy it with the run's folder; a run of a version without one of them can't be gone on with"
            )
        feasible = feasible_set(space, table, run.question)
        candidates = _recalled(lambda: Candidates(run, space, table, feasible), watch)
        stages = Stages(run, space, table, feasible, candidates)
        if not candidates.to_do and not stages.to_do():
            watch.said("nothing is left to do in this run; --trials N adds candidates")
            if to_document(run.question) != to_document(Run.read(run.folder).question):
                run.note({"changed": sorted(written)})
            outcome = Ending(run, space, table.device, stages).outcome(watch)
            _copy_all(_mirror(run), watch)
            return outcome
        cluster = _joined(run.question, stack)
        question = placed(run.question, None if cluster is None else cluster.gpus)
        data = load_data(question)
        require_same_data(data, run.document.get("data") or {})
        cluster = cluster or stack.enter_context(connected(None))
        cluster.trials_at_once(_resources(question))
        run = replace(run, question=question)
        move_checkpoints(run, watch)
        run.note({"trials": question.trials, **provenance(device_for_costs(question))})
        stages = replace(stages, run=run)
        return Search(run, Prepared(question, space, data, table, feasible), stages, cluster, watch).run_it()


def _joined(question: Question, stack: ExitStack) -> Cluster | None:
    """The cluster at ``--address``; one of this machine's own is started when everything else is known."""
    if question.address is None:
        return None
    return stack.enter_context(connected(question.address, question.allow_unauthenticated))


def _recalled(make: Callable[[], Candidates], watch: Watch) -> Candidates:
    """As the run's files say; a torn last line is said."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TornWarning)
        candidates = make()
    for warning in caught:
        if isinstance(warning.message, TornWarning):
            watch.said(f"warning: {warning.message}")
    return candidates


def move_checkpoints(run: Run, watch: Watch) -> None:
    """To where the trials will look for them, if ``--storage`` has changed; the old one may be gone."""
    stored = Run.read(run.folder).question.storage
    if stored == run.question.storage:
        return
    try:
        checkpoint.move_all(run.checkpoints(stored), run.checkpoints(run.question.storage))
    except (OSError, ValueError, ImportError) as error:
        said = " ".join(str(error).split())
        watch.said(f"checkpoints can't be moved to the new --storage, unfinished trials begin again: {said}")


def _mirror(run: Run) -> Mirror | None:
    storage = run.question.storage
    return None if storage is None else Mirror(run.folder, storage)


def _copy_all(mirror: Mirror | None, watch: Watch) -> None:
    """The copy at ``--storage``, at the end."""
    if mirror is not None:
        mirror.sync(now=True)
        if mirror.problem:
            watch.said(f"the copy at --storage is not complete: {mirror.problem}")


def _resources(question: Question) -> dict[str, float]:
    """Of one trial."""
    return {"cpu": question.cpus_per_trial, "gpu": question.gpus_per_trial or 0.0}


@dataclass(frozen=True)
class Leg:
    """One stage: by which judge and recipe; whether the weights are kept."""

    name: str
    judge: str
    recipe: Recipe
    keeps: bool = False


class Search:
    """The stages of a run whose folder this process alone writes: parent, trials, repeats, final."""

    def __init__(self, run: Run, ready: Prepared, stages: Stages, cluster: Cluster, watch: Watch) -> None:
        self.run, self.ready, self.stages, self.cluster, self.watch = run, ready, stages, cluster, watch
        self.candidates = stages.candidates
        storage = ready.question.storage
        self.mirror = _mirror(run)
        shared = storage is not None or cluster.is_one_machine()
        self.checkpoints = run.checkpoints(storage) if shared else None
        self.at_once = cluster.trials_at_once(_resources(ready.question))
        self.ending = Ending(run, ready.space, ready.table.device, stages)
        self.spent_s = self.running_s = 0.0

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
            _copy_all(self.mirror, self.watch)
        return outcome

    def _all_stages(self) -> Outcome:
        question = self.ready.question
        own = Leg("trials", question.judge, question.recipe)
        steps: list[tuple[Leg, Callable[[], Queue]]] = [
            (Leg("parent", "scratch", self.ready.scaled(PARENT), keeps=True), self.stages.parent),
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

    def _whole(self, leg: "Leg", queue: Queue) -> bool:
        """Whether a stage was done to its end."""
        if leg.name != "parent":
            self.stages.require_parent()
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
            parent=read_weights(self.run.parent_file) if leg.judge in WANT_PARENT else None,
            keeps_weights=leg.keeps,
        )
        judge: Judge = JUDGES[leg.judge](setting)
        return Work(
            run=self.run.folder.name,
            stage=leg.name,
            judge=judge,
            trials=queue.to_do,
            resources=_resources(question),
            checkpoints=self.checkpoints,
            at_once=self._places,
            grows=self.cluster.joined,
        )

    def _places(self) -> int:
        """Trials that the cluster holds now: one that was joined may have grown, or have lost its last node."""
        if not self.cluster.joined:
            return self.at_once
        try:
            return self.cluster.trials_at_once(_resources(self.ready.question))
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
        if self.checkpoints is None:
            said("the nodes share no folder (--storage names one): a trial whose node is lost starts over")

    def _ended(self, stage: str, record: Record) -> None:
        """Called with each record that is on disk."""
        self._forget(stage, record)
        if record.name.partition(",")[0] == "vanilla" and record.finished:
            self._say_if_nothing_was_learned(record.accuracy or 0.0)
        if self.mirror is not None:
            self.mirror.sync()
            if self.mirror.problem:
                self.watch.said(f"the copy at --storage is behind: {self.mirror.problem}")

    def _say_if_nothing_was_learned(self, accuracy: float) -> None:
        """By the vanilla network, from which more may be expected than from what replaces it."""
        chance = 1 / self.ready.data.classes
        if accuracy < LEARNED * chance:
            self.watch.said(
                f"the vanilla network's proxy has {accuracy:.1%} after a trial, where guessing has {chance:.1%}: "
                "it learns too little for scores to tell networks apart; train longer (--epochs)"
            )

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
