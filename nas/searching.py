"""A whole search: what is known first, then the legs of it, then what was found. Knows no terminal."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from search_spaces import Space
from search_spaces.architecture import Model
from search_spaces.backbones.foreign import OWN, give, imported, is_own
from search_spaces.checks import BadInput
from search_spaces.space import fingerprint, parse_space
from trainers import checkpoint
from trainers.cluster.connection import Cluster, connected
from trainers.data import GIVEN
from trainers.data.given import image_data
from trainers.full.boards import require_boards

from .candidates import Candidates
from .cost.table import table_from, table_to_document
from .devices import device_for_costs, place_of, placed
from .legs import Search, copy_all, mirror_of, resources
from .metrics import METRICS
from .option import PRETRAINED
from .preparation import Prepared, feasible_set, load_data, prepare, require_same_data
from .question import Question, asked, named, to_document
from .result.ending import Ending, Outcome
from .run import Run
from .run.journal import TornWarning
from .run.provenance import provenance
from .run.run import require_new
from .stages import Stages
from .watch.log import Log
from .watch.watch import Several, Watch
from .watchers import watched

Data = Mapping[str, Any] | Sequence[Any] | None


def search(
    space: str | None = None,
    budget: str | Sequence[str] = (),
    *,
    model: str | Model | None = None,
    data: Mapping[str, Any] | Sequence[Any] | None = None,
    resume: str | Path | None = None,
    watch: Watch | None = None,
    **options: Any,
) -> Outcome:
    """Search a space for networks within budgets; the same search as the command line's.

    ``search("spconv_layerwise", "2.5GFLOPs", trials=40)``, or ``search(resume="results/RUN", trials=80)`` to go on.
    ``search(budget="60%", model=my_network, data=(train, validation, test))`` searches a network of the user's own.

    Args:
        space: a space's name, or the path of a YAML.
        budget: upper limits, such as ``2.5GFLOPs``; all must be kept.
        model: a network to whose layers the space's choices are applied: a name as for ``--model``, a function that
            returns an ``nn.Module`` (it may take ``num_classes``), or an ``nn.Module``, from whose weights candidates
            start. A run of a network that was no name, or of one's own code, is gone on with by giving it again.
        data: ``train``, ``validation`` and ``test``, of each images and labels, or a data set: ``trainers.data.given``.
        resume: a run's folder, to go on with it.
        watch: who is told what happens.
        options: the other fields of ``nas.question.Question``, which are the command line's options.

    Raises:
        BadInput: something that was asked is wrong or can't be had, or the search can't go on; one line.
    """
    written = {**options, **({"space": space} if space else {}), **({"budget": budget} if budget else {})}
    if model is not None:
        written["model"] = model if isinstance(model, str) else give(model)
    if resume is not None:
        return go_on(Path(resume), written, Several([watch or Watch()]), data)
    if isinstance(model, nn.Module) and "weights" not in written and written.get("judge", "inherited") == "inherited":
        written["weights"] = PRETRAINED  # its own
    if data is not None and "dataset" in written:
        raise BadInput(f"data is given, so dataset must be left out, got {written['dataset']!r}")
    if data is not None:
        written["dataset"] = GIVEN
    return begin(asked(written), Several([watch or Watch()]), data)


def begin(question: Question, watch: Watch, data: Data = None) -> Outcome:
    """A new search. Whatever is wrong with the question is found before its folder is made."""
    question = named(question)
    given = None if data is None else image_data(data, question.proxy_resolution)
    require_new(question)
    require_boards(question.log)
    with ExitStack() as stack:
        cluster = _joined(question, stack)
        gpus = None if cluster is None else cluster.gpus
        on_a_gpu = None if cluster is None else partial(cluster.on_a_gpu, watch.doing)
        ready = prepare(question, gpus, watch.doing, given, on_a_gpu)
        cluster = cluster or stack.enter_context(connected(None))
        cluster.trials_at_once(resources(ready.question))
        about = {
            "backbone": ready.space.backbone.to_dict(),
            "network": fingerprint(ready.space.backbone),
            "data": ready.data.fingerprint(),
            "provenance": provenance(device_for_costs(ready.question)),
        }
        state = {"space": ready.space.document, "costs": table_to_document(ready.table)}
        run = stack.enter_context(Run.create(ready.question, about, state, ready.weights))
        candidates = Candidates(run, ready.space, ready.table, ready.feasible)
        stages = Stages(run, ready.space, ready.table, ready.feasible, candidates)
        return Search(run, ready, stages, cluster, watched(watch, run, ready.table, candidates)).run_it()


def go_on(folder: Path, written: Mapping[str, Any], watch: Watch, given: Data = None) -> Outcome:
    """A search that was begun before; one that has nothing left to do is reported, and nothing of it is changed."""
    with ExitStack() as stack:
        run = stack.enter_context(Run.open(folder, written))
        require_boards(run.question.log)
        _let_be_built(run.question, "model" in written)
        space = parse_space(run.question.space_name, run.space_document, str(run.state / "space.yaml"))
        table = table_from(run.costs_document)
        if table is None or set(table.slots) != set(space.slots):
            raise BadInput(
                f"--resume {run.folder}: state/costs.json can't be read, or lacks one of {', '.join(METRICS)}: "
                f"copy it with the run's folder; a run of a version without one of them can't be gone on with"
            )
        _require_same_network(run, space)
        feasible = feasible_set(space, table, run.question)
        candidates = _recalled(lambda: Candidates(run, space, table, feasible), watch)
        stages = Stages(run, space, table, feasible, candidates)
        if not candidates.to_do and not stages.to_do():
            watch.said("nothing is left to do in this run; --trials N adds candidates")
            if to_document(run.question) != to_document(Run.read(run.folder).question):
                run.note({"changed": sorted(written)})
            ending = Ending(run, space, table, stages, place_of(run.question, None))
            if ending.there is None and not ending.is_over and (cluster := _joined(run.question, stack)) is not None:
                ending.there = partial(cluster.on_a_gpu, watch.doing)
            if ending.there is not None and not ending.is_over:
                watch = Several([watch, Log(run.state / "search.log")])
            outcome = ending.outcome(watch)
            copy_all(mirror_of(run), watch)
            return outcome
        cluster = _joined(run.question, stack)
        question = placed(run.question, None if cluster is None else cluster.gpus)
        data = load_data(question) if given is None else image_data(given, question.proxy_resolution)
        require_same_data(data, run.document.get("data") or {})
        cluster = cluster or stack.enter_context(connected(None))
        cluster.trials_at_once(resources(question))
        run = replace(run, question=question)
        move_checkpoints(run, watch)
        run.note({"trials": question.trials, **provenance(device_for_costs(question))})
        stages = replace(stages, run=run)
        ready = Prepared(question, space, data, table, feasible)
        return Search(run, ready, stages, cluster, watched(watch, run, table, candidates)).run_it()


def _let_be_built(question: Question, again: bool) -> None:
    """Import a user's own network, where the user names it again: a run's folder alone can have no code run."""
    model = question.model
    if model is not None and is_own(model) and model not in OWN:
        if not again:
            raise BadInput(f"--resume: the run searches {model}, code of your own: name it again by --model {model}")
        imported(model)


def _require_same_network(run: Run, space: Space) -> None:
    """BadInput where a foreign network is no longer the one that the run began with."""
    if fingerprint(space.backbone) != run.document.get("network"):
        raise BadInput(
            f"--resume: {space.backbone.name} is not the network that the run began with: its code, or the library's "
            "version, has changed; start a new run for it"
        )


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
