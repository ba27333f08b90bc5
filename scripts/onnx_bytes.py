"""ONNX files by hand: the few protocol buffer messages of onnx.proto that small models need.

A field is a key, then a varint, or a length and bytes. The models are written without the onnx package,
so that they are the same bytes wherever they are made.
"""

import struct

FLOAT, UINT8, INT64 = 1, 2, 7
IR_VERSION, OPSET = 8, 13
ATTRIBUTE_INT, ATTRIBUTE_INTS = 2, 7


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field, value):
    return varint(field << 3) + varint(value)


def chunk(field, value):
    data = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(data)) + data


def initializer(name, shape, values, element=FLOAT):
    dims = b"".join(number(1, size) for size in shape)
    raw = struct.pack(f"<{len(values)}{'q' if element == INT64 else 'f'}", *values)
    return chunk(5, dims + number(2, element) + chunk(8, name) + chunk(9, raw))


def attribute(name, value):
    if isinstance(value, list):
        body = b"".join(number(8, item) for item in value) + number(20, ATTRIBUTE_INTS)
    else:
        body = number(3, value) + number(20, ATTRIBUTE_INT)
    return chunk(5, chunk(1, name) + body)


def node(operator, inputs, output, **attributes):
    ends = b"".join(chunk(1, name) for name in inputs) + chunk(2, output)
    return chunk(1, ends + chunk(4, operator) + b"".join(attribute(*item) for item in attributes.items()))


def tensor_info(field, name, shape, element):
    sizes = [chunk(2, size) if isinstance(size, str) else number(1, size) for size in shape]
    dims = b"".join(chunk(1, size) for size in sizes)
    return chunk(field, chunk(1, name) + chunk(2, chunk(1, number(1, element) + chunk(2, dims))))


def graph_input(name, shape, element=FLOAT):
    return tensor_info(11, name, shape, element)


def graph_output(name, shape, element=FLOAT):
    return tensor_info(12, name, shape, element)


def model(name, *parts):
    """A whole file; the parts of the graph are nodes, initializers, inputs and outputs."""
    graph = b"".join(parts) + chunk(2, name)
    return number(1, IR_VERSION) + chunk(2, "tilefleet") + chunk(7, graph) + chunk(8, number(2, OPSET))
