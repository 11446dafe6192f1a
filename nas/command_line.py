"""The command line: parse, hand over, print."""

import argparse
import errno
import shutil
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch
from rich.console import Console

from search_spaces.checks import BadInput
from trainers.data import DATASETS, ImageData
from trainers.recipe import Recipe

from .budget import EXAMPLES
from .cost.apart import measure_apart
from .cost.latency import describe
from .cost.table import CostTable, build_table
from .feasible import Feasible
from .papers.rows import published
from .question import DEFAULT_TRIALS, Question, check_run, create_run, resolve_device, resolve_space
from .result.dry_run import print_dry_run, print_spaces
from .result.export import export, final_latencies, print_results, to_be_timed, write_question
from .result.picture import draw
from .resume import keep, kept_table, resumed
from .run.copy import Mirror, checked
from .run.journal import TornWarning
from .run.lock import locked
from .samplers import SAMPLERS
from .searching import (
    Outcome,
    cache_folder,
    connected,
    device_for_costs,
    feasible_set,
    fitted,
    load_data,
    outcome_of,
    proposer_of,
    search,
    within,
)
from .tune.cluster import Cluster
from .tune.proposer import Proposer

BAD_INPUT = 2
INTERRUPTED = 130
NOTHING_FOUND = 1
SIGN_OF_LIFE_S = 5.0
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
T = TypeVar("T")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, exit status 2."""
        self.exit(BAD_INPUT, f"{self.prog}: {message} (--help lists all options)\n")


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status: 0, 1 without a result, 2 on bad input, 130 after Ctrl-C."""
    arguments = _with_negative_values(arguments)
    parsed = _parser().parse_args(arguments)
    given = vars(_parser(only_given=True).parse_args(arguments))
    console = Console()
    try:
        if parsed.list_spaces and not parsed.resume:
            print_spaces(console)
            return 0
        torch.set_num_threads(1)
        return _answer(_or_exit(lambda: _question(parsed, given)), parsed.dry_run, console)
    except KeyboardInterrupt:
        console.print("interrupted: trials that had ended are in the run's ledger")
        return INTERRUPTED


def _answer(question: Question, dry_run: bool, console: Console) -> int:
    """Everything that is wrong with the question is said before the run's folder is made."""
    device = device_for_costs(question)
    if not dry_run and not question.resumed:
        _or_exit(lambda: check_run(question.run))
    doing = "goes on in" if question.resumed else "run"
    console.print(
        f"{question.space.name} within {within(question.budgets)}: {doing} {question.run}",
        highlight=False,
        soft_wrap=True,
    )
    data = _or_exit(lambda: load_data(question))
    question = fitted(question, data)
    table = _or_exit(lambda: kept_table(question)) if question.resumed else _measured(question, device, console)
    feasible = _or_exit(lambda: feasible_set(question, table))
    if dry_run:
        print_dry_run(console, question, table, feasible, data)
        return 0
    with ExitStack() as stack:
        if not question.resumed:
            _or_exit(lambda: create_run(question.run))
        _or_exit(lambda: stack.enter_context(locked(question.state / "lock")))
        try:
            return _searched(question, table, feasible, data, device, console)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            return _out_of_disk(question, error)


def _searched(
    question: Question, table: CostTable, feasible: Feasible, data: ImageData, device: torch.device, console: Console
) -> int:
    """Run what is to be done in a run's folder that this process alone writes."""
    proposer = _or_exit(lambda: _proposer(question, table, feasible, console))
    mirror = None if question.storage is None else Mirror(question.run, question.storage)
    if proposer.to_do:
        outcome = _run(question, proposer, table, data, device, mirror, console)
    else:
        console.print("nothing is left to do in this run; --trials N adds candidates", highlight=False)
        outcome = outcome_of(proposer, 1)
    status = _report(question, table, outcome, device, console)
    if mirror is not None:
        mirror.sync(now=True)
        if mirror.problem:
            console.print(f"the copy at --storage is not complete: {mirror.problem}", highlight=False, soft_wrap=True)
    return status


