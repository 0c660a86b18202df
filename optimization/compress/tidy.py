"""A graph without what costs bytes and computes nothing: duplicates, leftovers, long names."""

from __future__ import annotations

import onnx


def tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Share equal constants, drop unused ones and unused domains, and shorten every inner name."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    graph = out.graph
    first: dict[bytes, str] = {}
    same = {}
    for entry in graph.initializer:
        anonymous = onnx.TensorProto()
        anonymous.CopyFrom(entry)
        anonymous.ClearField("name")
        same[entry.name] = first.setdefault(anonymous.SerializeToString(deterministic=True), entry.name)
    read = {same.get(name, name) for node in graph.node for name in node.input}
    kept = [entry for entry in graph.initializer if entry.name in read]
    outer = {"", *(entry.name for entry in (*graph.input, *graph.output))}
    short: dict[str, str] = {}

    def rename(name: str) -> str:
        name = same.get(name, name)
        return name if name in outer else short.setdefault(name, _short(len(short)))

    for node in graph.node:
        node.input[:] = [rename(name) for name in node.input]
        node.output[:] = [rename(name) for name in node.output]
        node.ClearField("name")
        node.ClearField("doc_string")
    for entry in kept:
        entry.name = rename(entry.name)
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(kept)
    used = {node.domain for node in graph.node}
    imports = [entry for entry in out.opset_import if entry.domain in used]
    del out.opset_import[:]
    out.opset_import.extend(imports)
    return out


def _short(number: int) -> str:
    """a, b, ..., z, ba, ...: in the order in which the nodes are met."""
    letters = ""
    while True:
        number, letter = divmod(number, 26)
        letters = chr(ord("a") + letter) + letters
        if number == 0:
            return letters
