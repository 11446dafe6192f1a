"""What is in a space, and what a run on it would cost: ``--list-spaces`` and ``--dry-run``."""

import math
import time
from collections import Counter
from dataclasses import replace

from rich.console import Console
from rich.table import Table

from search_spaces import VANILLA, Architecture, list_spaces, load_space, proxy_of
from search_spaces.space import backbone_slots
from trainers.data import ImageData
from trainers.proxy import ProxyTraining

from ..budget import UNITS
from ..cost.table import CostTable
from ..feasible import Feasible, Limit
from ..question import Question
from ..references import references
from ..searching import device_for_costs, reachable, within

MEASURED_BATCHES = 16


def print_spaces(console: Console) -> None:
    """Every space that comes with the package, a row each."""
    table = Table(title="Spaces (--space NAME, or the path of a YAML of your own)")
    table.add_column("name", no_wrap=True)
    for heading in ("network", "variables", "options", "architectures", "what is searched"):
        table.add_column(heading)
    for name in list_spaces():
        space = load_space(name)
        options = sum(len(v.options) for v in space.variables)
        network = f"{space.backbone.name}, {space.backbone.resolution}²"
        size = f"10^{math.log10(space.size):.1f}"
        table.add_row(name, network, str(len(space.variables)), str(options), size, space.description)
    console.print(table)


def print_dry_run(console: Console, question: Question, table: CostTable, feasible: Feasible, data: ImageData) -> None:
    """What would be searched, what it reaches, and what the run would cost; nothing is trained."""
    space = question.space
    console.print(f"[bold]{space.name}[/bold]: {space.description}", highlight=False)
    variables = Table()
    variables.add_column("variable", no_wrap=True)
    for heading in ("slots", "channels", "options", "choices"):
        variables.add_column(heading)
    for v in space.variables:
        slot = space.slots[v.slots[0]]
        kinds = Counter(option.asked.operator for option in v.options)
        channels = f"{slot.in_channels} → {slot.out_channels}, {slot.kernel_size[0]}×{slot.kernel_size[1]}"
        what = ", ".join(f"{n} {operator}" for operator, n in kinds.items())
        variables.add_row(v.name, str(len(v.slots)), channels, str(len(v.options)), what)
    console.print(variables)
    lines = [f"architectures: 10^{math.log10(space.size):.1f}, of which within {within(question.budgets)}: "]
    lines[0] += f"10^{feasible.log10_size():.1f}"
    for unit, metric in UNITS.items():
        limit = Limit(table.options(space, metric), math.inf)
        lines.append(f"reachable {unit}: {reachable(table, metric, limit)}")
    lines.append(_substitutions(question))
    recipe = question.recipe
    trained = question.trials + (len(references(space)) if question.references else 0)
    images = recipe.epochs * recipe.steps_per_epoch * recipe.batch
    seconds = _seconds_per_image(question, data) * images
    lines.append(
        f"the run: {trained} trials ({question.trials} candidates) of {images:,} training images each; "
        f"the vanilla network's takes about {seconds:.0f} s on this machine's {question.device}"
    )
    for line in lines:
        console.print(line, highlight=False)


def _seconds_per_image(question: Question, data: ImageData) -> float:
    """Of training the vanilla proxy, measured on a few batches."""
    recipe = replace(question.recipe, epochs=1, images_per_epoch=MEASURED_BATCHES * question.recipe.batch)
    backbone = Architecture(question.space.backbone)
    proxy, _ = proxy_of(
        backbone, width=question.proxy_width, resolution=question.proxy_resolution, classes=data.classes
    )
    start = time.perf_counter()
    ProxyTraining(proxy.build(), data.to(device_for_costs(question)), recipe, 0).run_epoch()
    return (time.perf_counter() - start) / recipe.images_per_epoch


def _substitutions(question: Question) -> str:
    """How many of all options another choice stands in for, in the proxy."""
    space = question.space
    width = space.backbone.width * question.proxy_width
    backbone = replace(space.backbone, width=width, resolution=question.proxy_resolution)
    narrow = backbone_slots(backbone)
    pairs = [
        (slot, choice)
        for variable in space.variables
        for option in variable.options
        for slot, choice in zip(variable.slots, option.choices, strict=True)
        if choice != VANILLA
    ]
    changed = sum(choice.stand_in(narrow[slot]) != choice for slot, choice in pairs)
    return (
        f"proxy: width {question.proxy_width:g}, {question.proxy_resolution} pixels; "
        f"in {changed} of {len(pairs)} (slot, choice) pairs the nearest choice that its channels can hold stands in"
    )
