"""Calls to one DynamoDB table: consistent reads, queries page by page, conditional writes and transactions.

Knows expressions and errors, not jobs. There is no scan. botocore repeats what failed in passing; what collides
with another writer is for the caller to decide again, with `again`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import ClientError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from bytereel.adapters.aws import code_of, translated
from bytereel.adapters.dynamodb.rows import Item, Key, Value, wired
from bytereel.adapters.dynamodb.table import INDEXES, KEY_NAMES, PARTITION
from bytereel.errors import Temporary

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Outcome = TypeVar("Outcome")
Conditions = Mapping[str, Value | frozenset[str] | None]
"""What attributes must be: equal to a value, one of several strings, or (None) absent."""
Action = dict[str, dict[str, Any]]
"""One write of a transaction: what to do, and with which parameters."""

TRIES_MAX = 20
WAIT_SECONDS_FIRST = 0.02
WAIT_SECONDS_MAX = 1.0
KEYS_PER_READ_MAX = 100
PAGE_ROWS_MAX = 1000
ROWS_MAX = 10_000_000

_COLLISIONS = frozenset(
    {"ConditionalCheckFailed", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}
)


class Collided(Exception):
    """Another writer was there: read again, decide again. Never leaves the adapter."""


class ConditionFailed(Collided):
    """The row is not as the condition says; `found` is the row as it is, None where there is none."""

    def __init__(self, found: Item | None) -> None:
        super().__init__("condition failed")
        self.found = found

    @property
    def found_token(self) -> str:
        """The token of the write that the row is of; empty where there is no row."""
        return self.found["token"]["S"] if self.found and "token" in self.found else ""


def again(what: str, decide: Callable[[], Outcome]) -> Outcome:
    """What `decide` returns, decided anew as often as it collided. Raises: Temporary `state.busy` at the limit."""
    retrying = Retrying(
        retry=retry_if_exception_type(Collided),
        stop=stop_after_attempt(TRIES_MAX),
        wait=wait_random_exponential(multiplier=WAIT_SECONDS_FIRST, max=WAIT_SECONDS_MAX),
        reraise=True,
    )
    try:
        return retrying(decide)
    except Collided as error:
        raise Temporary(
            "state.busy",
            f"{what} is being changed by others all the time",
            hint="try again later",
            tries=TRIES_MAX,
        ) from error


class Table:
    """One table, for any number of threads."""

    def __init__(self, client: "DynamoDBClient", name: str) -> None:
        self._client = client
        self.name = name
        self._what = f"the table {name}"

    def read(self, key: Key) -> Item | None:
        """The row as it is now, or None."""
        with translated(self._what):
            return self._client.get_item(TableName=self.name, Key=key, ConsistentRead=True).get("Item")

    def read_all(self, keys: Iterable[Key], attributes: Sequence[str] = ()) -> Iterator[Item]:
        """Those of the rows that exist, as they are now, in any order. No key may be named twice."""
        rest = iter(keys)
        while chunk := list(islice(rest, KEYS_PER_READ_MAX)):
            found: list[Item] = []
            again(self._what, partial(self._read_some, chunk, found, attributes))
            yield from found

    def _read_some(self, keys: list[Key], found: list[Item], attributes: Sequence[str]) -> None:
        terms = _Terms()
        wanted: Any = {"Keys": keys, "ConsistentRead": True, **terms.projection(attributes)}
        with translated(self._what):
            answer = self._client.batch_get_item(RequestItems={self.name: wanted})
        found.extend(answer["Responses"].get(self.name, []))
        left: Any = answer.get("UnprocessedKeys", {}).get(self.name, {"Keys": []})
        keys[:] = left["Keys"]
        if keys:
            raise Collided(f"{len(keys)} rows were not read")

    def query(
        self,
        partition: Value,
        between: tuple[Value, Value],
        *,
        index: str = "",
        page: int = PAGE_ROWS_MAX,
        newest_first: bool = False,
        attributes: Sequence[str] = (),
    ) -> Iterator[Item]:
        """The rows of one partition whose sort key lies between two, both included, in its order.

        Of the table as it is now; of an index as it was a moment ago, keys alone.
        """
        wanted = self._query_of(partition, between, index, attributes)
        pages = self._client.get_paginator("query").paginate(
            **wanted,
            ScanIndexForward=not newest_first,
            PaginationConfig={"PageSize": min(page, PAGE_ROWS_MAX), "MaxItems": ROWS_MAX},
        )
        with translated(self._what):
            for answer in pages:
                yield from answer["Items"]

    def count(self, partition: Value, between: tuple[Value, Value], *, index: str) -> int:
        """How many rows `query` would give."""
        wanted = self._query_of(partition, between, index, ())
        with translated(self._what):
            pages = self._client.get_paginator("query").paginate(**wanted, Select="COUNT")
            return sum(answer["Count"] for answer in pages)

    def _query_of(
        self, partition: Value, between: tuple[Value, Value], index: str, attributes: Sequence[str]
    ) -> dict[str, Any]:
        first, second = INDEXES[index] if index else KEY_NAMES
        terms = _Terms()
        low, high = map(terms.value, between)
        condition = f"{terms.name(first)} = {terms.value(partition)} AND {terms.name(second)} BETWEEN {low} AND {high}"
        source = {"IndexName": index} if index else {"ConsistentRead": True}
        projection = terms.projection(attributes)
        return {
            "TableName": self.name,
            "KeyConditionExpression": condition,
            **source,
            **projection,
            **terms.parameters(),
        }

    def insert(self, item: Key) -> None:
        """Write a new row. Raises: ConditionFailed when its key exists; Collided."""
        parameters = put(item, {PARTITION: None})["Put"]
        with translated(self._what), _collisions():
            self._client.put_item(TableName=self.name, ReturnValuesOnConditionCheckFailure="ALL_OLD", **parameters)

    def update(self, action: Action) -> Item:
        """Do one `update` by itself; the row after it. Raises: ConditionFailed, Collided."""
        with translated(self._what), _collisions():
            answer = self._client.update_item(
                TableName=self.name,
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **action["Update"],
            )
        return answer["Attributes"]

    def transact(self, actions: Sequence[Action]) -> None:
        """Do all the actions, or none. Raises: Collided when a condition failed or another writer was there."""
        named: list[Any] = [
            {verb: {"TableName": self.name, **parameters} for verb, parameters in action.items()} for action in actions
        ]
        with translated(self._what), _collisions():
            self._client.transact_write_items(TransactItems=named)


def put(item: Key, conditions: Conditions) -> Action:
    """Write a whole row."""
    terms = _Terms()
    return {"Put": {"Item": item, **terms.condition(conditions), **terms.parameters()}}


def delete(key: Key, conditions: Conditions) -> Action:
    """Remove a row."""
    terms = _Terms()
    return {"Delete": {"Key": key, **terms.condition(conditions), **terms.parameters()}}


def update(
    key: Key,
    sets: Mapping[str, Value],
    conditions: Conditions,
    *,
    adds: Mapping[str, int],
    removes: Sequence[str] = (),
) -> Action:
    """Set some attributes of a row, add to others, remove others."""
    terms = _Terms()
    clauses = [
        "SET " + ", ".join(f"{terms.name(name)} = {terms.value(value)}" for name, value in sets.items())
        if sets
        else "",
        "ADD " + ", ".join(f"{terms.name(name)} {terms.value(value)}" for name, value in adds.items()),
        "REMOVE " + ", ".join(map(terms.name, removes)) if removes else "",
    ]
    expression = {"UpdateExpression": " ".join(filter(None, clauses))}
    return {"Update": {"Key": key, **expression, **terms.condition(conditions), **terms.parameters()}}


class _Terms:
    """The names and values that an expression stands for: every name is one, for many words are reserved."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._values: Key = {}

    def name(self, attribute: str) -> str:
        self._names[f"#{attribute}"] = attribute
        return f"#{attribute}"

    def value(self, value: Value) -> str:
        placeholder = f":v{len(self._values)}"
        self._values[placeholder] = wired(value)
        return placeholder

    def condition(self, conditions: Conditions) -> dict[str, Any]:
        terms = [self._condition(name, wanted) for name, wanted in conditions.items()]
        return {"ConditionExpression": " AND ".join(terms)} if terms else {}

    def _condition(self, name: str, wanted: Value | frozenset[str] | None) -> str:
        if wanted is None:
            return f"attribute_not_exists({self.name(name)})"
        if isinstance(wanted, frozenset):
            return f"{self.name(name)} IN ({', '.join(map(self.value, sorted(wanted)))})"
        return f"{self.name(name)} = {self.value(wanted)}"

    def projection(self, attributes: Sequence[str]) -> dict[str, Any]:
        if not attributes:
            return {}
        expression = ", ".join(map(self.name, attributes))
        return {"ProjectionExpression": expression, "ExpressionAttributeNames": self._names}

    def parameters(self) -> dict[str, Any]:
        names = {"ExpressionAttributeNames": self._names} if self._names else {}
        return names | ({"ExpressionAttributeValues": self._values} if self._values else {})


@contextmanager
def _collisions() -> Iterator[None]:
    """Raise Collided for the answers that say that another writer was there."""
    try:
        yield
    except ClientError as error:
        code = code_of(error)
        if code == "ConditionalCheckFailedException":
            raise ConditionFailed(error.response.get("Item")) from error  # type: ignore[arg-type]
        if code == "TransactionConflictException" or (code == "TransactionCanceledException" and _collided(error)):
            raise Collided(code) from error
        raise


def _collided(error: ClientError) -> bool:
    """Whether nothing but other writers, or haste, cancelled a transaction."""
    reasons: Sequence[Mapping[str, Any]] = error.response.get("CancellationReasons", [])
    return {str(reason.get("Code", "None")) for reason in reasons} - {"None"} <= _COLLISIONS
