"""Channel shuffles folded away: the layer that reads shuffled channels has its weights in their old order."""

from collections import Counter
from typing import Any

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

from .folding import attribute_of, copied, graph_of, is_untouched, require_plain, tensors_of
from .operators import CompConv2d, Operator, VanillaConv2d
from .operators.compconv import SHUFFLE_GROUPS
from .operators.ghost import GhostConv2d
from .operators.shuffle import shuffled_order

BATCHNORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)
ELEMENTWISE = (
    nn.Identity, nn.Dropout, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Hardtanh,
    nn.Hardsigmoid, nn.Mish, nn.Sigmoid, nn.Tanh,
)  # fmt: skip
FUNCTIONS = (F.relu, torch.relu, torch.relu_, F.relu_, F.relu6, F.leaky_relu, F.gelu, F.silu, F.hardswish, F.mish)
METHODS = ("relu", "relu_", "sigmoid", "tanh", "contiguous")


def fold_shuffles(model: nn.Module) -> nn.Module:
    """A copy of a folded network, in eval mode, with the same output and without CompConv's shuffles where they fold.

    Where there are none it is the network itself.

    They do where one layer alone reads what a CompConv gives, with but BatchNorms and elementwise functions between
    them, each of which stands in that place only. The layer is a plain convolution without groups, or an operator that
    begins with one: a CompConv too, which then borrows the channels that it did from where they are.

    Raises:
        BadInput: as ``fold`` does.
    """
    require_plain(model)
    shuffled = any(type(m) is CompConv2d and m.depth and m.shuffled for m in model.modules())
    if isinstance(model, Operator) or not shuffled:
        return model.eval()
    model = copied(model).eval()
    graph = graph_of(model)
    modules = {node: model.get_submodule(str(node.target)) for node in graph.nodes if node.op == "call_module"}
    calls = Counter(modules.values())
    read = {id(attribute_of(model, str(node.target))) for node in graph.nodes if node.op == "get_attr"}
    hidden = {m for outer in calls if not _is_known(outer) for m in outer.modules()}
    alone = {
        m
        for m, n in calls.items()
        if n == 1 and m not in hidden and is_untouched(m) and not any(id(t) in read for t in tensors_of(m))
    }
    for node, module in modules.items():
        if type(module) is CompConv2d and module.depth and module.shuffled and module in alone:
            readers = _readers(node, modules, alone)
            if readers is not None:
                _unshuffle(module, readers)
    return model


def _is_known(module: nn.Module) -> bool:
    return isinstance(module, Operator) or type(module) in (nn.Conv2d, *BATCHNORMS, *ELEMENTWISE)


def _readers(
    node: torch.fx.Node, modules: dict[torch.fx.Node, nn.Module], alone: set[nn.Module]
) -> list[nn.Module] | None:
    """BatchNorms behind a CompConv and the layer that they end at; ``None`` where something else reads it."""
    found: list[nn.Module] = []
    while len(node.users) == 1:
        (reader,) = node.users
        if reader.all_input_nodes != [node]:
            return None
        module = modules.get(reader)
        if module in alone and _first_convolutions(module):
            return [*found, module]
        if module in alone and type(module) in BATCHNORMS:
            found.append(module)
        elif not (_is_elementwise(reader) if module is None else type(module) in ELEMENTWISE and is_untouched(module)):
            return None
        node = reader
    return None


def _first_convolutions(module: nn.Module | None) -> list[nn.Conv2d]:
    """Those that read all that a layer reads; none where they are not known, or not plain."""
    found: list[Any] = []
    if type(module) is nn.Conv2d:
        found = [module]
    elif type(module) is VanillaConv2d:
        found = [module.conv]
    elif type(module) is GhostConv2d:
        found = [module.primary[0]]
    elif type(module) is CompConv2d:
        found = [block[0] for block in (module.primary, *module.projections)] if module.depth else [module.vanilla]
    return found if all(type(conv) is nn.Conv2d and conv.groups == 1 for conv in found) else []


def _is_elementwise(node: torch.fx.Node) -> bool:
    functions: dict[str, Any] = {"call_function": FUNCTIONS, "call_method": METHODS}
    return node.target in functions.get(node.op, ())


@torch.no_grad()
def _unshuffle(operator: CompConv2d, readers: list[nn.Module]) -> None:
    order = shuffled_order(operator.out_channels, SHUFFLE_GROUPS)
    before = torch.argsort(order)  # where each channel stands after the shuffle
    operator.shuffled = False
    if operator.bias is not None:
        operator.bias = nn.Parameter(_chosen(operator.bias, before), requires_grad=operator.bias.requires_grad)
    for bn in readers[:-1]:
        for tensor in tensors_of(bn):
            if tensor.dim():  # all but the count of batches
                tensor.copy_(_chosen(tensor, before))
    for conv in _first_convolutions(readers[-1]):
        weight = conv.weight.index_select(1, before.to(conv.weight.device))
        conv.weight = nn.Parameter(weight, requires_grad=conv.weight.requires_grad)
    if isinstance(readers[-1], CompConv2d) and readers[-1].depth:
        readers[-1].borrow_from(order)


def _chosen(tensor: Tensor, indices: Tensor) -> Tensor:
    return tensor.index_select(0, indices.to(tensor.device))
