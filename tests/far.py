"""Drivers that join a cluster whose other node has the device: ``python -m tests.far WHAT …``.

Each is a process of its own, for a process has one Ray, and one token, in its life.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ray
from torch import nn

import nas.devices
import nas.preparation
from nas.command_line import main
from nas.cost.apart import measure_there
from nas.cost.clock import Clock
from nas.cost.table import build_table
from nas.form import parse_form
from nas.metrics import METRICS, Metric
from nas.result.measuring import read_networks
from search_spaces import Architecture, Choice, load_space
from search_spaces.backbones.foreign import OWN, give, given, imported
from search_spaces.checks import BadInput
from trainers.cluster import connection
from trainers.cluster.connection import Cluster, connected

FORM = parse_form("cpu")
OWN_NETWORK = "tests.nas.test_own_network:make"


def where() -> dict[str, Any]:
    """Of the process that runs it."""
    context = ray.get_runtime_context()
    return {"node": context.get_node_id(), "gpus": context.get_accelerator_ids()["GPU"], "began": time.time()}


def hold(file: str) -> float:
    """A quarter of a GPU, for two seconds; returns when."""
    Path(file).touch()
    time.sleep(2)
    return time.time()


def refuse() -> None:
    raise BadInput("one line")


def fail() -> None:
    raise ZeroDivisionError("as it was")


def raised(run: Callable[[], object]) -> str:
    try:
        run()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def gpu(cluster: Cluster, folder: Path) -> dict[str, Any]:
    """Where it runs, for whom it waits, what it raises."""
    said: list[str] = []
    run = lambda function, *arguments: cluster.on_a_gpu(said.append, function, *arguments)  # noqa: E731
    found = {
        "gpu_node": next(n["NodeID"] for n in ray.nodes() if n["Resources"].get("GPU")),
        "head": ray.get_runtime_context().get_node_id(),
        "ran": run(where),
        "refused": raised(lambda: run(refuse)),
        "failed": raised(lambda: run(fail)),
        "settings": run(os.environ.get, "LAYERWISE_NAS_PATIENCE_S"),
    }
    file = folder / "held"
    held = ray.remote(num_gpus=0.25, num_cpus=0)(hold).remote(str(file))
    while not file.exists():
        time.sleep(0.05)
    connection.SOON_S = 0.5
    found |= {"waited": run(where), "held_until": ray.get(held), "said": said}
    died = raised(lambda: run(os._exit, 1))
    connection.WAIT_S = 2.0
    none = raised(lambda: cluster.on_a_node(said.append, {"resources": {"none_such": 1}}, where))
    return {**found, "died": died, "none": none, "free": cluster.on_a_gpu(said.append, where)["gpus"]}


def measures(cluster: Cluster, folder: Path) -> dict[str, Any]:
    """A table and whole networks, there and here; of ours and of a user's own, with a metric of this script's."""
    METRICS["made_up"] = Metric("U", lambda model, shape: 7.0, "made up", ("U", 1.0, 1))
    imported(OWN_NETWORK)
    by_value = give(lambda num_classes=3: nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.LazyLinear(num_classes)))
    space = load_space(sys.argv[4])
    mine = load_space("compconv_layerwise", nas.preparation.Backbone(OWN_NETWORK, 3, 32))
    far: Callable[..., Any] = lambda *a: cluster.on_a_node(print, {"resources": {"far": 1}, "num_cpus": 1}, *a)  # noqa: E731
    found: dict[str, Any] = {"tables": []}
    for each, how in ((space, measure_there), (mine, doubting)):
        table = far(how, given(each.backbone.name), METRICS, each, FORM)
        here = build_table(each, FORM)
        pairs = [(table.rest, here.rest)]
        pairs += [(table.slots[s][c], here.slots[s][c]) for s in here.slots for c in here.slots[s]]
        exact = all(a[m] == b[m] for a, b in pairs for m in ("flops", "params", "made_up"))
        found["tables"].append({"exact": exact, "device": table.device, "on": table.latency_on, "slots": len(pairs)})
        found["tables"][-1]["finite"] = all(np.isfinite(a["latency_ms"]) for a, _ in pairs)
        found["tables"][-1]["doubts"] = table.doubts
    vanilla = Architecture(space.backbone)
    other = space.uniform(Choice.of("spconv", alpha=0.5, groups=1))
    readings, how = far(doubting_networks, {}, FORM, vanilla, [other], {}, METRICS, found["tables"][0]["device"])
    found |= {"readings": readings, "how": how, "keys": [vanilla.key, other.key]}
    found["elsewhere"] = raised(lambda: far(read_networks, {}, FORM, vanilla, [other], {}, METRICS, "another"))
    found["own"] = far(classes, given(by_value), by_value)
    return found


def doubting(*arguments: Any) -> Any:
    """A table that can't be trusted."""
    Clock._doubt = lambda self, waited, busy: "made up"  # type: ignore[method-assign]
    return measure_there(*arguments)


def doubting_networks(*arguments: Any) -> Any:
    Clock._doubt = lambda self, waited, busy: "made up"  # type: ignore[method-assign]
    return read_networks(*arguments)


def classes(models: Any, name: str) -> int:
    """Of a network that only the driver's script knows."""
    OWN.update(models)
    return OWN[name].build(3, 32)[2].out_features


def search(arguments: list[str]) -> int:
    """The command line, on a machine that has not what latency is measured on."""
    nas.preparation.is_here = nas.devices.is_here = lambda form: False
    return main(arguments)


def cut(arguments: list[str]) -> int:
    """The same, interrupted while whole networks are measured there."""
    on_a_gpu = Cluster.on_a_gpu

    def interrupted(self: Cluster, doing: Callable[[str], None], function: Callable[..., Any], *rest: Any) -> Any:
        if function is not read_networks:
            return on_a_gpu(self, doing, function, *rest)

        def began(text: str) -> None:
            if text.startswith("measuring on"):
                threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGINT)).start()

        return on_a_gpu(self, began, time.sleep, 120)

    Cluster.on_a_gpu = interrupted  # type: ignore[method-assign]
    return search(arguments)


if __name__ == "__main__":
    if sys.argv[1] in ("search", "cut"):
        sys.exit({"search": search, "cut": cut}[sys.argv[1]](sys.argv[2:]))
    with connected(sys.argv[2]) as cluster:
        print(json.dumps({"gpu": gpu, "measures": measures}[sys.argv[1]](cluster, Path(sys.argv[3]))))
