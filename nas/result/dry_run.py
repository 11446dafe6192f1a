"""What is in a space, and what a run on it would cost: ``--dry-run``."""

import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from rich.console import Console

from search_spaces import VANILLA, Architecture, proxy_of
from search_spaces.space import backbone_slots
from trainers.proxy import ProxyTraining

from ..budget import within
from ..metrics import METRICS
from ..papers.references import references
from ..preparation import Prepared, device_for_costs, reachable
from .tables import print_lines, print_table

MEASURED_BATCHES = 16


def print_dry_run(console: Console, ready: Prepared) -> None:
    """What would be searched, what it reaches, and what the run would cost; nothing is trained."""
    space = ready.space
    print_lines(console, f"{space.name}: {space.description}")
    rows = []
    for v in space.variables:
        slot = space.slots[v.slots[0]]
        channels = f"{slot.in_channels} → {slot.out_channels}, {slot.kernel_size[0]}×{slot.kernel_size[1]}"
        rows.append([v.name, str(len(v.slots)), channels, str(len(v.options))])
    print_table(console, "", ["variable", "slots", "channels", "options"], [rows])
    kinds = Counter(option.asked.operator for v in space.variables for option in v.options)
    print_lines(console, "options by operator: " + ", ".join(f"{n} {operator}" for operator, n in kinds.items()))
    for line in _lines(ready):
        print_lines(console, line)


def _lines(ready: Prepared) -> Iterator[str]:
    space, question, recipe = ready.space, ready.question, ready.question.recipe
    yield (
        f"architectures: 10^{math.log10(space.size):.1f}, of which within {within(question.budget)}: "
        f"10^{ready.feasible.log10_size():.1f}"
    )
    for name, metric in METRICS.items():
        yield f"reachable {metric.unit}: {reachable(space, ready.table, name)}"
    yield _substitutions(ready)
    trained = question.trials + (len(references(space)) if question.references else 0)
    images = recipe.epochs * recipe.steps_per_epoch * recipe.batch
    seconds = _seconds_per_image(ready) * images
    yield (
        f"the run: {trained} trials ({question.trials} candidates) of {images:,} training images each; "
        f"the vanilla network's takes about {seconds:.2g} s on this machine's {question.device}"
    )


def _seconds_per_image(ready: Prepared) -> float:
    """Of training the vanilla proxy, measured on a few batches."""
    question, data = ready.question, ready.data
    recipe = replace(question.recipe, epochs=1, images_per_epoch=MEASURED_BATCHES * question.recipe.batch)
    vanilla = Architecture(ready.space.backbone)
    proxy, _ = proxy_of(vanilla, width=question.proxy_width, resolution=question.proxy_resolution, classes=data.classes)
    start = time.perf_counter()
    ProxyTraining(proxy.build(), data.to(device_for_costs(question)), recipe, 0).run_epoch()
    return (time.perf_counter() - start) / recipe.images_per_epoch


def _substitutions(ready: Prepared) -> str:
    """How many of all options another choice stands in for, in the proxy."""
    space, question = ready.space, ready.question
    width = space.backbone.width * question.proxy_width
    narrow = backbone_slots(replace(space.backbone, width=width, resolution=question.proxy_resolution))
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
