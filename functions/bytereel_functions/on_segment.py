"""A segment waits: it is leased, converted and stored; whoever finishes the last one has the job finalized."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from bytereel_functions.opened import open_road
from bytereel_functions.records import deliver_records
from bytereel_functions.telemetry import observed


@observed
def handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """Convert the segments that the messages name; answer with the messages that come back."""
    road = open_road()
    return deliver_records(event, context, road)
