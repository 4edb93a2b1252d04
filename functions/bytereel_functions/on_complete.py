"""Every segment of a job is done: the fragments become the output, which is checked and gets its manifest."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from bytereel_functions.opened import open_road
from bytereel_functions.records import deliver_records
from bytereel_functions.telemetry import observed


@observed
def handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """Finalize the jobs that the messages name; answer with the messages that come back."""
    return deliver_records(event, context, open_road())
