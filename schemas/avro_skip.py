"""Finds the end of an Avro value without reading it: nothing a packet states is believed before it is checked.

A schema is compiled once to functions ``(data, position, budget) -> position after the value``. Everything whose
length follows from its own bytes (numbers, fixed, enums, unions and records of them) becomes part of a regular
expression, so that a history of a thousand nullable numbers costs microseconds; texts, byte strings, arrays and maps
are steps between two expressions. The branches of an alternation differ in their first byte, so that nothing is
tried twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from schemas.avro_schema import Node
from schemas.varint import read_length, read_long

# Values in one packet, skipped ones included: the largest sample has 90,000, and each read one takes about 100 bytes.
MAX_VALUES: Final = 1_000_000
_VARINT: Final = b"[\\x80-\\xff]{0,9}[\\x00-\\x7f]"
_PATTERNS: Final = {"null": b"", "boolean": b"[\\x00\\x01]", "int": _VARINT, "long": _VARINT, "float": b".{4}"} | {
    "double": b".{8}"
}
ONE_BYTE_SYMBOLS: Final = 64


class Budget:
    """How many values a packet may still state."""

    __slots__ = ("left",)

    def __init__(self, left: int = MAX_VALUES) -> None:
        self.left = left

    def spend(self, count: int) -> None:
        """ValueError when it is used up."""
        self.left -= count
        if self.left < 0:
            raise ValueError(f"more than {MAX_VALUES} values")


Skip = Callable[[bytes, int, Budget], int]


class SkipCompiler:
    """Compiles the types of one schema, each once. What it returns raises ValueError where the data does not fit."""

    def __init__(self) -> None:
        self._steps: dict[Node, tuple[bytes | Skip, ...]] = {}

    def compile(self, nodes: Sequence[Node]) -> Skip:
        """One function that skips values of these types in turn."""
        steps = [_step(part) for part in _joined([step for node in nodes for step in self._parts(node)])]
        if len(steps) == 1:
            return steps[0]

        def skip(data: bytes, position: int, budget: Budget) -> int:
            for step in steps:
                position = step(data, position, budget)
            return position

        return skip

    def _parts(self, node: Node) -> tuple[bytes | Skip, ...]:
        """A type as regular expressions and functions in turn."""
        found = self._steps.get(node)
        if found is None:
            found = self._steps[node] = _joined(self._of_kind(node))
        return found

    def _of_kind(self, node: Node) -> list[bytes | Skip]:
        kind = node.kind
        if kind in _PATTERNS:
            return [_PATTERNS[kind]]
        if kind in ("bytes", "string"):
            return [_skip_bytes]
        if kind == "fixed":
            return [b".{%d}" % node.size]
        if kind == "enum":
            if node.size > ONE_BYTE_SYMBOLS:
                return [_skip_enum(node.size)]
            return [b"[%s]" % b"".join(_byte(2 * index) for index in range(node.size))]
        if kind == "record":
            return [part for _, child in node.children for part in self._parts(child)]
        if kind == "union":
            return [self._union([child for _, child in node.children])]
        items = node.children[0][1]
        if kind == "map":
            return [_skip_blocks(self.compile([_KEY, items]), 1 + items.min_bytes, 1 + items.num_values)]
        return [_skip_blocks(self.compile([items]), items.min_bytes, items.num_values)]

    def _union(self, branches: list[Node]) -> bytes | Skip:
        patterns = [part for branch in branches for part in self._pattern(branch)]
        if len(patterns) == len(branches):
            return b"(?:%s)" % b"|".join(_byte(2 * index) + part for index, part in enumerate(patterns))
        return _skip_union([self.compile([branch]) for branch in branches])

    def _pattern(self, node: Node) -> list[bytes]:
        """The one expression that a type is, if it is one."""
        parts = self._parts(node)
        if not parts:
            return [b""]
        return [part for part in parts if isinstance(part, bytes)] if len(parts) == 1 else []


_KEY: Final = Node("string", "", (), 0, (), 1, 1, 1)


def _byte(value: int) -> bytes:
    return b"\\x%02x" % value


def _joined(parts: Sequence[bytes | Skip]) -> tuple[bytes | Skip, ...]:
    """Neighbouring expressions made one, empty ones dropped."""
    found: list[bytes | Skip] = []
    pending: list[bytes] = []
    for part in parts:
        if isinstance(part, bytes):
            pending.append(part)
            continue
        if any(pending):
            found.append(b"".join(pending))
        pending = []
        found.append(part)
    if any(pending):
        found.append(b"".join(pending))
    return tuple(found)


def _step(part: bytes | Skip) -> Skip:
    if not isinstance(part, bytes):
        return part
    match = re.compile(part, re.DOTALL).match

    def skip(data: bytes, position: int, budget: Budget) -> int:
        found = match(data, position)
        if found is None:
            raise ValueError(f"the bytes from {position} of {len(data)} do not fit the schema, or are cut short")
        return found.end()

    return skip


def _skip_bytes(data: bytes, position: int, budget: Budget) -> int:
    first = data[position] if position < len(data) else 0x80
    if first & 0x81 == 0:  # a positive length of one byte
        position += 1 + (first >> 1)
        if position <= len(data):
            return position
        raise ValueError(f"a length of {first >> 1}, where {len(data) - position + (first >> 1)} bytes are left")
    return read_length(data, position)[1]


def _skip_enum(num_symbols: int) -> Skip:
    def skip(data: bytes, position: int, budget: Budget) -> int:
        index, position = read_long(data, position)
        if not 0 <= index < num_symbols:
            raise ValueError(f"symbol {index} of {num_symbols}")
        return position

    return skip


def _skip_union(branches: list[Skip]) -> Skip:
    by_byte = dict(zip(range(0, 2 * len(branches), 2), branches, strict=True))

    def skip(data: bytes, position: int, budget: Budget) -> int:
        branch = by_byte.get(data[position]) if position < len(data) else None
        if branch is None:
            raise ValueError(f"no branch of a union of {len(by_byte)} at byte {position} of {len(data)}")
        return branch(data, position + 1, budget)

    return skip


def _skip_blocks(skip_item: Skip, item_bytes: int, item_values: int) -> Skip:
    """The blocks of an array or a map; their items take at least ``item_bytes`` (one or more) each."""

    def skip(data: bytes, position: int, budget: Budget) -> int:
        while True:
            count, position = read_long(data, position)
            if count == 0:
                return position
            end = None
            if count < 0:  # a block that states its size
                count = -count
                size, position = read_long(data, position)
                end = position + size
            if count * item_bytes > len(data) - position:
                raise ValueError(f"{count} items of {item_bytes} bytes or more in {len(data) - position} bytes")
            budget.spend(count * item_values)
            for _ in range(count):
                position = skip_item(data, position, budget)
            if end is not None and end != position:
                raise ValueError(f"a block that states its end at byte {end} ends at {position}")

    return skip
