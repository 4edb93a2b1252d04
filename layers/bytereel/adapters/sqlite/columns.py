"""A table of the state whose rows are a model's values: its columns are stated once, and everything else follows.

A column is one line: its name and type in SQLite, the field it keeps, how the value is written and read, whether it
changes, and since which version of the schema it is there. What creates the table, brings an older one up to date,
inserts, updates and selects is made from that.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Generic, TypeVar

from bytereel.errors import Integrity

Row = tuple[Any, ...]
Model = TypeVar("Model")


def _as_it_is(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class Column:
    """One column. One that came with a later version (`since`) has a DEFAULT, for the rows that are there already."""

    name: str
    declared: str
    field: str = ""
    """The model's field, where its name is another."""
    write: Callable[[Any], Any] = _as_it_is
    read: Callable[[Any], Any] = _as_it_is
    changes: bool = False
    since: int = 1

    @property
    def of_field(self) -> str:
        """The name of the field that it keeps."""
        return self.field or self.name


class Table(Generic[Model]):
    """A table of `model`, one row a value; `keys` are the columns that say which row."""

    def __init__(self, name: str, model: type[Model], keys: Sequence[str], columns: Sequence[Column], end: str = ""):
        self.name = name
        self.columns = columns
        self.version = max(column.since for column in columns)
        self._model = model
        self._changing = [column for column in columns if column.changes]
        self._keys = [column for column in columns if column.name in keys]
        self._fields = [column.of_field for column in columns]
        self._read = [(column.of_field, column.read) for column in columns if column.read is not _as_it_is]
        self.row_of = _writer(columns)
        """The value as `insert` takes it."""
        self.changed_row_of = _writer([*self._changing, *self._keys])
        """The value as `update` takes it."""
        self._names = ", ".join(column.name for column in columns)
        declared = ", ".join(f"{column.name} {column.declared}" for column in columns)
        self.create = f"CREATE TABLE {name} ({declared}, PRIMARY KEY ({', '.join(keys)})){end}"
        self.select = f"SELECT {self._names} FROM {name}"  # noqa: S608 - our own names
        self.insert = f"INSERT INTO {name} ({self._names}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608
        changed = ", ".join(f"{column.name} = ?" for column in self._changing)
        where = " AND ".join(f"{column.name} = ?" for column in self._keys)
        self.update = f"UPDATE {name} SET {changed} WHERE {where}"  # noqa: S608

    def added_in(self, version: int) -> list[str]:
        """The statements that give a table of the version before the columns of this one."""
        return [
            f"ALTER TABLE {self.name} ADD COLUMN {column.name} {column.declared}"
            for column in self.columns
            if column.since == version
        ]

    def of_row(self, row: Row) -> Model:
        """A row that `select` gave as a value. Raises: Integrity `state.damaged`."""
        try:
            values = dict(zip(self._fields, row, strict=True))
            for field, read in self._read:
                values[field] = read(values[field])
            return self._model(**values)
        except (ValueError, TypeError, AttributeError) as error:
            raise damaged(self.name, error) from error


def _writer(columns: Sequence[Column]) -> Callable[[Any], Row]:
    """What gives the values of two or more columns of a model's value, as they are written."""
    fields = attrgetter(*(column.of_field for column in columns))
    written = [(place, column.write) for place, column in enumerate(columns) if column.write is not _as_it_is]

    def row_of(value: Any) -> Row:
        row = list(fields(value))
        for place, write in written:
            row[place] = write(row[place])
        return tuple(row)

    return row_of


def damaged(table: str, error: Exception) -> Integrity:
    """The error for a row that holds what was never written to it."""
    return Integrity(
        "state.damaged",
        f"a row of the table {table!r} in the state of this home is damaged: {error}",
        hint="keep the state file aside for inspection and restore a copy",
        table=table,
    )


def json_of(table: str, text: Any) -> Any:
    """The value of JSON in a row of `table`. Raises: Integrity `state.damaged`."""
    try:
        return json.loads(text)
    except (ValueError, TypeError) as error:
        raise damaged(table, error) from error
