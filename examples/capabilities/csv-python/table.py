"""A CSV file with a header, of which only the rows that are edited change.

Each row keeps the text that it was read from, so that quotes, spaces and line ends of all other rows stay byte for byte. A changed row
is written with quotes where it needs them, and with the line end of the header.
"""

import csv
import io
from dataclasses import dataclass
from typing import Iterator

from redress_capability import Failure

csv.field_size_limit(16 << 20)

BOM = "\ufeff"


@dataclass
class Row:
    fields: list[str]
    text: str


class Table:
    """The rows of a CSV file, found by the value of one column."""

    def __init__(self, text: str, key: str, delimiter: str) -> None:
        self.delimiter = delimiter
        self.bom = BOM if text.startswith(BOM) else ""
        rows = list(_rows(text[len(self.bom) :], delimiter))
        if not rows or not rows[0].fields:
            raise Failure("invalid-input", "the file has no header")
        self.header, self.rows = rows[0], rows[1:]
        self.columns = self.header.fields
        self.place = {name: index for index, name in enumerate(self.columns)}
        twice = [name for index, name in enumerate(self.columns) if self.place[name] != index]
        if twice:
            raise Failure("invalid-input", f"the header has the column `{twice[0]}` more than once")
        self.key = self._column(key)
        self.newline = "\r\n" if self.header.text.endswith("\r\n") else "\n"
        self.by_key: dict[str, list[Row]] = {}
        for row in self.rows:
            if row.fields:
                self.by_key.setdefault(self._key_of(row), []).append(row)

    def __len__(self) -> int:
        return sum(1 for row in self.rows if row.fields)

    def text(self) -> str:
        return self.bom + self.header.text + "".join(row.text for row in self.rows)

    def objects(self) -> Iterator[dict[str, str]]:
        """Each row by the names of the columns; what a row lacks is empty."""
        for row in self.rows:
            if row.fields:
                yield dict(zip(self.columns, self._whole(row)))

    def set(self, key: str, values: dict[str, str]) -> None:
        """Changes some fields of the row that has this key."""
        row = self._found(key)
        fields = self._whole(row)
        for name, value in values.items():
            fields[self._column(name)] = value
        if fields == self._whole(row):
            return
        if fields[self.key] != key:
            self._need_free(fields[self.key])
        del self.by_key[key]
        row.fields, row.text = fields, self._line(fields)
        self.by_key[self._key_of(row)] = [row]

    def add(self, key: str, values: dict[str, str]) -> None:
        """Adds a row at the end."""
        fields = [""] * len(self.columns)
        for name, value in values.items():
            fields[self._column(name)] = value
        if fields[self.key] not in ("", key):
            raise Failure("invalid-input", f"`values` gives the row `{key}` another key: `{fields[self.key]}`")
        fields[self.key] = key
        self._need_free(key)
        last = next((row for row in reversed(self.rows) if row.text), self.header)
        if not last.text.endswith(("\n", "\r")):
            last.text += self.newline
        row = Row(fields, self._line(fields))
        self.rows.append(row)
        self.by_key[key] = [row]

    def delete(self, key: str) -> None:
        """Takes out the row that has this key."""
        row = self._found(key)
        del self.by_key[key]
        row.fields, row.text = [], ""

    def _column(self, name: str) -> int:
        if name not in self.place:
            raise Failure("invalid-input", f"the file has no column `{name}`, only {', '.join(self.columns)}")
        return self.place[name]

    def _key_of(self, row: Row) -> str:
        return row.fields[self.key] if self.key < len(row.fields) else ""

    def _found(self, key: str) -> Row:
        found = self.by_key.get(key, [])
        if not found:
            raise Failure("not-found", f"no row has `{key}` in the column `{self.columns[self.key]}`")
        if len(found) > 1:
            raise Failure("conflict", f"{len(found)} rows have `{key}` in the column `{self.columns[self.key]}`")
        return found[0]

    def _need_free(self, key: str) -> None:
        if key in self.by_key:
            raise Failure("conflict", f"a row with `{key}` in the column `{self.columns[self.key]}` is there already")

    def _whole(self, row: Row) -> list[str]:
        """The fields of a row, one for each column."""
        if len(row.fields) > len(self.columns):
            raise Failure("invalid-input", f"a row has more fields than the header has columns: {row.text.strip()[:80]}")
        return row.fields + [""] * (len(self.columns) - len(row.fields))

    def _line(self, fields: list[str]) -> str:
        out = io.StringIO(newline="")
        csv.writer(out, delimiter=self.delimiter, lineterminator=self.newline).writerow(fields)
        return out.getvalue()


def _rows(text: str, delimiter: str) -> Iterator[Row]:
    """Each row with the lines that it was read from; a quoted field may go over several."""
    taken: list[str] = []

    def lines() -> Iterator[str]:
        for line in io.StringIO(text, newline=""):
            taken.append(line)
            yield line

    reader = csv.reader(lines(), delimiter=delimiter, strict=True)
    try:
        for fields in reader:
            yield Row(fields, "".join(taken))
            taken.clear()
    except csv.Error as error:
        raise Failure("invalid-input", f"line {reader.line_num} is not CSV: {error}") from None
