"""The DynamoDB table as data: its keys, its indexes, what expires. `create_table` makes one of it.

One partition a job: the row of the job, its plan, and a row for every segment that was ever leased. The indexes
hold keys alone, and keys that seldom change: the rows they lead to are read from the table, consistently, and the
writes of a segment change no index.
"""

from contextlib import suppress
from typing import TYPE_CHECKING

from bytereel.adapters.aws import translated

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import CreateTableInputTypeDef, GlobalSecondaryIndexUnionTypeDef

PARTITION = "pk"
SORT = "sk"
KEY_NAMES = (PARTITION, SORT)
TTL_ATTRIBUTE = "expires_at"

BY_STATE = "by_state"
"""Jobs of one state by the time they were created."""
BY_SILENCE = "by_silence"
"""Running jobs by the minute of their last update."""
BY_ID = "by_id"
"""Jobs whose id starts with one character, by their id."""

INDEXES = {
    BY_STATE: ("state", "created_order"),
    BY_SILENCE: ("running", "updated_minute"),
    BY_ID: ("initial", "id"),
}
"""Name of an index -> its partition key and its sort key; rows that lack one of them are not in it."""
INDEX_NAMES = frozenset(INDEXES)

NUMBERS = frozenset({"updated_minute"})
"""The key attributes that are numbers; all others are strings."""

WAIT_SECONDS = 1
WAITS_MAX = 120


def definition_of(name: str) -> "CreateTableInputTypeDef":
    """What CreateTable takes for the table called `name`."""
    attributes = sorted({*KEY_NAMES, *(attribute for keys in INDEXES.values() for attribute in keys)})
    return {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            {"AttributeName": attribute, "AttributeType": "N" if attribute in NUMBERS else "S"}
            for attribute in attributes
        ],
        "KeySchema": [
            {"AttributeName": PARTITION, "KeyType": "HASH"},
            {"AttributeName": SORT, "KeyType": "RANGE"},
        ],
        "GlobalSecondaryIndexes": [_index(index) for index in INDEXES],
    }


def _index(name: str) -> "GlobalSecondaryIndexUnionTypeDef":
    partition, sort = INDEXES[name]
    return {
        "IndexName": name,
        "KeySchema": [
            {"AttributeName": partition, "KeyType": "HASH"},
            {"AttributeName": sort, "KeyType": "RANGE"},
        ],
        "Projection": {"ProjectionType": "KEYS_ONLY"},
    }


def create_table(client: "DynamoDBClient", name: str) -> None:
    """Make the table unless there is one, wait until it can be used, and have it drop what expired. Idempotent.

    Raises: as `aws.translated`.
    """
    with translated(f"the table {name}"):
        with suppress(client.exceptions.ResourceInUseException):
            client.create_table(**definition_of(name))
        waiter = client.get_waiter("table_exists")
        waiter.wait(TableName=name, WaiterConfig={"Delay": WAIT_SECONDS, "MaxAttempts": WAITS_MAX})
        _expire(client, name)


def _expire(client: "DynamoDBClient", name: str) -> None:
    expiry = client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    if expiry.get("AttributeName") != TTL_ATTRIBUTE:
        client.update_time_to_live(
            TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": TTL_ATTRIBUTE}
        )
