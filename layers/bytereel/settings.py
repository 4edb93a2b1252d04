"""What the road can be told: parsed once at start, frozen, passed down.

The environment is read here and nowhere else. Every setting is a variable `BYTEREEL_<NAME>`; a command's
option of the same meaning goes before it.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ByteSize, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from bytereel.cores import usable_cores
from bytereel.errors import Permanent

PREFIX = "BYTEREEL_"
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

    home: Path = Field(
        default_factory=default_home, validate_default=True, description="folder of the buckets and of the state"
    )
    workers: Annotated[int, Field(ge=1, le=WORKERS_MAX, default_factory=lambda: min(WORKERS_MAX, usable_cores()))]
    threads: Annotated[int, Field(ge=1, le=64, description="segments that one worker may run at once")] = 2
    memory_budget_bytes: Annotated[ByteSize, Field(ge=16 * MEBIBYTE)] = ByteSize(512 * MEBIBYTE)
    lease_seconds: Annotated[float, Field(ge=1, le=3600)] = 60.0
    deliveries_max: Annotated[int, Field(ge=1, le=100, description="tries before a job fails")] = 5
    deaths_max: Annotated[int, Field(ge=1, le=1000, description="workers a message may outlive")] = 20
    poll_seconds: Annotated[float, Field(gt=0, le=10)] = 0.05
    settle_seconds: Annotated[float, Field(ge=0, le=3600, description="how long a file is left")] = 1.0
    sweep_seconds: Annotated[float, Field(gt=0, le=86400)] = 30.0
    stall_seconds: Annotated[float, Field(gt=0, le=86400 * 7)] = 900.0
    keep_done_days: Annotated[float, Field(gt=0, description="then a done job and its source go")] = 30.0
    parity_percent: Annotated[int, Field(ge=0, le=100)] = 0
    passphrase_file: Path | None = None
    key_file: Path | None = None
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

    @property
    def heartbeat_seconds(self) -> float:
        """How often a held lease is extended: thrice before it ends, soon enough to notice a cancel."""
        return min(self.lease_seconds / 3, 5.0)


def load_settings(**chosen: Any) -> Settings:
    """The settings: what is `chosen` (None counts as not chosen), else the environment, else the default.

    Raises: Permanent `settings.invalid`, naming the first wrong setting.
    """
    try:
        return Settings(**{name: value for name, value in chosen.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        said = str(first["ctx"]["error"]) if first["type"] == "value_error" else first["msg"]
        if not first["loc"]:
            raise Permanent("settings.invalid", said, hint="unset one of them") from error
        name = str(first["loc"][0])
        raise Permanent(
            "settings.invalid",
            f"{PREFIX}{name.upper()}: {said}",
            hint="mend the variable of this name, or the option that sets it",
            setting=name,
        ) from error