def _run(
    question: Question,
    proposer: Proposer,
    table: CostTable,
    data: ImageData,
    device: torch.device,
    mirror: Mirror | None,
    console: Console,
) -> Outcome:
    """The trials, on Ray."""
    if not question.resumed:
        keep(question, table)
    write_question(question, device)  # last of all: a folder with it is a run
    with ExitStack() as stack:
        cluster: Cluster = _or_exit(lambda: _connected(question, stack))
        console.print(cluster.login, highlight=False, soft_wrap=True)
        try:
            return search(question, proposer, data, cluster.at_once, console, mirror)
        except BaseException:  # whatever it was, a second Ctrl-C included: what is finished is exported
            export(question, proposer.ledger.records, device, {})
            raise


def _connected(question: Question, stack: ExitStack) -> Cluster:
    """Ray. A new run that can't have it leaves no folder."""
    try:
        return stack.enter_context(connected(question))
    except BadInput:
        if not question.resumed:
            shutil.rmtree(question.run, ignore_errors=True)
        raise


def _proposer(question: Question, table: CostTable, feasible: Feasible, console: Console) -> Proposer:
    """As the run's files say; a torn last line is said."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        proposer = proposer_of(question, table, feasible)
    for warning in caught:
        if isinstance(warning.message, TornWarning):
            console.print(f"warning: {warning.message}", highlight=False, soft_wrap=True)
    return proposer


def _out_of_disk(question: Question, error: OSError) -> int:
    """Nothing more can be written; what was written is whole."""
    return _say(
        f"{error.filename or question.run}: {error.strerror or error}: the search stopped; no trial that had ended is "
        f"lost: make room, then go on by --resume {question.run}"
    )


def _measured(question: Question, device: torch.device, console: Console) -> CostTable:
    """The cost table, with a sign of life while it is measured."""
    said = time.monotonic()
    with console.status("measuring the cost of every choice") as status:

        def progress(text: str) -> None:
            nonlocal said
            status.update(text)
            if not console.is_terminal and time.monotonic() - said > SIGN_OF_LIFE_S:
                console.print(text, highlight=False)
                said = time.monotonic()

        return build_table(question.space, device, cache_folder(question.output), progress, measure_apart)


def _report(question: Question, table: CostTable, outcome: Outcome, device: torch.device, console: Console) -> int:
    """Export what there is and print it."""
    if outcome.disk_error:
        raise outcome.disk_error
    candidates, beside = outcome.candidates, outcome.references
    export(question, candidates, device, {})  # first of all, whatever happens to the measurement
    same = table.device == describe(device)["device"]
    if not same:
        console.print(f"latency is that of {table.device}: this machine times no whole networks", highlight=False)
    timed = to_be_timed(question, candidates, beside) if same and not outcome.interrupted else []
    latencies = final_latencies(timed, device)
    best = export(question, candidates, device, latencies)
    points = published(question.space.backbone)
    draw(question.run / "pareto.png", question.name, question.budgets, candidates, beside, points)
    print_results(console, question.budgets, candidates, beside, best, latencies)
    console.print(outcome.summary(), highlight=False, soft_wrap=True)
    if best is None:
        console.print("no candidate finished within every budget: there is no best.yaml")
    else:
        console.print(
            f"best: {question.run / 'best.yaml'}; the front: {question.run / 'front'}", highlight=False, soft_wrap=True
        )
    if outcome.interrupted:
        console.print(f"to go on: --resume {question.run}", highlight=False, soft_wrap=True)
        return INTERRUPTED
    return 0 if best else NOTHING_FOUND


def _or_exit(step: Callable[[], T]) -> T:
    """What ``step`` returns; bad input ends the program in one line, any other error keeps its traceback."""
    try:
        return step()
    except BadInput as error:
        raise SystemExit(_say(str(error))) from None


def _say(message: str) -> int:
    Console(stderr=True, soft_wrap=True).print(f"launch.py: {message}", highlight=False, markup=False)
    return BAD_INPUT


def _with_negative_values(arguments: Sequence[str]) -> list[str]:
    """``--budget -1MFLOPs`` → ``--budget=-1MFLOPs``, or argparse takes the value for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--budget":
            joined[-1] = f"--budget={argument}"
        else:
            joined.append(argument)
    return joined


