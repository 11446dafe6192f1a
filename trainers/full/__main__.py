"""``python -m trainers.full BEST.yaml``: trains an exported architecture by the recipe in its YAML."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from search_spaces.backbones.foreign import OWN, imported
from search_spaces.checks import BadInput
from search_spaces.late import Late
from search_spaces.one_line import BAD_INPUT, Parser

from ..data import DATASETS
from . import program
from .boards import BOARDS, require_boards
from .team import Team

INTERRUPTED = 130
_train_together = Late("trainers.cluster.together", "train_together")  # it imports Ray
DESCRIPTION = """Trains an architecture in full: one that a search exported, or a published one
(python -m nas.papers --export ID). The recipe stands in the YAML's section 'training'; the options change it.

What it leaves, by default beside the YAML: trained.yaml (the YAML with the final metrics), best.safetensors,
last.pt, metrics.jsonl and TensorBoard's events.
"""


def parser() -> argparse.ArgumentParser:
    made = Parser(
        "python -m trainers.full", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "architecture", nargs="?", type=Path, help="an architecture's YAML, such as results/RUN/best.yaml"
    )
    made.add_argument("--model", help="PACKAGE.MODULE:FUNCTION, where the YAML names a network of your own code")
    made.add_argument("--resume", type=Path, metavar="FOLDER", help="go on with the training in this folder")
    made.add_argument("--output", type=Path, metavar="FOLDER", help="default: full-NAME beside the YAML NAME.yaml")
    made.add_argument("--dataset", help=f"default: the recipe's; {', '.join(DATASETS)}")
    made.add_argument("--data-root", help="the folder of a data set that does not come with the package")
    made.add_argument("--all-images", action="store_true", help="train on the validation images too, as the papers do")
    made.add_argument("--resolution", type=int, help="of the input, in pixels; default: the backbone's")
    made.add_argument("--epochs", type=int, help="another length: steps of the rate and warm-up move with it")
    made.add_argument("--batch", type=int)
    made.add_argument("--lr", type=float)
    made.add_argument(
        "--from", dest="start", metavar="WEIGHTS", help="of this network, or of its vanilla one, to inherit from"
    )
    made.add_argument(
        "--teacher",
        metavar="WEIGHTS",
        help="of the vanilla network, which the trained one is to come near, too",
    )
    made.add_argument("--micro-batches", type=int, help="parts that a batch goes through in, where memory lacks")
    made.add_argument("--loaders", type=int, default=0, help="processes that load images (%(default)s: none)")
    made.add_argument(
        "--log", action="append", default=[], metavar="BOARD", help=f"beside TensorBoard: {', '.join(BOARDS)}"
    )
    made.add_argument("--workers", type=int, default=1, help="processes that train together, by Ray Train")
    made.add_argument("--address", help="of --workers: join a running Ray cluster: auto or HOST:PORT")
    made.add_argument("--allow-unauthenticated", action="store_true", help="join a cluster that asks for no token")
    made.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    made.add_argument("--seed", type=int)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    made = parser()
    written = vars(made.parse_args(arguments))
    console = Console(soft_wrap=True, highlight=False)
    try:
        path = _train(written, console)
    except BadInput as error:
        Console(stderr=True, soft_wrap=True).print(f"{made.prog}: {error}", highlight=False, markup=False)
        return BAD_INPUT
    except KeyboardInterrupt:
        console.print("interrupted: --resume goes on after the last whole epoch", markup=False)
        return INTERRUPTED
    console.print(f"trained: {path}", markup=False)
    return 0


def _train(written: dict[str, Any], console: Console) -> Path:
    if (model := written.pop("model")) is not None:
        imported(model)
    folder, loaders, log = written.pop("resume"), written.pop("loaders"), tuple(written.pop("log"))
    require_boards(log)
    workers, address, unlocked = (written.pop(n) for n in ("workers", "address", "allow_unauthenticated"))
    if workers < 1:
        raise BadInput(f"--workers must be at least 1, got {workers}")
    if address is not None and workers == 1:
        raise BadInput("--address goes with --workers 2 or more: one alone trains here")
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), console=console, transient=True
    ) as bar:
        task = bar.add_task("", total=None)

        def stepped(epoch: int, step: int, steps: int) -> None:
            bar.update(task, description=f"epoch {epoch}", completed=step, total=steps)

        how = program.How(loaders, log, lambda line: console.print(line, markup=False), stepped)
        if folder is not None:
            others = [n for n, v in written.items() if v not in (None, False, "auto")]
            if others:
                raise BadInput(f"--resume takes all from the folder; leave out {', '.join(sorted(others))}")
            folder = Path(str(folder))
            if workers == 1:
                return program.go_on(folder, how)
        else:
            document, question, folder = _asked(written, elsewhere=address is not None)
            Team(0, workers).part(question.recipe.batch)  # what has no equal parts is said at once
            if workers == 1:
                return program.begin(document, question, folder, how)
            program.lay_down(document, question, folder, how)
        place = (workers, program.question_of(folder).device, address, unlocked)
        return Path(_train_together(folder, place, OWN, how))


def _asked(written: dict[str, Any], elsewhere: bool) -> tuple[dict[str, Any], program.Question, Path]:
    """The architecture's document, what is to be trained by it, and in which folder."""
    path, output = written.pop("architecture"), written.pop("output")
    if path is None:
        raise BadInput("name an architecture's YAML, or --resume FOLDER")
    path = Path(str(path))
    written["device"] = _device(str(written["device"]), elsewhere)
    document, question = program.asked(path, written)
    return document, question, Path(str(output)) if output else path.parent / f"full-{path.stem}"


def _device(wanted: str, elsewhere: bool) -> str:
    """``elsewhere``: a cluster trains, whatever this machine has."""
    there = torch.cuda.is_available()
    if wanted == "cuda" and elsewhere:
        return wanted
    if wanted == "cuda" and not there:
        raise BadInput("--device cuda: this machine has no GPU that torch can use; use --device cpu, or leave it out")
    return "cuda" if there and wanted != "cpu" else "cpu"


if __name__ == "__main__":
    sys.exit(main())
