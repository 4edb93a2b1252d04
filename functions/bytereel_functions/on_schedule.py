"""Some time went by: what stalled goes on, uploads whose event was lost become jobs, what nobody needs is cleared."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from bytereel.workers.chores import tidy

from bytereel_functions.opened import open_road
from bytereel_functions.telemetry import count, observed

MILLISECONDS_MIN = 30_000
"""No further page is begun with less time left than this."""

PAGES_MAX = 10_000


@observed
def handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """Sweep page by page from `event["cursor"]` (the start, where there is none); answer with where it ended.

    An empty cursor in the answer says that everything was swept.
    """
    road, cursor, resumed, announced = open_road(), str(event.get("cursor", "")), 0, 0
    for _ in range(PAGES_MAX):
        swept = tidy(road.home, road.settings, cursor).swept
        cursor, resumed, announced = swept.cursor, resumed + swept.resumed, announced + swept.announced
        if not cursor or context.get_remaining_time_in_millis() < MILLISECONDS_MIN:
            break
    count("JobsResumed", resumed)
    count("EventsFound", announced)
    return {"resumed": resumed, "announced": announced, "cursor": cursor}
