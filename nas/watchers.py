"""Who watches a search besides the terminal: its log, the tools of the trade, Ray's dashboard."""

from functools import partial

from .candidates import Candidates
from .cost.table import CostTable
from .progress import scale_of
from .question import to_document
from .run import Run
from .tune.gauges import Gauges
from .tune.shown import ShownTrials
from .watch.boards import SearchBoards
from .watch.log import Log
from .watch.optuna_journal import OptunaJournal
from .watch.tensorboard import TrialBoards
from .watch.watch import Asked, Several, Watch


def watched(watch: Watch, run: Run, table: CostTable, candidates: Candidates) -> Watch:
    """``watch`` and all others, told in turn.

    Raises:
        BadInput: a board that was asked for can't be begun.
    """
    space = candidates.space
    budgets, classes = run.question.budget, int(run.document["data"]["classes"])
    scale = scale_of(budgets, partial(table.ends, space), classes)
    said = {name: value for name, value in to_document(run.question).items() if name != "recipe"}
    said |= to_document(run.question)["recipe"]
    boards = SearchBoards(run.question.log, run.folder, said, len(run.candidates), watch.said)
    others: list[Watch] = [Log(run.state / "search.log"), TrialBoards(run.folder / "tensorboard"), boards]
    try:
        ended = [*run.candidates, *run.references]
        others.append(OptunaJournal(run.state / "optuna.log", run.folder.name, space, budgets, ended))
    except Exception as error:  # a copy for looking at ends no search
        watch.said(f"there is no Optuna journal: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
    every = Several([watch, *others, Gauges(run.folder.name), ShownTrials(run.folder.name, table)])
    also = frozenset(candidates.also_candidates)
    every.searches(Asked(run.folder.name, budgets, scale, also, run.question.seed), run.candidates)
    return every
