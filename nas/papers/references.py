"""The vanilla network and the papers' uniform settings: what a search has to beat."""

from search_spaces import VANILLA, Architecture, Choice, Space

PAPER_SETTINGS = {
    **{f"SPConv α=1/{n} g=2": Choice.of("spconv", alpha=1 / n, groups=2) for n in (2, 4, 8)},  # SPConv, Table 2
    **{f"CompConv C0={c0}": Choice.of("compconv", c0=c0) for c0 in (512, 256, 128)},  # CompConv, Table 8
}


def references(space: Space) -> dict[str, Architecture]:
    """Name → architecture: vanilla, and each setting of the papers that the space has choices for."""
    named = {"vanilla": space.uniform(VANILLA)}
    named.update({name: space.uniform(choice) for name, choice in PAPER_SETTINGS.items()})
    distinct: dict[str, str] = {}
    for name, architecture in named.items():
        distinct.setdefault(architecture.key, name)  # a setting that changes nothing is the vanilla network again
    return {name: named[name] for name in distinct.values()}
