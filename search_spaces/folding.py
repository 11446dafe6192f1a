"""The network as deployed: in eval mode, every BatchNorm folded into the convolution before it, where one is."""

import copy
import inspect
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch.fx
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from .checks import BadInput
from .operators import Operator
from .operators.base import absorb, scale_shift

PLAIN_BATCHNORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)
WRAPPED = {"DataParallel": "module", "DistributedDataParallel": "module", "OptimizedModule": "_orig_mod"}
ACTIVATED = ("timm.layers.norm_act", "BatchNormAct2d")  # known by name: timm need not be there
NARROW = {torch.float16, torch.bfloat16}  # folded in single precision, then rounded
HELD = 0.01  # the share of its norm that a folded channel may lose where it is rounded to half precision
PLAIN_VALUES = (type(None), bool, int, float, str)


def fold(model: nn.Module) -> nn.Module:
    """A copy of ``model`` in eval mode with the same output and without the BatchNorms that can be folded away.

    A BatchNorm is folded into the convolution or operator before it where each call of the one is read by a call of
    the other and by nothing else, whatever names they have, and where nothing else reads their parameters; whatever is
    not so stays as it is. So do modules with hooks or parametrizations (pruning, weight and spectral norm), subclasses
    that may do more, BatchNorms without running statistics, and in half precision what would lose too much by being
    rounded. An operator folds its own BatchNorms in any case.

    What is done is right for every input, and for the default values of further arguments of ``forward``. The insides
    of modules that ``torch.fx`` can't follow stay as they are, but for operators' own BatchNorms.

    Raises:
        BadInput: it can't follow the forward of ``model`` itself, or ``model`` is wrapped or scripted.
    """
    require_plain(model)
    model = copied(model).eval()
    for module, bn in _foldable(model).items():
        new, absorbed = _folded(module, bn)
        if new is not module and module is model:
            model = new
        elif new is not module:
            _replace(model, module, new)
        if absorbed and bn is not None:
            _replace(model, bn, _what_is_left(bn))
    return model


def normalised(model: nn.Module) -> set[str]:
    """Convolutions and operators that have a BatchNorm behind them that belongs to them alone, by name."""
    found = _foldable(model)
    return {name for name, module in model.named_modules() if found.get(module) is not None}


def require_plain(model: nn.Module) -> None:
    kind = type(model).__name__
    if kind in WRAPPED:
        raise BadInput(f"fold: got a {kind}; fold what it wraps: fold(model.{WRAPPED[kind]})")
    if isinstance(model, torch.jit.ScriptModule):
        raise BadInput(f"fold: got a scripted or traced {kind}; fold the network before it is scripted")


def copied(model: nn.Module) -> nn.Module:
    """A deep copy; what hooks keep as results of a computation (pruned, normed weights) is copied as values."""
    attributes = [value for module in model.modules() for value in vars(module).values()]
    results = {id(t): t.detach().clone() for t in attributes if isinstance(t, Tensor) and not t.is_leaf}
    return copy.deepcopy(model, results)


def _foldable(model: nn.Module) -> dict[nn.Module, nn.Module | None]:
    """Convolution or operator → the BatchNorm that reads all it gives and nothing else; operators without one too."""
    operators: list[nn.Module] = [m for m in model.modules() if isinstance(m, Operator) and is_untouched(m)]
    if isinstance(model, (Operator, _ConvNd, _BatchNorm)):
        return dict.fromkeys(operators)
    graph = graph_of(model)
    calls: dict[nn.Module, list[torch.fx.Node]] = defaultdict(list)
    for node in graph.nodes:
        if node.op == "call_module":
            calls[model.get_submodule(str(node.target))].append(node)
    closed = [m for m in calls if not isinstance(m, (Operator, _ConvNd, _BatchNorm))]
    hidden = {inner for outer in closed for inner in outer.modules()}
    read = {id(attribute_of(model, str(node.target))) for node in graph.nodes if node.op == "get_attr"}

    def is_free(module: nn.Module) -> bool:
        """Nothing but its calls decides what it is."""
        return is_untouched(module) and not any(id(t) in read for t in tensors_of(module))

    found: dict[nn.Module, nn.Module | None] = dict.fromkeys(filter(is_free, operators))
    for module, own in calls.items():
        bn = _only_reader(model, own)
        is_known = type(module) is nn.Conv2d or isinstance(module, Operator)
        if is_known and _is_batchnorm(bn) and bn.running_mean is not None and len(own) == len(calls[bn]):
            alone = is_free(module) and is_free(bn) and not {module, bn} & hidden
            if alone and _dtypes(bn) <= _dtypes(module):
                found[module] = bn
    return found


def _is_batchnorm(module: Any) -> bool:
    """One that does what its class does, and timm's, which has an activation in it."""
    return type(module) in PLAIN_BATCHNORMS or _is_activated(module)


def _is_activated(module: Any) -> bool:
    kind = type(module)
    return (kind.__module__, kind.__name__) == ACTIVATED


