"""Requests and answers of KServe's protocol over HTTP, and Triton's gRPC messages of them."""

import json
import math
from collections.abc import Mapping, MutableSequence
from typing import Any

from tritonclient.grpc import model_config_pb2, service_pb2

from facekit.gateway.problems import ProblemError
from facekit.gateway.tensors import (
    ITEM_BYTES,
    bytes_of,
    check_shape,
    check_size,
    refused,
    shown,
    values_of,
)

# What JSON takes once it is read depends on its values and not on its bytes: some 32 bytes each,
# and some 64 for a list or an object. A tensor of three dims of a network's input has a million
# values in thousands of lists.
_MOST_VALUES = 1_000_000
_MOST_LISTS = 250_000
_MOST_TENSORS = 1_000

# Of one tensor, or of all: about its place in the request, and not for the model.
_OWN_PARAMETERS = {"binary_data", "binary_data_size", "binary_data_output"}
_SHARED_MEMORY = "shared_memory_"


class InferRequest:
    """A request that was read, and which of its outputs are answered in binary form.

    Args:
        message: For Triton's gRPC.
        binary: Whether in binary form, by the names of the outputs that were asked for.
        all_binary: Whether in binary form, for the other outputs.
    """

    def __init__(self, message: Any, binary: Mapping[str, bool], all_binary: bool) -> None:
        self.message = message
        self._binary = binary
        self._all_binary = all_binary

    def is_binary(self, output: str) -> bool:
        """Return whether an output is answered in binary form."""
        return self._binary.get(output, self._all_binary)


