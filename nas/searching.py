"""A whole search: what is known first, then the legs of it, then what was found. Knows no terminal."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from search_spaces.checks import BadInput
from search_spaces.space import parse_space
from trainers import checkpoint

from .candidates import Candidates
from .cost.table import table_from, table_to_document
from .legs import Search, copy_all, mirror_of, resources
from .metrics import METRICS
from .preparation import (
    Prepared,
    device_for_costs,
    feasible_set,
    load_data,
    placed,
    prepare,
    require_same_data,
)
from .question import Question, asked, named, to_document
from .result.ending import Ending, Outcome
from .run import Run
from .run.journal import TornWarning
from .run.provenance import provenance
from .run.run import require_new
from .run.watch import Careful, Watch
from .stages import Stages
from .tune.cluster import Cluster, connected


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
        cluster.trials_at_once(resources(ready.question))
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
            copy_all(mirror_of(run), watch)
            return outcome
        cluster = _joined(run.question, stack)
        question = placed(run.question, None if cluster is None else cluster.gpus)
        data = load_data(question)
        require_same_data(data, run.document.get("data") or {})
        cluster = cluster or stack.enter_context(connected(None))
        cluster.trials_at_once(resources(question))
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
