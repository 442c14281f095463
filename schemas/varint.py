"""Avro's variable-length integers (specification 1.11, "Binary Encoding"): zigzag, 7 bits a byte, low bits first."""

from __future__ import annotations

from typing import Final

MAX_BYTES: Final = 10  # of a 64-bit number
_SIGN: Final = 1 << 63


def read_long(data: bytes, position: int) -> tuple[int, int]:
    """The number that begins at ``position`` and the position after it.

    ValueError when it is cut short, or is no 64-bit number.
    """
    if position < len(data) and data[position] < 0x80:  # most numbers
        return (data[position] >> 1) ^ -(data[position] & 1), position + 1
    value = 0
    for index, byte in enumerate(data[position : position + MAX_BYTES]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            number = (value >> 1) ^ -(value & 1)
            if not -_SIGN <= number < _SIGN:
                break
            return number, position + index + 1
    raise ValueError(f"no Avro number at byte {position} of {len(data)}")


def read_length(data: bytes, position: int) -> tuple[int, int]:
    """The position of what a stated length announces and the position after it; ValueError when cut short."""
    length, start = read_long(data, position)
    if not 0 <= length <= len(data) - start:
        raise ValueError(f"a length of {length} at byte {position}, where {len(data) - start} bytes are left")
    return start, start + length
