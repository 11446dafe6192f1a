"""The latency of architectures beside vanilla, as they would be deployed: ``python -m nas.latency ARCH.yaml …``."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from search_spaces.checks import BadInput
from search_spaces.late import Late
from search_spaces.one_line import BAD_INPUT, Parser

from .form import WORDING, parse_form
from .result.tables import print_lines, print_table

if TYPE_CHECKING:
    from search_spaces import Architecture

IN_DOUBT = 3  # the exit status
_load, _read, _has_cuda, _vanilla, _imported = (  # torch alone takes two seconds: a mistake is told before
    Late("search_spaces", "load_architecture"),
    Late("nas.result.measuring", "read_networks"),
    Late("torch.cuda", "is_available"),
    Late("search_spaces", "Architecture"),
    Late("search_spaces.backbones.foreign", "imported"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 2 after a mistake, told in one line; 3 where a figure can't be trusted."""
    parser = Parser("python -m nas.latency", description=__doc__)
    parser.add_argument("architectures", nargs="+", type=Path, metavar="ARCH.yaml", help="as a run exports them")
    parser.add_argument("--latency-on", help=f"{WORDING} (default: cuda where there is a GPU, else cpu)")
    parser.add_argument("--model", help="PACKAGE.MODULE:FUNCTION, where the YAMLs name a network of your own code")
    parser.add_argument("--json", action="store_true", help="all that was measured, as JSON")
    wanted = parser.parse_args(arguments)
    console = Console()
    try:
        if wanted.model is not None:
            _imported(wanted.model)
        found = measured(wanted.architectures, wanted.latency_on)
    except BadInput as error:
        print(f"nas.latency: {error}", file=sys.stderr)
        return BAD_INPUT
    if wanted.json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        show(console, found)
    return IN_DOUBT if any(reading.get("doubt") for reading in found["networks"].values()) else 0


def measured(paths: Sequence[Path], latency_on: str | None) -> dict[str, Any]:
    """``how`` it was measured, and ``networks``: path → reading (``cost.latency.Reading``), vanilla first.

    Raises:
        BadInput: a file that is no architecture, several networks, a device that is not there.
    """
    form = None if latency_on is None else parse_form(latency_on).require()
    found: dict[str, Architecture] = {str(path): _load(path) for path in paths}
    backbones = {architecture.backbone for architecture in found.values()}
    if len(backbones) > 1:
        raise BadInput(f"the architectures must be of one network, got {', '.join(sorted(map(str, backbones)))}")
    has_cuda = _has_cuda()
    form = form or parse_form("cuda" if has_cuda else "cpu")
    if form.device == "cuda" and not has_cuda:
        raise BadInput(f"--latency-on {form}: this machine has no GPU that torch can use")
    vanilla = _vanilla(backbones.pop())
    readings, how = _read({}, form, vanilla, list(found.values()), {})
    names = {"vanilla": vanilla.key, **{name: architecture.key for name, architecture in found.items()}}
    networks = {name: dict(readings[key]["latency_ms"]) for name, key in names.items()}
    for reading in networks.values():
        del reading["how"]  # the same of all
    return {"how": how, "networks": networks}


def show(console: Console, found: dict[str, Any]) -> None:
    """As a table, and how it was measured below it."""
    rows = [
        [
            name,
            f"{r['ms']:.4g} ± {r['error']:.2g}",
            f"{r['ratio']:.3f} ± {r['ratio'] * r['ratio_error']:.3f}",
            "–".join(f"{q:.4g}" for q in r["quartiles"]),
            f"{r['eager_ms']:.4g}" if "eager_ms" in r else "",
            str(r["rounds"]),
        ]
        for name, r in found["networks"].items()
    ]
    headings = ["network", "ms an image", "of vanilla", "quartiles", "eager", "rounds"]
    if not any(row[4] for row in rows):
        headings, rows = [h for h in headings if h != "eager"], [row[:4] + row[5:] for row in rows]
    print_table(console, "Latency, each network in turn with vanilla", headings, [rows])
    for name, r in found["networks"].items():
        if r.get("doubt"):
            print_lines(console, f"{name} can't be trusted: {r['doubt']}")
    print_lines(console, ", ".join(f"{key} {value}" for key, value in found["how"].items() if value is not None))


if __name__ == "__main__":
    sys.exit(main())
