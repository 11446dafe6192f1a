"""The command line: parse, hand over, print."""

import argparse
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NoReturn, TypeVar

import torch
from rich.console import Console

from search_spaces.checks import BadInput
from trainers.data import DATASETS
from trainers.recipe import Recipe

from .budget import EXAMPLES
from .cluster import Cluster
from .cost.table import CostTable, build_table
from .describe import print_dry_run, print_spaces
from .export import export, final_latencies, print_results, to_be_timed, write_question
from .ledger import ledger_if_any
from .papers.rows import published
from .picture import draw
from .question import DEFAULT_TRIALS, Question, check_run, create_run, resolve_device, resolve_space
from .samplers import SAMPLERS
from .search import Outcome, cache_folder, connected, device_for_costs, feasible_set, fitted, load_data, search, within

BAD_INPUT = 2
INTERRUPTED = 130
NOTHING_FOUND = 1
SIGN_OF_LIFE_S = 5.0
T = TypeVar("T")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, exit status 2."""
        self.exit(BAD_INPUT, f"{self.prog}: {message} (--help lists all options)\n")


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status: 0, 1 without a result, 2 on bad input, 130 after Ctrl-C."""
    parsed = _parser().parse_args(_with_negative_values(arguments))
    console = Console()
    try:
        if parsed.list_spaces:
            print_spaces(console)
            return 0
        torch.set_num_threads(1)
        return _answer(_or_exit(lambda: _question(parsed)), parsed.dry_run, console)
    except KeyboardInterrupt:
        console.print("interrupted: trials that had ended are in the run's ledger")
        return INTERRUPTED


def _answer(question: Question, dry_run: bool, console: Console) -> int:
    """Everything that is wrong with the question is said before the run's folder is made."""
    device = device_for_costs(question)
    if not dry_run:
        _or_exit(lambda: check_run(question.run))
    console.print(
        f"{question.space.name} within {within(question.budgets)}: run {question.run}", highlight=False, soft_wrap=True
    )
    data = _or_exit(lambda: load_data(question))
    question = fitted(question, data)
    table = _measured(question, device, console)
    feasible = _or_exit(lambda: feasible_set(question, table))
    if dry_run:
        print_dry_run(console, question, table, feasible, data)
        return 0
    with ExitStack() as stack:
        cluster: Cluster = _or_exit(lambda: stack.enter_context(connected(question)))
        console.print(cluster.login, highlight=False, soft_wrap=True)
        _or_exit(lambda: create_run(question.run))
        write_question(question, device, cluster.at_once)
        try:
            outcome = search(question, table, feasible, data, cluster.at_once, console)
        except BaseException:  # whatever it was, a second Ctrl-C included: what is finished is exported
            export(question, ledger_if_any(question.run / "trials.jsonl"), device, {})
            raise
    return _report(question, outcome, device, console)


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

        return build_table(question.space, device, cache_folder(question.output), progress)


def _report(question: Question, outcome: Outcome, device: torch.device, console: Console) -> int:
    """Export what there is and print it."""
    candidates, beside = outcome.candidates, outcome.references
    export(question, candidates, device, {})  # first of all, whatever happens to the measurement
    latencies = {} if outcome.interrupted else final_latencies(to_be_timed(question, candidates, beside), device)
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


def _question(parsed: argparse.Namespace) -> Question:
    """ValueError on the first thing that is wrong."""
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
    )


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="launch.py", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--space", default="spconv_layerwise", help="a space's name (--list-spaces) or the path of a YAML")
    add("--budget", action="append", default=[], help=f"an upper limit: {EXAMPLES}; may be given several times")
    add(
        "--trials",
        type=int,
        help=f"candidates to train (default: {DEFAULT_TRIALS['cpu']}, on GPUs {DEFAULT_TRIALS['cuda']})",
    )
    add("--sampler", default="tpe", help=f"{', '.join(SAMPLERS)} (default: tpe)")
    add("--dataset", default="digits_on_photos", help=f"{', '.join(DATASETS)} (default: digits_on_photos)")
    add("--data-root", type=Path, help="the folder of a data set that does not come with the package")
    add("--epochs", type=int, help=f"epochs a trial trains (default: {Recipe().epochs})")
    add("--seed", type=int, default=0, help="the same seed: the same proposals and trainings (default: 0)")
    add(
        "--proxy-width",
        type=float,
        default=0.25,
        help="the proxy's channels, as a share of the target's (default: 0.25)",
    )
    add("--proxy-resolution", type=int, default=24, help="the proxy's input in pixels (default: 24)")
    add("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    add("--cpus-per-trial", type=float, default=1.0, help="CPU cores of a trial (default: 1)")
    add("--gpus-per-trial", type=float, help="GPUs of a trial, may be a fraction (default: 0.25 where there is one)")
    add("--address", help="join a running Ray cluster: auto or HOST:PORT (default: start one here)")
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
