"""One module an event: parse it, call one step, answer.

`on_upload`, `on_segment`, `on_complete` and `on_schedule` each hold one `handler(event, context)`. Beside them:
`road` (what a container opens once), `records` (messages of a queue and what became of them), `telemetry` and
`counting` (logs, metrics, traces).
"""
