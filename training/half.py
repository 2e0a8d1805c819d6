"""An ONNX file in half precision, with FP32 tensors outside.

TensorRT from 11 on computes in the types that a file states, so FP16 needs a file of its own.
"""

import hashlib

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

SOURCE_KEY = "source_sha256"
"""Entry of the file's metadata: SHA-256 of the file in FP32 that it was made of."""

_HALF = "/half"
_OTHER_TYPES = ("Cast", "Shape")


def in_half(content: bytes) -> bytes:
    """Return an ONNX file that computes in FP16 from its inputs to its casts to FP32.

    The kit's networks have such casts before their heads, whose exponentials and sums need FP32.
    Inputs and outputs stay FP32, and so do the sizes of ``Resize``, which are no data.
    """
    model = onnx.load_from_string(content)
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    constants |= {n.output[0]: n.attribute[0].t for n in graph.node if n.op_type == "Constant"}
    # Torch writes equal weights once, and the others as their copies.
    copied = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "Identity"}
    constants |= {new: constants[old] for new, old in copied.items() if old in constants}
    # The names of the tensors in half precision, by those that they had.
    names = {each.name: f"{each.name}{_HALF}" for each in graph.input}
    nodes = [_cast(old, new, TensorProto.FLOAT16) for old, new in names.items()]
    copies: dict[str, TensorProto] = {}
    outputs = {each.name for each in graph.output}
    for given in graph.node:
        node = NodeProto()
        node.CopyFrom(given)
        nodes.append(node)
        if not any(name in names for name in node.input):
            continue
        for place, name in enumerate(node.input):
            tensor, is_data = constants.get(name), place == 0 or node.op_type != "Resize"
            if tensor is not None and tensor.data_type == TensorProto.FLOAT and is_data:
                values = numpy_helper.to_array(tensor).astype(np.float16)
                copies[name] = numpy_helper.from_array(values, f"{name}{_HALF}")
                node.input[place] = copies[name].name
            else:
                node.input[place] = names.get(name, name)
        for place, name in enumerate(() if node.op_type in _OTHER_TYPES else node.output):
            names[name] = f"{name}{_HALF}"
            node.output[place] = names[name]
            if name in outputs:
                nodes.append(_cast(names[name], name, TensorProto.FLOAT))
    used = {name for node in nodes for name in node.input} | outputs
    nodes = [n for n in nodes if n.output[0] not in constants or n.output[0] in used]
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    initializers = [*kept, *copies.values()]
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:], result.graph.initializer[:], result.graph.value_info[:]
    result.graph.node.extend(nodes)
    result.graph.initializer.extend(initializers)
    result.metadata_props.add(key=SOURCE_KEY, value=hashlib.sha256(content).hexdigest())
    onnx.checker.check_model(result, full_check=True)
    return bytes(result.SerializeToString())


def _cast(source: str, target: str, kind: int) -> NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"{target}/Cast", to=kind)
