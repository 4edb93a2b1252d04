"""Logs, metrics and traces of every function, by Powertools: lines of JSON on standard output.

Each line that is logged while a message is worked on, by whatever module of ours, carries the ids of its jobs as
`correlation_id`. Metrics are in the embedded metric format. Traces are sent where Powertools' own switch,
`POWERTOOLS_TRACE_DISABLED`, allows it; the images come with it switched off.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cache, wraps
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.logging.utils import copy_config_to_registered_loggers
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from bytereel.logs import json_line

Handler = Callable[[dict[str, Any], LambdaContext], Any]

NAMESPACE = "bytereel"
SERVICE = "functions"
PACKAGES = {"bytereel", "bytereel_codec", "bytereel_functions"}


@cache
def logger() -> Logger:
    """The logger whose form and keys our packages' loggers share."""
    return Logger(service=SERVICE, json_serializer=json_line)


@cache
def metrics() -> Metrics:
    """What the functions count; it is written at the end of each invocation."""
    return Metrics(namespace=NAMESPACE, service=SERVICE)


@cache
def tracer() -> Tracer:
    """Traces, or nothing at all where tracing is switched off."""
    return Tracer(service=SERVICE)


def configure_logs(level: str) -> None:
    """Let the loggers of our packages write as `logger` does, from `level` on."""
    copy_config_to_registered_loggers(logger(), log_level=level.upper(), include=set(PACKAGES))


def about(job_ids: Sequence[str]) -> AbstractContextManager[None]:
    """While the context lasts, each line that is logged names these jobs."""
    return logger().append_context_keys(correlation_id=",".join(job_ids) or None)


def count(name: str, value: int = 1, unit: MetricUnit = MetricUnit.Count) -> None:
    """Add to a metric of this invocation."""
    metrics().add_metric(name=name, unit=unit, value=value)


def observed(handler: Handler) -> Handler:
    """A handler with logs, metrics and traces around it; they are made at its first invocation, not at import."""

    @wraps(handler)
    def run(event: dict[str, Any], context: LambdaContext) -> Any:
        return _instrumented(handler)(event, context)

    return run


@cache
def _instrumented(handler: Handler) -> Handler:
    traced = tracer().capture_lambda_handler(handler, capture_response=False)
    measured = metrics().log_metrics(traced, capture_cold_start_metric=True)
    return logger().inject_lambda_context(measured)
