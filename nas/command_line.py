"""Finds, layer by layer, which compact convolution to use where in a network,
within a budget of FLOPs, parameters or milliseconds."""

import argparse
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from search_spaces.catalogue import list_spaces, operators_of, read_space
from search_spaces.checks import BadInput, expanded
from search_spaces.late import Late
from search_spaces.one_line import BAD_INPUT, Parser

from .budget import within
from .question import asked, named, options
from .result.found import Found
from .result.tables import print_lines, print_results, print_verdict
from .run.run import Run, require_new
from .watch.terminal import Printer, Terminal, make_printable
from .watch.watch import Several

if TYPE_CHECKING:
    from .result.ending import Outcome

INTERRUPTED = 130
NOTHING_FOUND = 1
EPILOG = """examples:
  python launch.py --space spconv_layerwise --budget 2.5GFLOPs
  python launch.py --space mixed_layerwise --budget 2GFLOPs --budget 12MParams --dry-run
  python launch.py --resume results/RUN --trials 200"""

_begin = Late(
    "nas.searching", "begin"
)  # these import torch, Ray and the rest: not before it is known that they are wanted
_go_on = Late("nas.searching", "go_on")
_prepare = Late("nas.preparation", "prepare")
_print_dry_run = Late("nas.result.dry_run", "print_dry_run")


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status: 0, 1 without a result, 2 on bad input, 130 after Ctrl-C."""
    make_printable()
    program = parser()
    written = vars(program.parse_args(_with_negative_values(arguments)))
    console = Printer()
    try:
        return _answer(written, console)
    except BadInput as error:
        Console(stderr=True, soft_wrap=True).print(f"{program.prog}: {error}", highlight=False, markup=False)
        return BAD_INPUT
    except KeyboardInterrupt:
        print_lines(console, "interrupted: trials that had ended are in the run's ledger")
        return INTERRUPTED


def _answer(written: dict[str, Any], console: Console) -> int:
    list_them, dry_run, run = (written.pop(name, None) for name in ("list_spaces", "dry_run", "resume"))
    if run is not None and (list_them or dry_run):
        raise BadInput(f"--resume: {'--list-spaces' if list_them else '--dry-run'} goes without it")
    if list_them:
        _print_spaces(console)
        return 0
    watch = Several([] if written.pop("quiet", False) else [Terminal(console)])
    try:
        if run is not None:
            Run.to_go_on(run, written)  # a mistake is told before anything slow is imported
            watch.said(f"going on with {run}")
            return _report(_go_on(run, written, watch), console)
        question = named(asked(written))
        watch.said(f"{question.space_name} within {within(question.budget)}")
        if dry_run:
            if question.address is not None:
                watch.said("--dry-run asks no cluster: devices and times are this machine's")
            ready = _prepare(question, None, watch.doing)
            watch.closed()
            _print_dry_run(console, ready)
            return 0
        require_new(question)
        return _report(_begin(question, watch), console)
    finally:
        watch.closed()


def _report(outcome: "Outcome", console: Console) -> int:
    """What was found, as tables and sentences."""
    front = outcome.front
    shown = {r.key for r in front}
    beside = sorted((r for r in outcome.references if r.key not in shown), key=lambda r: -r.costs["flops"])
    found = Found(outcome.measured, outcome.pool, outcome.verdict)
    print_results(console, outcome.run.question.budget, (front, beside), outcome.best, found)
    if outcome.verdict is not None:
        print_verdict(console, outcome.verdict)
    print_lines(console, _summary(outcome))
    folder = outcome.run.folder
    if outcome.best is None:
        print_lines(console, "no candidate finished within every budget: there is no best.yaml")
    else:
        print_lines(console, f"best: {folder / 'best.yaml'}; the front: {folder / 'front'}")
    if outcome.interrupted:
        print_lines(console, f"to go on: --resume {folder}")
        return INTERRUPTED
    return 0 if outcome.best else NOTHING_FOUND


def _summary(outcome: "Outcome") -> str:
    """``12 of 12 candidates finished; 97% of …``."""
    candidates = outcome.candidates
    parts = [f"{sum(r.finished for r in candidates)} of {len(candidates)} candidates finished"]
    halved = sum(r.micro_batches > 1 for r in candidates)
    if halved:
        parts.append(f"{halved} in smaller micro-batches, for lack of memory: their BatchNorm saw other batches")
    if outcome.in_training is not None:
        parts.append(f"{outcome.in_training:.0%} of the trials' time went into training")
    if outcome.exhausted:
        parts.append(outcome.exhausted)
    if outcome.interrupted:
        parts.append("interrupted")
    return "; ".join(parts)


def _print_spaces(console: Console) -> None:
    """Every space that comes with the package, from its YAML alone."""
    for name in list_spaces():
        _, document = read_space(name)
        backbone = document["backbone"]
        network = f"{backbone['name']}, {backbone['resolution']}²"
        print_lines(console, f"{name} ({network}, {', '.join(operators_of(document))}): {document['description']}")


def _with_negative_values(arguments: Sequence[str]) -> list[str]:
    """``--budget -1MFLOPs`` → ``--budget=-1MFLOPs``, or argparse takes the value for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--budget":
            joined[-1] = f"--budget={argument}"
        else:
            joined.append(argument)
    return joined


def parser() -> argparse.ArgumentParser:
    """It leaves out what the user did not write."""
    program = Parser(
        prog="launch.py",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    groups: dict[str, Any] = {}
    for name, (field, option) in options().items():
        group = groups.get(option.group) or groups.setdefault(option.group, program.add_argument_group(option.group))
        flag = f"--{name.replace('_', '-')}"
        if option.flag:
            group.add_argument(flag, action="store_true", help=option.help)
            continue
        shown = isinstance(field.default, (str, int, float, Path)) and field.default != ""
        plain = shown and "(default" not in option.help
        text = f"{option.help} (default: {field.default})" if plain else option.help
        action = "append" if option.repeated else "store"
        group.add_argument(
            flag, type=option.type, action=action, help=text.replace("%", "%%"), metavar=_metavar(name, option.type)
        )
    runs = program.add_argument_group("other than a new search")
    runs.add_argument(
        "--resume", type=_folder, metavar="RUN", help="go on with a run, such as results/NAME; --trials N extends it"
    )
    runs.add_argument(
        "--dry-run", action="store_true", help="say what would be searched and what it reaches, train nothing"
    )
    runs.add_argument("--list-spaces", action="store_true", help="say which spaces there are")
    runs.add_argument("--quiet", action="store_true", help="say nothing but the result; state/search.log has the rest")
    runs.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    return program


def _metavar(name: str, of: Any) -> str:
    return name.rpartition("_")[2].upper() if of is str else "N"


def _folder(text: str) -> Path:
    return expanded(text)


def _version() -> str:
    try:
        return version("layerwise-nas")
    except PackageNotFoundError:
        return "(a checkout that is not installed)"
