"""Checks that every byte of an ONNX file belongs to a known field, set once.

A protobuf parser skips unknown fields and lets a later value replace an earlier one: no
check of the parsed model sees these bytes, but another reader may.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_WIRES = {
    FieldDescriptor.TYPE_DOUBLE: _EIGHT,
    FieldDescriptor.TYPE_FLOAT: _FOUR,
    FieldDescriptor.TYPE_STRING: _BYTES,
    FieldDescriptor.TYPE_BYTES: _BYTES,
    FieldDescriptor.TYPE_MESSAGE: _BYTES,
}


def find_odd_bytes(data: bytes, message: Any) -> list[str]:
    """Names bytes that are in no field, in an unknown one, or overwritten.

    Args:
        data: a file that protobuf has parsed.
        message: descriptor of what it holds.
    """
    walk = _Walk(data)
    walk.message(0, len(data), message)
    return [f"the file has {fault}: export it again" for fault in walk.faults]


class _Walk:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.faults: dict[str, None] = {}

    def message(self, at: int, end: int, message: Any) -> None:
        written: set[str] = set()
        while at < end:
            tag, at = self._number(at)
            wire, field = tag & 7, message.fields_by_number.get(tag >> 3)
            begin, at = self._value(at, wire)
            if at > end or not _fits(field, wire):
                self._note(f"field {tag >> 3} in {message.name}, which ONNX lacks")
                if at > end:
                    return
                continue
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                self.message(begin, at, field.message_type)
            if field.is_repeated:
                continue
            choice = field.containing_oneof or field
            if choice.name in written:
                self._note(f"{message.name}.{choice.name} written twice")
            written.add(choice.name)

    def _value(self, at: int, wire: int) -> tuple[int, int]:
        """Where a field's value begins and ends; beyond the file for groups."""
        if wire == _VARINT:
            return at, self._number(at)[1]
        if wire == _BYTES:
            length, at = self._number(at)
            return at, at + length
        return at, at + {_EIGHT: 8, _FOUR: 4}.get(wire, len(self._data) + 1)

    def _number(self, at: int) -> tuple[int, int]:
        """A base-128 number and where it ends."""
        value = shift = 0
        while (byte := self._data[at]) > 127:
            value |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
        if shift and not byte:
            self._note("numbers that are padded with zeros")
        return value | byte << shift, at + 1

    def _note(self, fault: str) -> None:
        self.faults[fault] = None


def _fits(field: Any, wire: int) -> bool:
    """Whether ONNX has the field with this wire type; lists may be packed."""
    if field is None:
        return False
    return wire == _WIRES.get(field.type, _VARINT) or (
        bool(field.is_repeated) and wire == _BYTES
    )
