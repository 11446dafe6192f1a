"""What is in a space, and what a run on it would cost: ``--dry-run``."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from rich.console import Console

from search_spaces import VANILLA
from search_spaces.space import backbone_slots
from trainers.judges import WANT_PARENT
from trainers.recipe import PARENT

from ..budget import Budget, within
from ..metrics import METRICS
from ..preparation import Prepared, reachable, seconds_per_image, trial_s
from ..stages import FINAL_SEEDS, planned_repeats, references_again
from ..uniform import compared_with, to_beat
from .tables import print_lines, print_table


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
    space, question = ready.space, ready.question
    yield (
        f"architectures: 10^{math.log10(space.size):.1f}, of which within {within(question.budget)}: "
        f"10^{ready.feasible.log10_size():.1f}"
    )
    for name, metric in METRICS.items():
        yield f"reachable {metric.unit}: {reachable(space, ready.table, Budget(name, math.inf, ''))}"
    for name, found in ready.table.predictions.items():
        yield f"{METRICS[name].unit}, {ready.table.latency_on} on {ready.table.device}: {found.in_words}"
    yield _substitutions(ready)
    yield from _plan(ready)


def _plan(ready: Prepared) -> Iterator[str]:
    """What each stage trains, and about how long all take on this machine's cores."""
    question, recipe = ready.question, ready.question.recipe
    named = compared_with(ready.space, ready.table, question.budget) if question.references else {}
    costs = {name: ready.table.total(a) for name, a in named.items()}
    rivals = to_beat(costs, question.budget)  # at most
    beside = len(named)
    again = planned_repeats(question)
    again += beside if again and references_again(question) else 0
    final = (question.final + len(rivals)) * FINAL_SEEDS if question.final else 0
    parent = question.judge in WANT_PARENT and "parent" not in ready.weights
    longer, dense = ready.final_recipe, ready.scaled(PARENT)
    each = seconds_per_image(question, ready.space, ready.data)
    trial, last, parents = (trial_s(each, r, ready.data) for r in (recipe, longer, dense))
    seconds = (question.trials + beside + again) * trial + final * last + parent * parents
    yield (
        f"the run: {question.trials + beside} trials ({question.trials} candidates) of {recipe.images:,} training "
        f"images each"
        + (f", {again} once more for the noise" if again else "")
        + f"; final stage: {final} trainings of {longer.images:,} images"
        + (f"; first the vanilla network that they inherit from: {dense.images:,} images" if parent else "")
    )
    yield (
        f"a trial takes about {trial:.2g} s on this machine's {question.device}, the whole run {seconds / 60:.2g} min "
        f"of one process, divided by the trials that run at once"
    )


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
