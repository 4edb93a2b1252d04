"""What the steps ask of the world: objects, job state, a queue, a clock.

Each docstring states atomicity, idempotency and which errors mean "again"; `tests/contracts` holds every
adapter to them. A `Temporary` from any method means that the call may have happened or not, and may be made
again.
"""
