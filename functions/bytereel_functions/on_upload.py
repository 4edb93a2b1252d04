"""An object appeared in the inbox: its job is made and planned, and its segments are queued.

Takes messages of the intake queue, and, invoked directly, whatever such a message may hold: S3's notification, an
event of EventBridge, that of a MinIO-compatible server. A direct event that fails is raised, for its sender to repeat.
"""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from bytereel.events import jobs_in
from bytereel.messages import INTAKE
from bytereel.steps.intake import take_in

from bytereel_functions.opened import open_road
from bytereel_functions.records import deliver_records, is_batch
from bytereel_functions.telemetry import about, count, observed


@observed
def handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """Take in what the event names; answer with the messages that come back, or with the ids of the jobs."""
    road = open_road()
    if is_batch(event):
        return deliver_records(event, context, road)
    count("EventsReceived")
    job_ids = list(jobs_in(INTAKE, event, road.ports.inbox))
    with about(job_ids):
        take_in(road.ports, road.conversions, event)
    return {"jobs": job_ids}
