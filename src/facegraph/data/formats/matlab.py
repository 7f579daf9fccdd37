"""MATLAB files of version 5 to 7.2 (what `save` writes by default): numbers, texts, cells and structs.

A reader of our own, because scipy.io.loadmat (1.17) ends the process with a segmentation fault on damaged files: it
uses type codes of the file as an index without a check. Here all sizes, counts and codes are checked before use; what
is read is at most MAX_BYTES long, compressed parts unpacked.

Format: "MAT-File Format", MathWorks, chapter 1. A header of 128 bytes, then parts of a tag (type, size) and data; a
part is a variable, or a compressed one. A variable has parts itself: class, shape, name, and its data.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Union

import numpy as np

from facegraph.data.formats.files import read_bytes
from facegraph.errors import DataError

MAX_BYTES = 16_000_000
"""Of a file, and of what it unpacks to. The largest file that is read here has about a tenth."""

_HEADER_BYTES = 128
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
_NUMBERS = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
_TEXTS = {2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_CELL, _STRUCT, _CHAR, _NUMERIC = 1, 2, 4, range(6, 16)
_COMPLEX = 0x800
_MOST_LEVELS = 8
_NEXT = "Copy the file again from its source."

Part = tuple[int, memoryview]
Value = Union[np.ndarray, str, list["Value"], dict[str, "Value"], None]  # noqa: UP007  # recursive: no | with a text


def read_variables(path: Path, names: Sequence[str]) -> dict[str, Value]:
    """The named variables of a file; those that it lacks are left out, and the others are not decoded.

    Numbers (logical ones too) become a float64 array in MATLAB's shape, a text a str, a cell array a list of values, a
    struct array a list of dicts; both lists in MATLAB's order, by columns. Anything else becomes None.

    Raises:
        DataError: not there or not readable, no MATLAB file of version 5, cut short or damaged, a name twice.
    """
    content = read_bytes(path, MAX_BYTES)
    reader = _Reader(path, _byte_order(path, content))
    found: dict[str, Value] = {}
    for payload in reader.variables(memoryview(content)[_HEADER_BYTES:]):
        head = reader.head(payload)
        if head.name in found:
            raise DataError(f"{path} has the variable {head.name} twice. {_NEXT}")
        if head.name in names:
            found[head.name] = reader.value(head, _MOST_LEVELS)
    return found


def numbers(path: Path, variables: dict[str, Value], name: str) -> np.ndarray:
    """A variable that holds numbers, float64 in its shape.

    Raises:
        DataError: the file has no such variable, or it holds no real numbers.
    """
    if name not in variables:
        raise DataError(f"{path} has no variable {name}. Take the file of that name from the publisher's archive.")
    return real(variables[name], f"{path}, variable {name}")


def real(value: Value, where: str) -> np.ndarray:
    """A value that is an array of numbers.

    Raises:
        DataError: anything else.
    """
    if not isinstance(value, np.ndarray):
        raise DataError(f"{where} is no array of real numbers but {type(value).__name__}. {_NEXT}")
    return value


def _byte_order(path: Path, content: bytes) -> str:
    order = {b"IM": "<", b"MI": ">"}.get(content[126:_HEADER_BYTES])
    if order is None:
        raise DataError(f"{path} is no MATLAB file of version 5 ({len(content)} bytes). {_NEXT}")
    version = struct.unpack(order + "H", content[124:126])[0] >> 8
    if version != 1:
        raise DataError(
            f"{path} is a MATLAB file of version code {version}; 1 is read here (2 is MATLAB 7.3, HDF5). Save it in "
            "MATLAB with the option -v7."
        )
    return order


@dataclass(frozen=True)
class _Head:
    """A variable before its data: class and flags, shape, name, and the parts that follow."""

    kind: int
    is_complex: bool
    shape: tuple[int, ...]
    name: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class _Reader:
    """order: of bytes, as struct and numpy write it."""

    path: Path
    order: str

    def broken(self, what: str) -> DataError:
        return DataError(f"{self.path} is damaged or cut short: {what}. {_NEXT}")

    def variables(self, data: memoryview) -> Iterator[memoryview]:
        """Payloads of the variables of a file, unpacked."""
        budget = MAX_BYTES
        for kind, payload in self.parts(data, padded=False):
            if kind == _COMPRESSED:
                inner = list(self.parts(memoryview(self.inflated(payload, budget)), padded=False))
                if len(inner) != 1:
                    raise self.broken(f"{len(inner)} variables in one compressed part")
                kind, payload = inner[0]
            budget -= len(payload)
            if kind != _MATRIX or budget <= 0:
                raise self.broken(f"a part of type {kind} and {len(payload)} bytes where a variable should be")
            yield payload

    def inflated(self, packed: memoryview, limit: int) -> bytes:
        unpacker = zlib.decompressobj()
        try:
            data = unpacker.decompress(packed, limit)
        except zlib.error as error:
            raise self.broken(f"a compressed part ({error})") from error
        if not unpacker.eof:
            raise self.broken(f"a compressed part ends early, or unpacks to more than {limit} bytes")
        return data

    def parts(self, data: memoryview, padded: bool = True) -> Iterator[Part]:
        """(type, payload) of what follows one another.

        Args:
            padded: each begins at a multiple of 8 bytes.
        """
        position = 0
        while position < len(data):
            if len(data) - position < 8:
                raise self.broken(f"{len(data) - position} bytes left where a part begins")
            kind, size = struct.unpack_from(self.order + "II", data, position)
            start, step = position + 8, 8 + (-(-size // 8) * 8 if padded else size)
            if kind >> 16:  # small: type and size share a word, and up to 4 bytes of data fill the second one
                kind, size, start, step = kind & 0xFFFF, kind >> 16, position + 4, 8
                if size > 4:
                    raise self.broken(f"a small part of {size} bytes")
            if start + size > len(data):
                raise self.broken(f"a part of {size} bytes, {len(data) - start} are left")
            yield kind, data[start : start + size]
            position += step

    def head(self, payload: memoryview) -> _Head:
        if not len(payload):  # how MATLAB writes an empty array within a cell or struct
            return _Head(_NUMERIC[0], False, (0, 0), "", ((9, payload),))
        parts = list(self.parts(payload))
        if [kind for kind, _ in parts[:3]] != [_UINT32, _INT32, _INT8] or len(parts[0][1]) != 8:
            raise self.broken(f"a variable that begins with parts of types {[kind for kind, _ in parts[:3]]}")
        (_, flags), (_, shape), (_, name), *rest = parts
        if len(shape) % 4 or not 8 <= len(shape) <= 128:
            raise self.broken(f"a shape of {len(shape)} bytes")
        sizes = struct.unpack(f"{self.order}{len(shape) // 4}i", shape)
        if min(sizes) < 0:
            raise self.broken(f"a shape of {sizes}")
        word = struct.unpack_from(self.order + "I", flags)[0]
        return _Head(word & 0xFF, bool(word & _COMPLEX), sizes, bytes(name).decode("latin-1"), rest)

    def value(self, head: _Head, levels: int) -> Value:
        """The value of an element.

        Args:
            levels: how deep cells and structs may still be nested.
        """
        if not levels:
            raise self.broken(f"cells or structs more than {_MOST_LEVELS} levels deep")
        if head.kind in _NUMERIC:
            return self._array(head)
        decode = _DECODERS.get(head.kind)
        return None if decode is None else decode(self, head, levels)

    def _array(self, head: _Head) -> Value:
        if head.is_complex:
            return None
        if len(head.parts) != 1 or head.parts[0][0] not in _NUMBERS:
            raise self.broken(f"an array with data of types {[kind for kind, _ in head.parts[:5]]}")
        kind, data = head.parts[0]
        dtype = np.dtype(self.order + _NUMBERS[kind])
        if math.prod(head.shape) * dtype.itemsize != len(data):
            raise self.broken(f"an array of shape {head.shape} in {len(data)} bytes of {dtype}")
        with np.errstate(invalid="ignore"):  # a float32 of damaged bytes can be a signalling NaN
            return np.frombuffer(data, dtype).astype(np.float64).reshape(head.shape, order="F")

    def _text(self, head: _Head, levels: int) -> Value:
        if len(head.parts) != 1 or head.parts[0][0] not in _TEXTS:
            raise self.broken(f"a text with data of types {[kind for kind, _ in head.parts[:5]]}")
        kind, data = head.parts[0]
        encoding = _TEXTS[kind]
        if encoding in ("utf-16", "utf-32"):
            encoding += "-le" if self.order == "<" else "-be"
        try:
            return bytes(data).decode(encoding)
        except UnicodeDecodeError as error:
            raise self.broken(f"a text that is no {encoding}") from error

    def _cells(self, head: _Head, levels: int) -> Value:
        if len(head.parts) != math.prod(head.shape):
            raise self.broken(f"cells of shape {head.shape}, {len(head.parts)} found")
        return self._values(head.parts, levels)

    def _structs(self, head: _Head, levels: int) -> Value:
        if [kind for kind, _ in head.parts[:2]] != [_INT32, _INT8] or len(head.parts[0][1]) != 4:
            raise self.broken("a struct without the names of its fields")
        (_, width), (_, text), *parts = head.parts
        length = struct.unpack(self.order + "i", width)[0]
        if length < 1 or len(text) % length:
            raise self.broken(f"names of fields in {len(text)} bytes, {length} each")
        names = [bytes(text[i : i + length]).split(b"\0")[0].decode("latin-1") for i in range(0, len(text), length)]
        if len(parts) != math.prod(head.shape) * len(names):
            raise self.broken(f"structs of shape {head.shape} with {len(names)} fields, {len(parts)} found")
        values = self._values(parts, levels)
        starts = range(0, len(values), len(names)) if names else ()
        return [dict(zip(names, values[i : i + len(names)], strict=True)) for i in starts]

    def _values(self, parts: Sequence[Part], levels: int) -> list[Value]:
        wrong = [kind for kind, _ in parts if kind != _MATRIX]
        if wrong:
            raise self.broken(f"a part of type {wrong[0]} where a variable should be")
        return [self.value(self.head(payload), levels - 1) for _, payload in parts]


_DECODERS: dict[int, Callable[[_Reader, _Head, int], Value]] = {
    _CELL: _Reader._cells,
    _STRUCT: _Reader._structs,
    _CHAR: _Reader._text,
}