def _what_is_left(bn: Any) -> nn.Module:
    """Of one that has been absorbed: its activation, if it has one."""
    return nn.Sequential(bn.drop, bn.act) if _is_activated(bn) else nn.Identity()


def _only_reader(model: nn.Module, calls: Iterable[torch.fx.Node]) -> Any:
    """The module that reads each of ``calls``, once and beside nothing else, and alone; ``None`` if there is none."""
    called = set()
    for node in calls:
        readers = list(node.users)
        if len(readers) != 1 or readers[0].op != "call_module" or readers[0].all_input_nodes != [node]:
            return None
        called.add(model.get_submodule(str(readers[0].target)))
    return called.pop() if len(called) == 1 else None


def is_untouched(module: nn.Module) -> bool:
    """Whether it, with all that is inside, does what its class does: no hooks, parametrizations, forward of its own."""
    return not any(
        m._forward_hooks or m._forward_pre_hooks or "forward" in vars(m) or nn.utils.parametrize.is_parametrized(m)
        for m in module.modules()
    )


def tensors_of(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _dtypes(module: nn.Module) -> set[torch.dtype]:
    return {t.dtype for t in tensors_of(module) if t.is_floating_point()}


def attribute_of(model: nn.Module, name: str) -> object:
    value: object = model
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Under all names that it has."""
    places = [(parent, name) for parent in model.modules() for name, m in parent._modules.items() if m is old]
    for parent, name in places:
        setattr(parent, name, new)


def _folded(module: nn.Module, bn: nn.Module | None) -> tuple[nn.Module, bool]:
    """The folded form, which may be ``module`` itself, and whether ``bn`` was absorbed.

    In half precision what is folded in a wider type is rounded once; where that loses too much, ``bn`` or all stays.
    """
    dtypes = _dtypes(module)
    narrow = dtypes & NARROW
    if not narrow:
        return module, _absorbed(module, bn)
    for behind in dict.fromkeys((bn, None)) if len(dtypes) == 1 else ():
        wide, behind_it = (None if m is None else copy.deepcopy(m).float() for m in (module, behind))
        assert wide is not None
        absorbed = _absorbed(wide, behind_it)
        rounded = copy.deepcopy(wide).to(next(iter(narrow)))
        if all(
            _is_held(a, b) for a, b in zip(tensors_of(wide), tensors_of(rounded), strict=True) if a.is_floating_point()
        ):
            return rounded, absorbed
    return module, False


def _is_held(exact: Tensor, rounded: Tensor) -> bool:
    """Whether each channel keeps its values but for a small share of their norm; on meta there are none."""
    if exact.is_meta:
        return True
    exact, lost = exact.flatten(1) if exact.dim() > 1 else exact[None], rounded.to(exact.dtype)
    lost = (lost.reshape(exact.shape) - exact).norm(dim=1)
    return bool((lost <= HELD * exact.norm(dim=1)).all())  # a nan is not


def _absorbed(module: nn.Module, bn: Any) -> bool:
    if isinstance(module, Operator):
        absorbed = module.fold(bn)
        if absorbed and module.bias is not None:
            module.add_bias(module.bias * scale_shift(bn)[0])
        return absorbed
    assert isinstance(module, nn.Conv2d)
    return absorb(module, bn)


class _Tracer(torch.fx.Tracer):
    """Traces down to convolutions, BatchNorms, operators, torch's own modules, and those that can't be followed.

    Attributes:
        failed: the innermost module that could not be followed, after an error; ``None`` if it was the network itself.
    """

    proxy_buffer_attributes = True

    def __init__(self, opaque: set[nn.Module]) -> None:
        super().__init__()
        self.opaque = opaque
        self.failed: nn.Module | None = None

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        known = isinstance(m, (Operator, _ConvNd, _BatchNorm)) or m in self.opaque
        return known or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            self.failed = self.failed or m
            raise


@contextmanager
def _attributes_kept(model: nn.Module) -> Iterator[None]:
    """What a forward keeps in attributes is none of the network's own while it is only followed."""
    before = [(m, dict(vars(m))) for m in model.modules()]
    try:
        yield
    finally:
        for m, attributes in before:
            vars(m).clear()
            vars(m).update(attributes)


def graph_of(model: nn.Module) -> torch.fx.Graph:
    """Of the forward, further arguments at their defaults; what can't be followed is a single call in it.

    Raises:
        BadInput: it is the network's own forward.
    """
    parameters = inspect.signature(model.forward).parameters.values()
    given = {p.name: p.default for p in parameters if isinstance(p.default, PLAIN_VALUES)}
    opaque: set[nn.Module] = set()
    while True:
        tracer = _Tracer(opaque)
        try:
            with _attributes_kept(model):
                return tracer.trace(model, given)
        except Exception as error:  # whatever a forward raises where it is given no tensors
            if tracer.failed is None:
                why = " ".join(str(error).split())[:160]
                raise BadInput(
                    f"fold: can't follow the forward of {type(model).__name__} ({type(error).__name__}: {why}); "
                    f"fold the parts that it calls as a whole, such as model.backbone = fold(model.backbone)"
                ) from None
            opaque.add(tracer.failed)
