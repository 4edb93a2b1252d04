"""What a container opens once, at its first invocation: settings, clients, conversions, kernels.

Nothing is opened at import, so that a test or a tool can import a handler without a cloud. What cannot be opened is
tried again at the next invocation.
"""

from dataclasses import dataclass
from functools import cache

from bytereel.conversions.registry import load_conversions
from bytereel.errors import Permanent
from bytereel.ports.ports import Ports
from bytereel.routing import Conversions
from bytereel.settings import PREFIX, Settings, load_settings
from bytereel.wiring import Home, open_home
from bytereel.workers.delivery import Delivery, DeliveryLimits
from bytereel.workers.owners import new_owner

from bytereel_functions.counting import counted
from bytereel_functions.telemetry import configure_logs

REQUIRED = ("inbox_bucket", "work_bucket", "outbox_bucket", "table", "queues")
"""A container keeps nothing, so all of it must lie in the cloud."""


@dataclass(frozen=True, slots=True)
class Road:
    """The settings, what stands behind the ports, and what runs the steps."""

    settings: Settings
    home: Home
    delivery: Delivery

    @property
    def ports(self) -> Ports:
        """The ports, counted."""
        return self.delivery.ports

    @property
    def conversions(self) -> Conversions:
        """Every conversion that there is."""
        return self.delivery.conversions


@cache
def open_road() -> Road:
    """The road of this container. Raises: Permanent `settings.invalid`, `settings.missing`, and as the adapters do."""
    settings = load_settings()
    configure_logs(settings.log_level)
    missing = [PREFIX + name.upper() for name in REQUIRED if getattr(settings, name) is None]
    if missing:
        raise Permanent(
            "settings.missing",
            f"{', '.join(missing)} must be set: a function keeps nothing on its own machine",
            hint="set them in the environment of the function",
            settings=missing,
        )
    return road_of(settings, open_home(settings), load_conversions(settings))


def road_of(settings: Settings, home: Home, conversions: Conversions) -> Road:
    """The road on a home that is open already; its ports are counted as metrics, sizes only where nothing is sealed."""
    limits = DeliveryLimits(settings.lease_seconds, settings.deliveries_max, settings.deaths_max)
    seals = settings.passphrase_file is not None or settings.key_file is not None
    return Road(settings, home, Delivery(counted(home.ports, sizes=not seals), conversions, new_owner(), limits))
