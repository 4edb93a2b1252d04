"""Compiles the package's one C file when it is built or installed, where there is a compiler; without one numpy does.

Nothing but a C compiler is asked for: no headers of Python's, no other library. CC names another one than `cc`.
"""

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "codec/bytereel_codec/video/macroblocks.c"
LIBRARY = "codec/bytereel_codec/video/_macroblocks.so"
FLAGS = ("-O3", "-fPIC", "-shared")


class MacroblocksHook(BuildHookInterface):  # type: ignore[type-arg]
    """Builds the library beside its source, and has the wheel take it along."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before a wheel or an editable install is put together."""
        del version
        if self.target_name != "wheel" or not compiled(Path(self.root)):
            return
        build_data["artifacts"].append(f"/{LIBRARY}")
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"


def compiled(root: Path) -> bool:
    """Whether the library could be built; one of an earlier build is not kept."""
    library = root / LIBRARY
    library.unlink(missing_ok=True)
    compiler = shutil.which(os.environ.get("CC") or "cc")
    if compiler is None:
        return False
    done = subprocess.run([compiler, *FLAGS, "-o", str(library), str(root / SOURCE)], capture_output=True, check=False)
    if done.returncode:
        print(f"{SOURCE} was not compiled, numpy does its work: {done.stderr.decode(errors='replace')[-500:]}")
        library.unlink(missing_ok=True)
    return done.returncode == 0
