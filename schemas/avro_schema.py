"""A writer schema as a packet states it, checked before anything is read with it.

A schema is hostile until shown otherwise: it may nest or recurse without end, repeat a named type until one record
has a billion fields, or announce items of no size so that a few bytes state a trillion of them. ``parse_schema``
refuses these; what it returns is finite, named types resolved, of known smallest size and number of values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from schemas.errors import DeadLetterReason, PacketError, Stage

# The largest schema of a survey known here has 55 kB with its documentation texts, and 3,600 values by this count.
MAX_SCHEMA_BYTES: Final = 256 << 10
MAX_SCHEMA_VALUES: Final = 10_000
MAX_DEPTH: Final = 32
MAX_FIXED_BYTES: Final = 1 << 20
MAX_BRANCHES: Final = 64  # a branch number of one byte
PRIMITIVES: Final = {
    "null": 0,
    "boolean": 1,
    "int": 1,
    "long": 1,
    "float": 4,
    "double": 8,
    "bytes": 1,
    "string": 1,
}


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One type. A named type that occurs twice is one node.

    kind: Avro's type name. name: full name of a record, enum or fixed. children: a record's fields with their names,
    a union's branches, an array's or map's items. size: bytes of a fixed, symbols of an enum. min_bytes: the fewest
    that a value takes; num_values: the most values that one holds, itself included, not counting those in the items
    of arrays and maps, whose number the data states.
    """

    kind: str
    name: str
    children: tuple[tuple[str, Node], ...]
    size: int
    symbols: tuple[str, ...]
    min_bytes: int
    num_values: int
    depth: int


def refused(detail: str, reason: DeadLetterReason = DeadLetterReason.BAD_SCHEMA) -> PacketError:
    """The error of a schema that is not read."""
    return PacketError(reason, Stage.AVRO, f"schema: {detail}")


def load_schema(text: bytes) -> Node:
    """A schema from its JSON text; PacketError bad_schema or too_large."""
    if len(text) > MAX_SCHEMA_BYTES:
        raise refused(f"{len(text)} bytes, at most {MAX_SCHEMA_BYTES}", DeadLetterReason.TOO_LARGE)
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise refused(f"no JSON: {type(error).__name__}: {str(error)[:100]}") from error
    return parse_schema(raw)


def parse_schema(raw: Any) -> Node:
    """A schema from its JSON value; PacketError when it is no Avro schema, or one that is not safe to read with."""
    try:
        return _Parser().parse(raw, "", 0)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise refused(f"{type(error).__name__}: {str(error)[:100]}") from error