def _question(parsed: argparse.Namespace, given: dict[str, Any]) -> Question:
    """BadInput on the first thing that is wrong. ``given`` is what the user wrote, without defaults."""
    if parsed.storage is not None:
        parsed.storage = given["storage"] = checked(parsed.storage)
    if parsed.resume is not None:
        return resumed(parsed.resume if parsed.resume.name else parsed.resume.resolve(), given)
    space, budgets = resolve_space(parsed.space, parsed.budget)
    device, gpus = resolve_device(parsed.device, parsed.gpus_per_trial, parsed.address)
    recipe = Recipe() if parsed.epochs is None else replace(Recipe(), epochs=parsed.epochs)
    return Question(
        space=space,
        budgets=budgets,
        trials=DEFAULT_TRIALS[device] if parsed.trials is None else parsed.trials,
        sampler=parsed.sampler,
        dataset=parsed.dataset,
        data_root=parsed.data_root,
        recipe=recipe,
        seed=parsed.seed,
        proxy_width=parsed.proxy_width,
        proxy_resolution=parsed.proxy_resolution,
        device=device,
        cpus_per_trial=parsed.cpus_per_trial,
        gpus_per_trial=gpus,
        address=parsed.address,
        output=parsed.output,
        name=parsed.name or f"{space.name}-{time.strftime('%Y%m%d-%H%M%S')}",
        references=not parsed.no_references,
        storage=parsed.storage,
        allow_unauthenticated=parsed.allow_unauthenticated,
    )


def _parser(only_given: bool = False) -> argparse.ArgumentParser:
    """The options; with ``only_given`` those that the user did not write are left out of what it parses."""
    parser = _Parser(prog="launch.py", description=__doc__, allow_abbrev=False)

    def add(name: str, **settings: Any) -> None:
        parser.add_argument(name, **({**settings, "default": argparse.SUPPRESS} if only_given else settings))

    add("--space", default="spconv_layerwise", help="a space's name (--list-spaces) or the path of a YAML")
    add("--budget", action="append", default=[], help=f"an upper limit: {EXAMPLES}; may be given several times")
    add(
        "--trials",
        type=int,
        help=f"candidates to train (default: {DEFAULT_TRIALS['cpu']}, on GPUs {DEFAULT_TRIALS['cuda']})",
    )
    add("--sampler", default=Question.sampler, help=f"{', '.join(SAMPLERS)} (default: {Question.sampler})")
    add("--dataset", default=Question.dataset, help=f"{', '.join(DATASETS)} (default: {Question.dataset})")
    add("--data-root", type=Path, help="the folder of a data set that does not come with the package")
    add("--epochs", type=int, help=f"epochs a trial trains (default: {Recipe().epochs})")
    add("--seed", type=int, default=Question.seed, help="the same seed: the same proposals and trainings (default: 0)")
    add(
        "--proxy-width",
        type=float,
        default=Question.proxy_width,
        help=f"the proxy's channels, as a share of the target's (default: {Question.proxy_width})",
    )
    add(
        "--proxy-resolution",
        type=int,
        default=Question.proxy_resolution,
        help="the proxy's input in pixels (default: 24)",
    )
    add("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    add("--cpus-per-trial", type=float, default=Question.cpus_per_trial, help="CPU cores of a trial (default: 1)")
    add("--gpus-per-trial", type=float, help="GPUs of a trial, may be a fraction (default: 0.25 where there is one)")
    add("--address", help="join a running Ray cluster: auto or HOST:PORT (default: start one here)")
    add("--allow-unauthenticated", action="store_true", help="join a cluster that asks for no token")
    add("--storage", help="a shared folder or cloud address (s3://…) for checkpoints and a copy of the run")
    add("--resume", type=Path, metavar="RUN", help="go on with a run, such as results/NAME; --trials N extends it")
    add("--output", type=Path, default=Path("results"), help="the results folder (default: results)")
    add("--name", help="the run's name, a folder in the results folder (default: the space and the time)")
    add(
        "--no-references",
        action="store_true",
        help="don't train the vanilla network and the papers' settings beside it",
    )
    add("--dry-run", action="store_true", help="say what would be searched and what it reaches, train nothing")
    add("--list-spaces", action="store_true", help="say which spaces there are")
    return parser
