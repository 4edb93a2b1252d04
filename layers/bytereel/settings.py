"""What the road can be told: parsed once at start, frozen, passed down.

The environment is read here and nowhere else. Every setting is a variable `BYTEREEL_<NAME>`; a command's
option of the same meaning goes before it.
"""

import itertools
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ByteSize, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from bytereel.cores import usable_cores
from bytereel.errors import Permanent
from bytereel.model import INBOX, OUTBOX, WORK, Location

PREFIX = "BYTEREEL_"


def _checked_location(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.{0,900})?", text):
        raise ValueError(
            f"{text!r} is no bucket: 3 to 63 lower-case letters, digits, dots and hyphens, then perhaps / and a prefix"
        )
    return text


LocationText = Annotated[str, AfterValidator(_checked_location)]
"""A bucket of an S3 store, and after a slash what every key in it starts with: `my-bucket/uploads/`."""

MEBIBYTE = 1024 * 1024
WORKERS_MAX = 256


def default_home() -> Path:
    """Where this platform keeps a program's data: `XDG_DATA_HOME`, or the place that macOS has for it."""
    if chosen := os.environ.get("XDG_DATA_HOME"):
        return Path(chosen) / "bytereel"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "bytereel"
    return Path.home() / ".local" / "share" / "bytereel"


class Settings(BaseSettings):
    """Every setting with its bounds. Make one with `load_settings`, which says what is wrong in one line."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    home: Path = Field(default_factory=default_home, validate_default=True, description="folder of what no cloud keeps")
    endpoint_url: Annotated[str | None, Field(pattern="^https?://", description="of S3, SQS and DynamoDB")] = None
    region: str | None = None
    inbox_bucket: LocationText | None = None
    work_bucket: LocationText | None = None
    outbox_bucket: LocationText | None = None
    table: Annotated[str | None, Field(pattern="^[a-zA-Z0-9_.-]{3,255}$", description="of DynamoDB")] = None
    queues: Annotated[
        str | None, Field(pattern="^[a-zA-Z0-9_-]{1,60}$", description="what the names of the queues begin with")
    ] = None
    listen: Annotated[bool, Field(description="hear the events of a MinIO-compatible server")] = False
    gateway_token_file: Annotated[Path | None, Field(description="file with the token that webhooks must send")] = None
    workers: Annotated[int, Field(ge=1, le=WORKERS_MAX, default_factory=lambda: min(WORKERS_MAX, usable_cores()))]
    threads: Annotated[int, Field(ge=1, le=64, description="segments that one worker may run at once")] = 2
    memory_budget_bytes: Annotated[ByteSize, Field(ge=16 * MEBIBYTE)] = ByteSize(512 * MEBIBYTE)
    lease_seconds: Annotated[float, Field(ge=1, le=3600)] = 60.0
    deliveries_max: Annotated[int, Field(ge=1, le=100, description="tries before a job fails")] = 5
    deaths_max: Annotated[int, Field(ge=1, le=1000, description="workers a message may outlive")] = 20
    poll_seconds: Annotated[float, Field(gt=0, le=10)] = 0.05
    settle_seconds: Annotated[float, Field(ge=0, le=3600, description="how long a dropped file must be unchanged")] = (
        1.0
    )
    sweep_seconds: Annotated[float, Field(gt=0, le=86400)] = 30.0
    stall_seconds: Annotated[float, Field(gt=0, le=86400 * 7)] = 900.0
    keep_done_days: Annotated[float, Field(gt=0, description="after which a done job and its source are deleted")] = (
        30.0
    )
    parity_percent: Annotated[int, Field(ge=0, le=100)] = 0
    profiles_file: Annotated[Path | None, Field(description="TOML file of profiles of your own")] = None
    passphrase_file: Path | None = None
    key_file: Path | None = None
    allow_unsealed: Annotated[bool, Field(description="restore what is not sealed, though a secret is set")] = False
    sealed_names: Annotated[Literal["source", "job"], Field(description="what sealed outputs are named by")] = "source"
    sha256: Annotated[
        bool,
        Field(description="give outputs in buckets their SHA-256 too, by reading each once; in a home all have it"),
    ] = False
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        try:
            return home.expanduser().absolute()
        except RuntimeError as error:
            raise ValueError(f"{str(home)!r} names nobody's home folder") from error

    @model_validator(mode="after")
    def _one_secret(self) -> "Settings":
        if self.passphrase_file and self.key_file:
            raise ValueError(f"{PREFIX}PASSPHRASE_FILE and {PREFIX}KEY_FILE exclude each other")
        return self

    @model_validator(mode="after")
    def _whole_cloud(self) -> "Settings":
        buckets = (self.inbox_bucket, self.work_bucket, self.outbox_bucket)
        if any(buckets) and not all(buckets):
            raise ValueError(f"{PREFIX}INBOX_BUCKET, {PREFIX}WORK_BUCKET and {PREFIX}OUTBOX_BUCKET go together")
        if (self.table is None) != (self.queues is None):
            raise ValueError(f"{PREFIX}TABLE and {PREFIX}QUEUES go together")
        if self.table and not self.inbox_bucket:
            raise ValueError(f"{PREFIX}TABLE needs {PREFIX}INBOX_BUCKET, {PREFIX}WORK_BUCKET and {PREFIX}OUTBOX_BUCKET")
        if self.listen and not self.inbox_bucket:
            raise ValueError(f"{PREFIX}LISTEN needs {PREFIX}INBOX_BUCKET")
        locations = self.locations.values()
        if any(one.overlaps(other) for one, other in itertools.combinations(locations, 2)):
            raise ValueError(
                "inbox, work and outbox must lie apart: no bucket twice, or prefixes of which none starts another"
            )
        return self

    @property
    def locations(self) -> Mapping[str, Location]:
        """Where each bucket of the road lies in the store; empty where the buckets are folders of the home."""
        named = {INBOX: self.inbox_bucket, WORK: self.work_bucket, OUTBOX: self.outbox_bucket}
        return {bucket: _location(text) for bucket, text in named.items() if text}

    @property
    def heartbeat_seconds(self) -> float:
        """How often a held lease is extended: thrice before it ends; on this machine soon enough to notice a cancel."""
        return self.lease_seconds / 3 if self.table else min(self.lease_seconds / 3, 5.0)


def _location(text: str) -> Location:
    bucket, _, prefix = text.partition("/")
    return Location(bucket, prefix)


CLOUD = frozenset({"endpoint_url", "inbox_bucket", "work_bucket", "outbox_bucket", "table", "queues", "listen"})
"""The settings that put something of the road elsewhere than into the home."""


def load_settings(**chosen: Any) -> Settings:
    """The settings: what is `chosen` (None counts as not chosen), else the environment, else the default.

    A chosen home is a home folder, whole: the environment's cloud is left aside.
    Raises: Permanent `settings.invalid`, naming the first wrong setting.
    """
    values = {name: value for name, value in chosen.items() if value is not None}
    if "home" in values:
        values = {**dict.fromkeys(CLOUD - values.keys(), None), "listen": False} | values
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        said = str(first["ctx"]["error"]) if first["type"] == "value_error" else first["msg"]
        if not first["loc"]:
            raise Permanent("settings.invalid", said, hint="docs/settings.md says what goes together") from error
        name = str(first["loc"][0])
        raise Permanent(
            "settings.invalid",
            f"{PREFIX}{name.upper()}: {said}",
            hint="mend the variable of this name, or the option that sets it",
            setting=name,
        ) from error