def read_json(data: bytes, most_bytes: int) -> dict[str, Any]:
    """Return the object in a request's JSON.

    Raises ProblemError: 400 if it is not one, and 413 if it is larger than ``most_bytes`` or has
    too many values to be read into memory.
    """
    if len(data) > most_bytes:
        raise _too_large(f"{len(data):,} bytes of JSON are over the limit of {most_bytes:,}")
    if data.count(b",") > _MOST_VALUES:
        raise _too_large(f"JSON of more than {_MOST_VALUES:,} values")
    if data.count(b"[") + data.count(b"{") + data.count(b":") > _MOST_LISTS:
        raise _too_large(f"JSON of more than {_MOST_LISTS:,} lists and members")
    try:
        found = json.loads(data, parse_constant=_no_constant, object_pairs_hook=_members)
    except RecursionError:
        raise refused("the request's JSON is nested too deeply") from None
    except ValueError as error:  # also of numbers with thousands of digits, and of UTF-8
        raise refused(f"the request is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise refused("the request's JSON: expected an object with the member inputs")
    return found


def read_request(
    model: str, version: str, data: bytes, header_bytes: int | None, most_json_bytes: int
) -> InferRequest:
    """Read an inference request: JSON, or in binary form JSON and the tensors' bytes after it.

    Args:
        model: The name in the request's path.
        version: The version there, or "".
        data: The whole body.
        header_bytes: Length of the JSON in binary form; None if all is JSON.
        most_json_bytes: The limit on the JSON.

    Raises:
        ProblemError: 400 or 413; the message names the tensor.
    """
    if header_bytes is not None and header_bytes > len(data):
        raise refused(
            f"Inference-Header-Content-Length: expected at most the body's {len(data):,} bytes, "
            f"got {header_bytes:,}"
        )
    found = read_json(data if header_bytes is None else data[:header_bytes], most_json_bytes)
    message = service_pb2.ModelInferRequest(model_name=model, model_version=version)
    message.id = _text_member(found, "id")
    parameters = _object(found, "parameters", "the request")
    _fill(message.parameters, parameters, "the request")
    at = len(data) if header_bytes is None else header_bytes
    for where, tensor in _tensors(found, "inputs", "input"):
        at = _add_input(message, where, tensor, data, at)
    if at != len(data):
        raise refused(
            f"{len(data) - at:,} bytes follow the inputs; expected what binary_data_size says"
        )
    all_binary = _flag(parameters, "binary_data_output", "the request")
    binary: dict[str, bool] = {}
    for where, tensor in _tensors(found, "outputs", "output"):
        asked = _object(tensor, "parameters", where)
        output = message.outputs.add(name=tensor["name"])
        _fill(output.parameters, asked, where)
        # As in Triton, an output that is named is not in binary form unless it says so itself.
        binary[tensor["name"]] = _flag(asked, "binary_data", where)
    return InferRequest(message, binary, all_binary)


def raw_request(model: str, version: str, data: bytes, config: Any) -> InferRequest:
    """Make a request of a body that is the model's only input; its outputs are in binary form.

    ``config`` is the model's ``ModelConfig``. Raises ProblemError (400) if it has several inputs,
    or the shape can't be told from the number of bytes.
    """
    where = f"model {model!r}"
    if len(config.input) != 1:
        raise refused(f"{where} has {len(config.input)} inputs: name them in the request's JSON")
    tensor = config.input[0]
    types = model_config_pb2.DataType.DESCRIPTOR.values_by_number
    datatype = types[tensor.data_type].name.removeprefix("TYPE_").replace("STRING", "BYTES")
    shape = [1] * (config.max_batch_size > 0) + list(tensor.dims)
    if shape.count(-1) > 1:
        raise refused(f"{where} has more than one variable dim: name the shape in JSON")
    item_bytes = ITEM_BYTES.get(datatype) or len(data) + 4
    others = math.prod(dim for dim in shape if dim != -1)
    if datatype == "BYTES":
        data = len(data).to_bytes(4, "little") + data
    shape = [len(data) // (others * item_bytes) if dim == -1 else dim for dim in shape]
    _check_batch(where, shape)
    check_size(where, datatype, shape, len(data))
    message = service_pb2.ModelInferRequest(model_name=model, model_version=version)
    message.inputs.add(name=tensor.name, datatype=datatype, shape=shape)
    message.raw_input_contents.append(data)
    return InferRequest(message, {}, True)


def write_answer(request: InferRequest, answer: Any) -> tuple[bytes, int | None]:
    """Return the body of the answer to a request, and the length of its JSON in binary form.

    Raises ProblemError (400) for an output that has no JSON form.
    """
    head: dict[str, Any] = {"id": answer.id} if answer.id else {}
    head |= {"model_name": answer.model_name, "model_version": answer.model_version}
    if answer.parameters:
        head["parameters"] = _plain(answer.parameters)
    outputs, parts = [], []
    for tensor, data in zip(answer.outputs, answer.raw_output_contents, strict=True):
        output = {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.shape),
        }
        parameters = _plain(tensor.parameters)
        if request.is_binary(tensor.name):
            parameters["binary_data_size"] = len(data)
            parts.append(data)
        else:
            output["data"] = values_of(f"output {tensor.name!r}", tensor.datatype, data)
        if parameters:
            output["parameters"] = parameters
        outputs.append(output)
    head["outputs"] = outputs
    text = json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode()
    return (b"".join([text, *parts]), len(text)) if parts else (text, None)


def to_dict(message: Any) -> dict[str, Any]:
    """Return a protobuf message as Triton's HTTP shows it: all fields, numbers as numbers.

    Messages that are not set are left out, as are the fields of a ``oneof`` that were not chosen.
    """
    found: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if isinstance(value, Mapping):
            of = field.message_type.fields_by_name["value"]
            found[field.name] = {str(key): _value(of, value[key]) for key in sorted(value)}
        elif isinstance(value, MutableSequence):
            found[field.name] = [_value(field, each) for each in value]
        elif not field.has_presence or message.HasField(field.name):
            found[field.name] = _value(field, value)
    return found


def _value(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return to_dict(value)
    if field.enum_type is not None:
        return field.enum_type.values_by_number[value].name
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _add_input(message: Any, where: str, tensor: dict[str, Any], data: bytes, at: int) -> int:
    """Add an input whose bytes are its ``data``, or begin at ``at``; return where they end."""
    datatype, shape = tensor.get("datatype"), tensor.get("shape")
    check_shape(where, datatype, shape)
    assert isinstance(datatype, str) and isinstance(shape, list)
    _check_batch(where, shape)
    parameters = _object(tensor, "parameters", where)
    size = parameters.get("binary_data_size")
    if size is None:
        if "data" not in tensor:
            raise refused(f"{where}: expected data, or the parameter binary_data_size")
        values = bytes_of(where, datatype, shape, tensor["data"])
    else:
        if "data" in tensor:
            raise refused(f"{where}: has both data and the parameter binary_data_size")
        left = len(data) - at
        if type(size) is not int or not 0 <= size <= left:
            raise refused(
                f"{where}: binary_data_size: expected a whole number of at most the {left:,} bytes "
                f"that are left of the body, got {shown(size)}"
            )
        check_size(where, datatype, shape, size)
        values, at = data[at : at + size], at + size
    entry = message.inputs.add(name=tensor["name"], datatype=datatype, shape=shape)
    _fill(entry.parameters, parameters, where)
    message.raw_input_contents.append(values)
    return at


def _check_batch(where: str, shape: list[int]) -> None:
    if shape[:1] == [0]:
        # Triton's Python backend never answers it.
        raise refused(f"{where}: shape {shape}: a batch of 0")


def _tensors(found: dict[str, Any], member: str, kind: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the tensors of a request and what messages call them."""
    if member not in found and kind == "input":
        raise refused("the request's JSON has no member inputs")
    tensors = found.get(member, [])
    if not isinstance(tensors, list) or len(tensors) > _MOST_TENSORS:
        raise refused(f"{member}: expected a list of at most {_MOST_TENSORS:,} tensors")
    named = {}
    for k, tensor in enumerate(tensors):
        if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
            raise refused(f"{kind} {k}: expected an object with the member name, a text")
        name = _utf8(tensor["name"], f"{kind} {k}: name")
        if name in named:
            raise refused(f"{kind} {shown(name)} is there twice")
        named[name] = tensor
    return [(f"{kind} {shown(name)}", tensor) for name, tensor in named.items()]


def _object(found: dict[str, Any], member: str, where: str) -> dict[str, Any]:
    value = found.get(member, {})
    if not isinstance(value, dict):
        raise refused(f"{where}: {member}: expected an object, got {shown(value)}")
    return value


def _flag(parameters: dict[str, Any], name: str, where: str) -> bool:
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise refused(f"{where}: {name}: expected true or false, got {shown(value)}")
    return value


def _text_member(found: dict[str, Any], member: str) -> str:
    value = found.get(member, "")
    if not isinstance(value, str):
        raise refused(f"{member}: expected a text, got {shown(value)}")
    return _utf8(value, member)


def _utf8(text: str, where: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise refused(f"{where}: holds half of a surrogate pair") from None
    return text


def _fill(target: Any, parameters: dict[str, Any], where: str) -> None:
    """Set the parameters of a message, other than those that are about HTTP."""
    for name, value in parameters.items():
        if name in _OWN_PARAMETERS:
            continue
        if name.startswith(_SHARED_MEMORY):
            raise refused(f"{where}: parameter {shown(name)}: this server takes no shared memory")
        kind = _FIELDS.get(type(value))
        if kind == "int64_param" and value >= 2**63:
            kind = "uint64_param"
        try:
            if kind is None:
                raise ValueError
            setattr(target[_utf8(name, f"{where}: parameter")], kind, value)
        except ValueError:  # also of a number or a text that protobuf does not take
            raise refused(
                f"{where}: parameter {shown(name)}: expected a text, a number or true or false, "
                f"got {shown(value)}"
            ) from None


_FIELDS = {
    bool: "bool_param",
    int: "int64_param",
    str: "string_param",
    float: "double_param",
}


def _plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name, value in parameters.items():
        kind = value.WhichOneof("parameter_choice")
        if kind is not None:
            found[name] = getattr(value, kind)
    return found


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has a member twice")
    return found


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not a number of JSON")


def _too_large(detail: str) -> ProblemError:
    return ProblemError(
        413, f"{detail}: send large tensors in binary form, with binary_data_size", reason="size"
    )