class _Parser:
    """One schema's named types, and how many values it may still hold in all its types."""

    def __init__(self) -> None:
        self._named: dict[str, Node | None] = {}  # None while its definition is read
        self._left = MAX_SCHEMA_VALUES

    def parse(self, raw: Any, namespace: str, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise refused(f"nested more than {MAX_DEPTH} deep")
        if isinstance(raw, str):
            return self._primitive(raw) if raw in PRIMITIVES else self._reference(raw, namespace)
        if isinstance(raw, list):
            return self._union(raw, namespace, depth)
        if not isinstance(raw, Mapping):
            raise refused(f"a type is {raw!r:.60}")
        kind = raw["type"]
        if kind in ("record", "error"):
            return self._record(raw, namespace, depth)
        if kind in ("array", "map"):
            return self._items(kind, raw["items" if kind == "array" else "values"], namespace, depth)
        if kind in ("enum", "fixed"):
            return self._leaf(kind, raw, namespace)
        return self.parse(kind, namespace, depth + 1)  # {"type": "long", "logicalType": ...}: the number itself

    def _primitive(self, kind: str) -> Node:
        return self._node(kind, min_bytes=PRIMITIVES[kind])

    def _reference(self, name: str, namespace: str) -> Node:
        for full_name in (name, f"{namespace}.{name}") if "." in name else (f"{namespace}.{name}".strip("."), name):
            if full_name in self._named:
                node = self._named[full_name]
                if node is None:
                    raise refused(f"{full_name!r:.80} is part of itself")
                return node
        raise refused(f"unknown type {name!r:.80}")

    def _define(self, raw: Mapping[str, Any], namespace: str) -> tuple[str, str]:
        """Full name of a type that is being defined and the namespace within it; the name is taken from now on."""
        name = raw["name"]
        space = raw.get("namespace", namespace)
        if not isinstance(name, str) or not isinstance(space, str) or not name:
            raise refused(f"name {name!r:.60} in namespace {space!r:.60}")
        full_name = name if "." in name or not space else f"{space}.{name}"
        if full_name in self._named:
            raise refused(f"{full_name!r:.80} is defined twice")
        self._named[full_name] = None
        return full_name, full_name.rpartition(".")[0]

    def _record(self, raw: Mapping[str, Any], namespace: str, depth: int) -> Node:
        name, space = self._define(raw, namespace)
        fields = tuple((str(f["name"]), self.parse(f["type"], space, depth + 1)) for f in raw["fields"])
        if len({field for field, _ in fields}) != len(fields):
            raise refused(f"{name!r:.80} has two fields of one name")
        smallest = sum(node.min_bytes for _, node in fields)
        return self._named_node("record", name, children=fields, min_bytes=smallest)

    def _leaf(self, kind: str, raw: Mapping[str, Any], namespace: str) -> Node:
        name, _ = self._define(raw, namespace)
        if kind == "enum":
            symbols = tuple(str(symbol) for symbol in raw["symbols"])
            if not symbols:
                raise refused(f"{name!r:.80} has no symbols")
            return self._named_node(kind, name, size=len(symbols), symbols=symbols, min_bytes=1)
        size = raw["size"]
        if not isinstance(size, int) or not 0 <= size <= MAX_FIXED_BYTES:
            raise refused(f"{name!r:.80} has size {size!r:.40}, at most {MAX_FIXED_BYTES}")
        return self._named_node(kind, name, size=size, min_bytes=size)

    def _union(self, raw: list[Any], namespace: str, depth: int) -> Node:
        branches = tuple(("", self.parse(branch, namespace, depth + 1)) for branch in raw)
        if not 0 < len(branches) <= MAX_BRANCHES or any(node.kind == "union" for _, node in branches):
            raise refused(f"a union of {len(branches)} branches, or of unions")
        smallest = 1 + min(node.min_bytes for _, node in branches)
        return self._node("union", children=branches, min_bytes=smallest)

    def _items(self, kind: str, raw: Any, namespace: str, depth: int) -> Node:
        node = self.parse(raw, namespace, depth + 1)
        if kind == "array" and node.min_bytes == 0:
            raise refused("an array of items that take no bytes: their number could not be checked")
        return self._node(kind, children=(("", node),), min_bytes=1)

    def _named_node(self, kind: str, name: str, **values: Any) -> Node:
        node = self._named[name] = self._node(kind, name=name, **values)
        return node

    def _node(
        self,
        kind: str,
        *,
        name: str = "",
        children: tuple[tuple[str, Node], ...] = (),
        size: int = 0,
        symbols: tuple[str, ...] = (),
        min_bytes: int,
    ) -> Node:
        counts = [node.num_values for _, node in children]
        held = {"record": sum(counts), "union": max(counts, default=0)}.get(kind, 0)
        # a union's branches are all compiled, one of them is read
        self._left -= 1 + (sum(counts) if kind in ("record", "union") else 0)
        depth = 1 + max((node.depth for _, node in children), default=0)
        if self._left < 0 or depth > MAX_DEPTH:
            raise refused(f"more than {MAX_SCHEMA_VALUES} values, or nested more than {MAX_DEPTH} deep")
        return Node(kind, name, children, size, symbols, min_bytes, 1 + held, depth)


def definition(name: str, fields: tuple[tuple[str, Node], ...]) -> Any:
    """The JSON schema of a record of these fields, complete in itself: what fastavro is given.

    Nothing that changes how values are read is left (logical types, defaults), and types have plain names of our
    own, so that no namespace rule can make two readers disagree.
    """
    names: dict[Node, str] = {}
    return {"type": "record", "name": name, "fields": [_field(field, node, names) for field, node in fields]}


def _field(name: str, node: Node, names: dict[Node, str]) -> Any:
    return {"name": name, "type": _definition(node, names)}


def _definition(node: Node, names: dict[Node, str]) -> Any:
    if node.kind in PRIMITIVES:
        return node.kind
    if node.kind == "union":
        return [_definition(branch, names) for _, branch in node.children]
    if node.kind in ("array", "map"):
        return {"type": node.kind, _ITEMS[node.kind]: _definition(node.children[0][1], names)}
    if node in names:
        return names[node]
    names[node] = f"type{len(names)}"
    found: dict[str, Any] = {"type": node.kind, "name": names[node]}
    if node.kind == "record":
        return found | {"fields": [_field(name, child, names) for name, child in node.children]}
    return found | ({"symbols": list(node.symbols)} if node.kind == "enum" else {"size": node.size})


_ITEMS: Final = {"array": "items", "map": "values"}
