"""Runs the real command line in real processes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bytereel
import bytereel_codec

COMMAND = (sys.executable, "-P", "-m", "bytereel.cli.main")
SOURCES = os.pathsep.join(str(Path(str(package.__file__)).parents[1]) for package in (bytereel, bytereel_codec))
SECONDS_MAX = 60


@dataclass(frozen=True)
class Answer:
    """What a command ended with."""

    code: int
    out: bytes
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which is one JSON object and nothing else."""
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """The error on standard error, which is one JSON object and nothing else."""
        return json.loads(self.err)["error"]


def environment(**more: str) -> dict[str, str]:
    """This process's environment without settings of bytereel, and with its packages."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BYTEREEL_")}
    return {**kept, "PYTHONPATH": SOURCES, "COLUMNS": "120", **more}


class Cli:
    """Runs commands in one folder, on one home."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        self.home = home
        self.environment = environment(BYTEREEL_HOME=str(home))

    def __call__(
        self,
        *arguments: str | Path,
        stdin: bytes = b"",
        code: int = 0,
        before: Callable[[], None] | None = None,
        **variables: str,
    ) -> Answer:
        """Run a command to its end; `code` is what it must end with."""
        done = subprocess.run(
            [*COMMAND, *arguments],
            input=stdin,
            capture_output=True,
            cwd=self.folder,
            timeout=SECONDS_MAX,
            env={**self.environment, **variables},
            preexec_fn=before,
            check=False,
        )
        answer = Answer(done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"))
        assert "Traceback" not in answer.err, answer.err
        assert answer.code == code, (answer.code, answer.out, answer.err)
        return answer

    def start(self, *arguments: str | Path, **options: Any) -> "subprocess.Popen[bytes]":
        """Start a command and leave it running."""
        return subprocess.Popen([*COMMAND, *arguments], cwd=self.folder, env=self.environment, **options)
