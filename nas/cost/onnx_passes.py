"""What makes an ONNX graph quick in onnxruntime, and leaves its function alone.

An SPConv reads some channels by one convolution, the rest by another. Where the layer before it is a convolution, two
convolutions with a part of its outputs each give both parts, and nothing is copied or brought into another layout.
Means over whole maps are a pooling, for which onnxruntime keeps the layout that its convolutions have.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

CHANNELS = 1


@dataclass(frozen=True)
class _Part:
    """Of a tensor: the channels ``first`` to ``last`` (exclusive), under the name ``output``."""

    first: int
    last: int
    output: str


def split_producers(model: ModelProto) -> int:
    """In place: each convolution, with a ReLU behind it or not, that only slices read, is split into their parts.

    Returns:
        How many were split.
    """
    graph, count = model.graph, 0
    for name in [node.output[0] for node in graph.node]:
        count += _split(graph, name)
    if count:
        _drop_unread(graph)
    return count


def pool_means(model: ModelProto) -> int:
    """In place: each mean over the last two axes of four, which it keeps, becomes a pooling; returns how many."""
    graph = model.graph
    known = [*graph.value_info, *graph.input, *graph.output]
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in known}
    constants, count = _constants(graph), 0
    for node in graph.node:
        if node.op_type != "ReduceMean" or ranks.get(node.input[0]) != 4:
            continue
        said = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        axes = (
            constants[node.input[1]].tolist()
            if len(node.input) > 1 and node.input[1] in constants
            else said.get("axes")
        )
        if axes is None or sorted(a % 4 for a in axes) != [2, 3] or said.get("keepdims", 1) != 1:
            continue
        node.op_type = "GlobalAveragePool"
        del node.input[1:]
        del node.attribute[:]
        count += 1
    return count


def _split(graph: GraphProto, name: str) -> bool:
    makers = {output: node for node in graph.node for output in node.output}
    readers = defaultdict(list)
    for node in graph.node:
        for given in node.input:
            readers[given].append(node)
    constants = _constants(graph)
    taken_by = [_parts(node, name, constants) for node in readers[name]]
    parts = [part for of_one in taken_by for part in of_one]
    given_out = {output.name for output in graph.output}
    if len(parts) < 2 or not all(taken_by) or name in given_out:
        return False
    relu = makers[name] if makers[name].op_type == "Relu" else None
    if relu is not None and (len(readers[relu.input[0]]) > 1 or relu.input[0] in given_out):
        return False
    conv = makers.get(relu.input[0]) if relu is not None else makers[name]
    if conv is None or not _can_be_split(conv, constants, parts):
        return False
    taken = [conv, *([relu] if relu is not None else []), *readers[name]]
    new = [node for i, part in enumerate(parts) for node in _part_of(graph, conv, relu, part, i, constants)]
    kept = [node for node in graph.node if not any(node is t for t in taken)]
    place = next(i for i, node in enumerate(graph.node) if node is conv)
    before = [n for n in graph.node[:place] if not any(n is t for t in taken)]
    del graph.node[:]
    graph.node.extend([*before, *new, *kept[len(before) :]])
    return True


def _constants(graph: GraphProto) -> dict[str, np.ndarray]:
    found = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        elif node.op_type == "Identity" and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]]
    return found


def _parts(node: NodeProto, name: str, constants: dict[str, np.ndarray]) -> list[_Part]:
    """What a reader takes of the channels; nothing where it does more, or something else."""
    if node.op_type == "Split" and node.input[0] == name and len(node.input) > 1 and node.input[1] in constants:
        sizes = constants[node.input[1]].tolist()
        if [a.i for a in node.attribute if a.name == "axis"] != [CHANNELS] or len(sizes) != len(node.output):
            return []
        ends = np.cumsum([0, *sizes]).tolist()
        return [_Part(a, b, output) for a, b, output in zip(ends, ends[1:], node.output, strict=False)]
    if node.op_type == "Slice" and node.input[0] == name and all(i in constants for i in node.input[1:]):
        start, end, axis, *step = (constants[i].reshape(-1).tolist() for i in node.input[1:])
        if axis == [CHANNELS] and step in ([], [[1]]) and len(start) == 1 and start[0] >= 0 and end[0] > start[0]:
            return [_Part(start[0], end[0], node.output[0])]
    return []


def _can_be_split(conv: NodeProto, constants: dict[str, np.ndarray], parts: list[_Part]) -> bool:
    """A plain convolution with constant weights, each of whose outputs is read by one part."""
    groups = [a.i for a in conv.attribute if a.name == "group"]
    if conv.op_type != "Conv" or not all(i in constants for i in conv.input[1:]) or groups not in ([], [1]):
        return False
    outputs, first = len(constants[conv.input[1]]), 0
    for part in sorted(parts, key=lambda p: p.first):
        if part.first != first:
            return False
        first = min(part.last, outputs)
    return first == outputs


def _part_of(
    graph: GraphProto,
    conv: NodeProto,
    relu: NodeProto | None,
    part: _Part,
    number: int,
    constants: dict[str, np.ndarray],
) -> list[NodeProto]:
    inputs = [conv.input[0]]
    for given in conv.input[1:]:
        inputs.append(f"{given}_part{number}_{conv.output[0]}")
        values = np.ascontiguousarray(constants[given][part.first : part.last])
        graph.initializer.append(numpy_helper.from_array(values, inputs[-1]))
    raw = part.output if relu is None else f"{part.output}_before_relu"
    new = helper.make_node("Conv", inputs, [raw], name=f"{conv.name}_part{number}")
    new.attribute.extend(conv.attribute)
    return [new] if relu is None else [new, helper.make_node("Relu", [raw], [part.output])]


def _drop_unread(graph: GraphProto) -> None:
    """Initializers and constants that nothing reads any more."""
    read = {given for node in graph.node for given in node.input} | {output.name for output in graph.output}
    for kept, field in (
        ([i for i in graph.initializer if i.name in read], graph.initializer),
        ([n for n in graph.node if n.op_type != "Constant" or n.output[0] in read], graph.node),
    ):
        del field[:]
        field.extend(kept)
