"""Whole networks as they would be deployed, beside vanilla deployed the same way: every operator, in several forms.

python benchmarks/deployed.py [--forms cpu:b1 cpu:b8 onnxruntime:b1 onnxruntime:b8] [--only NAME …]
                              [--output benchmarks/results/deployed.json]

Columns: the share of vanilla's FLOPs; the time as a share of vanilla's, as deployed; as the operators' authors run them
(eager, BatchNorm unfolded); and the limit: the sum over layers of what is longer, the operations over the device's rate
or the bytes (input, output, weights, each once) over its bandwidth, both measured here.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas.cost.latency import Meter
from nas.form import DTYPES, Form, parse_form
from search_spaces import VANILLA, Choice, load_space
from search_spaces.checks import BadInput
from search_spaces.operators import OPERATORS, Operator

SHAPE = (3, 224, 224)
SETTINGS = {
    "vanilla": VANILLA,
    **{f"SPConv α=1/{n} g=2": Choice.of("spconv", alpha=1 / n, groups=2) for n in (2, 4, 8)},
    **{f"CompConv C0={c0}": Choice.of("compconv", c0=c0) for c0 in (512, 128)},
    **{
        name: Choice.of(name) for name in OPERATORS if name not in ("vanilla", "spconv", "compconv", "selective_kernel")
    },
    "selective_kernel g=16": Choice.of("selective_kernel", groups=16),
}
FEW = tuple(SETTINGS)[:6]


class AsTheyAre(Meter):
    """Networks in eval mode, nothing folded or replaced."""

    def deployed(self, network: nn.Module, shape: tuple[int, int, int]) -> nn.Module:
        return network.eval()


def networks(settings: tuple[str, ...]) -> dict[str, Any]:
    """ResNet-50 with one choice in every slot that can have it, by name."""
    space, found = load_space("mixed_layerwise"), {}
    for name in settings:
        try:
            found[name] = space.uniform(SETTINGS[name])
        except (BadInput, ValueError) as error:
            print(f"{name}: left out: {error}")
    same = [name for name in found if name != "vanilla" and found[name].key == found["vanilla"].key]
    if same:
        raise SystemExit(f"no slot of {space.name} allows {', '.join(same)}: that would be vanilla twice")
    return found


def measured(form: Form, settings: tuple[str, ...] = tuple(SETTINGS), most_s: float = 200.0) -> dict[str, Any]:
    """By setting: readings as deployed and as they are, the share of FLOPs, the limit."""
    wanted = networks(settings)
    makes = [a.inference for name, a in wanted.items() if name != "vanilla"]
    meter, as_they_are = Meter(form), AsTheyAre(form)
    deployed = list(meter.networks(wanted["vanilla"].inference, makes, SHAPE, most_s))
    authors = (
        []
        if form.runner == "onnxruntime"
        else list(as_they_are.networks(wanted["vanilla"].inference, makes, SHAPE, most_s))
    )
    rates = rates_of(form)
    limits = [limit_ms(a.build().eval(), form, rates) for a in wanted.values()]
    shares = [flops_of(a.build().eval()) for a in wanted.values()]
    rows: dict[str, Any] = {
        name: {
            "flops": shares[i] / shares[0],
            "deployed": deployed[i].to_dict(),
            **({"authors": authors[i].to_dict()} if authors else {}),
            "limit": limits[i] / limits[0],
            "limit_ms": limits[i],
        }
        for i, name in enumerate(wanted)
    }
    chosen: dict[Any, str] = dict(meter.chosen)
    forms = sorted({f"{k[0]} {k[1]}→{k[2]} {k[3][1]} {k[5]}: {form or 'folded'}" for k, form in chosen.items()})
    return {"how": meter.how(), "rates": rates, "rows": rows, "forms": forms}


def works(network: nn.Module) -> list[tuple[float, float]]:
    """Of each convolution, operator and linear layer: multiply-adds, and values read and written; of one image."""
    found: dict[nn.Module, list[float]] = {}
    inside = {m: o for o in network.modules() if isinstance(o, Operator) for m in o.modules()}
    units = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear, Operator))]

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        unit = inside.get(module, module)
        entry = found.setdefault(unit, [0.0, 0.0])
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            weight = module.weight
            entry[0] += output.numel() * weight.numel() / weight.shape[0]
            entry[1] += weight.numel()
        if module is unit:
            entry[1] += inputs[0].numel() + output.numel()

    hooks = [m.register_forward_hook(note) for m in units]
    with torch.inference_mode():
        network(torch.zeros(1, *SHAPE))
    for hook in hooks:
        hook.remove()
    return [(flops, values) for flops, values in found.values()]


def flops_of(network: nn.Module) -> float:
    return sum(flops for flops, _ in works(network))


def limit_ms(network: nn.Module, form: Form, rates: dict[str, float]) -> float:
    """Of one image; weights are read once a batch, which is left out of account: they are few."""
    size = torch.finfo(getattr(torch, DTYPES[form.dtype])).bits // 8
    return sum(
        1e3 * max(flops / rates["macs_per_s"], values * size / rates["bytes_per_s"]) for flops, values in works(network)
    )


def rates_of(form: Form) -> dict[str, float]:
    """Multiply-adds and bytes a second: of a large product of matrices, of a large copy."""
    device, dtype = torch.device(form.device), getattr(torch, DTYPES[form.dtype])
    side, length = (8192, 1 << 29) if form.runner == "cuda" else (1024, 1 << 25)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    x = torch.randn(length, device=device).to(dtype)
    y = torch.empty_like(x)
    size = x.element_size()
    return {
        "macs_per_s": side**3 / _seconds(lambda: torch.mm(a, b), device),
        "bytes_per_s": 2 * length * size / _seconds(lambda: y.copy_(x), device),
    }


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    """The median of a few."""
    taken = []
    for _ in range(8):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[2:])


def show(form: Form, found: dict[str, Any]) -> None:
    print(f"\n{form}  {found['how']['device']}  rates {found['rates']}")
    print(f"{'network':<24}{'FLOPs':>7}{'deployed':>18}{'authors':>10}{'limit':>7}{'ms':>9}{'eager ms':>10}")
    for name, row in found["rows"].items():
        d, a = row["deployed"], row.get("authors")
        ratio = f"{d['ratio']:.3f} ± {d['ratio'] * d['ratio_error']:.3f}"
        eager = format(d["eager_ms"], ".3f") if "eager_ms" in d else ""
        print(
            f"{name:<24}{row['flops']:>7.2f}{ratio:>18}{'' if a is None else format(a['ratio'], '.3f'):>10}"
            f"{row['limit']:>7.2f}{d['ms']:>9.3f}{eager:>10}  {d.get('doubt', '')}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forms", nargs="+", default=["cpu:b1", "cpu:b8", "onnxruntime:b1", "onnxruntime:b8"])
    parser.add_argument("--only", nargs="+", choices=SETTINGS, help="of the settings, beside vanilla")
    parser.add_argument("--seconds", type=float, default=200.0, help="for all networks of one form")
    parser.add_argument("--output", type=Path)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    only = tuple(name for name in SETTINGS if wanted.only is None or name in ("vanilla", *wanted.only))
    everything = {}
    for form in map(parse_form, wanted.forms):
        everything[str(form)] = measured(form, only, wanted.seconds)
        show(form, everything[str(form)])
        if wanted.output:
            wanted.output.write_text(json.dumps(everything, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
