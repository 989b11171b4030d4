"""Read tables of a FlatBuffer, and change it without a schema compiler: new data is appended, offsets point to it.

FlatBuffers offsets of fields point forwards (https://flatbuffers.dev/internals/), so whatever a field refers to may be
replaced by a copy at the end of the file. The old data stays in the file, unused.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from edgetl_device.errors import InputError

_OFFSET_BYTES = 4
# Alignment of the largest values, which TFLite reads in place.
_ALIGNMENT = 16


class Buffer:
    """The bytes of a file, with every access checked.

    Args:
        data: The file.
    """

    def __init__(self, data: bytes) -> None:
        self._data = bytearray(data)

    def content(self) -> bytes:
        """Return the file as it is now."""
        return bytes(self._data)

    def number(self, form: str, place: int) -> int:
        """Return the integer of a ``struct`` format at a position.

        Raises:
            InputError: The position is outside the file.
        """
        self._check(place, struct.calcsize(form))
        found: int = struct.unpack_from(form, self._data, place)[0]
        return found

    def part(self, place: int, size: int) -> bytes:
        """Return ``size`` bytes from a position; raises as :meth:`number`."""
        self._check(place, size)
        return bytes(self._data[place : place + size])

    def root(self) -> Table:
        """Return the table that the file begins with."""
        return Table(self, self.number("<I", 0))

    def point(self, place: int, target: int) -> None:
        """Make the offset at a position refer to a later one."""
        self._check(place, _OFFSET_BYTES)
        struct.pack_into("<I", self._data, place, target - place)

    def append_vector(self, values: bytes, count: int) -> int:
        """Append a vector of ``count`` elements and return its position; the elements are aligned to 16 bytes."""
        self._data += bytes(-(len(self._data) + _OFFSET_BYTES) % _ALIGNMENT)
        place = len(self._data)
        self._data += struct.pack("<I", count) + values
        return place

    def append_table(self, fields: dict[int, int], slots: int) -> Table:
        """Append a table with 32-bit fields, by their ids, and return it.

        Args:
            fields: The values; offsets are pointed to their target afterwards.
            slots: Number of ids in the schema.
        """
        self._data += bytes(-len(self._data) % _ALIGNMENT)
        vtable_bytes = 2 * (2 + slots)
        places = {field: _OFFSET_BYTES * (1 + order) for order, field in enumerate(fields)}
        entries = [places.get(field, 0) for field in range(slots)]
        vtable = struct.pack(f"<{2 + slots}H", vtable_bytes, _OFFSET_BYTES * (1 + len(fields)), *entries)
        vtable += bytes(-len(vtable) % _OFFSET_BYTES)
        self._data += vtable
        place = len(self._data)
        self._data += struct.pack(f"<i{len(fields)}i", len(vtable), *fields.values())
        return Table(self, place)

    def _check(self, place: int, size: int) -> None:
        if place < 0 or size < 0 or place + size > len(self._data):
            raise damaged("an offset leads out of it")


@dataclass(frozen=True)
class Table:
    """A table of a file.

    Attributes:
        buffer: The file.
        place: Position of the table.
    """

    buffer: Buffer
    place: int

    def field(self, id: int) -> int | None:
        """Return the position of a field by its id in the schema; None if the table does not have it."""
        vtable = self.place - self.buffer.number("<i", self.place)
        entry = 4 + 2 * id
        if entry + 2 > self.buffer.number("<H", vtable):
            return None
        offset = self.buffer.number("<H", vtable + entry)
        return self.place + offset if offset else None

    def scalar(self, id: int, form: str, default: int = 0) -> int:
        """Return an integer field, or the schema's default if it is absent."""
        place = self.field(id)
        return default if place is None else self.buffer.number(form, place)

    def table(self, id: int) -> Table | None:
        """Return a field that is a table; None if it is absent."""
        place = self.field(id)
        return None if place is None else Table(self.buffer, self._target(place))

    def tables(self, id: int) -> list[Table]:
        """Return a field that is a vector of tables, empty if it is absent."""
        places = self._elements(id, _OFFSET_BYTES)
        return [Table(self.buffer, self._target(place)) for place in places]

    def numbers(self, id: int, form: str) -> list[int]:
        """Return a field that is a vector of integers of a ``struct`` format, empty if it is absent."""
        return [self.buffer.number(form, place) for place in self._elements(id, struct.calcsize(form))]

    def values(self, id: int, size: int) -> bytes | None:
        """Return a field that is a vector of elements of ``size`` bytes; None if it is absent."""
        places = self._elements(id, size)
        if self.field(id) is None:
            return None
        return self.buffer.part(places.start, len(places) * size) if places else b""

    def replace(self, id: int, values: bytes, count: int) -> None:
        """Replace a field that is a vector; the table must have it.

        Raises:
            InputError: It does not.
        """
        self.point(id, self.buffer.append_vector(values, count))

    def point(self, id: int, target: int) -> None:
        """Make a field that is an offset refer to a later position; raises as :meth:`replace`."""
        place = self.field(id)
        if place is None:
            raise damaged(f"a table lacks its field {id}")
        self.buffer.point(place, target)

    def _target(self, place: int) -> int:
        return place + self.buffer.number("<I", place)

    def _elements(self, id: int, size: int) -> range:
        """Return the positions of a vector's elements."""
        place = self.field(id)
        if place is None:
            return range(0)
        start = self._target(place)
        count = self.buffer.number("<I", start)
        # Read the last byte first: a forged count must not make a long list.
        self.buffer.part(start + _OFFSET_BYTES, 0)
        if count:
            self.buffer.number("<B", start + _OFFSET_BYTES + count * size - 1)
        return range(start + _OFFSET_BYTES, start + _OFFSET_BYTES + count * size, size)


def damaged(why: str) -> InputError:
    """Return the error for a model file that contradicts its format."""
    return InputError("not a model in the TFLite format", why=why, hint="The file is damaged; copy it again.")
