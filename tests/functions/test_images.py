"""The images, as far as that goes without an engine: linted, complete, and what they start can be imported."""

import ast
import fnmatch
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMAGES = ["functions/Dockerfile", "functions/Dockerfile.gpu"]
FUNCTIONS = ["on_upload", "on_segment", "on_complete", "on_schedule"]
LINES_MAX = 40


def instructions_of(image: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile with their arguments, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / image).read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [
        (word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line)
    ]


def last(image: str, word: str) -> str:
    return [rest for found, rest in instructions_of(image) if found == word][-1]


def environment_of(image: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in last(image, "ENV").split())


def context_copies(image: str) -> list[tuple[list[str], str]]:
    """Sources and target of every COPY out of the build context."""
    copies = [rest.split() for word, rest in instructions_of(image) if word == "COPY" and "--from=" not in rest]
    return [(words[:-1], words[-1]) for words in copies]


@pytest.mark.servers
@pytest.mark.parametrize("image", IMAGES)
def test_hadolint_finds_nothing(image: str) -> None:
    command = [str(Path(sys.executable).parent / "hadolint"), "--no-color", str(ROOT / image)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("image", IMAGES)
def test_everything_that_is_copied_is_there_and_reaches_the_engine(image: str) -> None:
    sources = [source for sources, _ in context_copies(image) for source in sources]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert not is_ignored(source), source


def is_ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path from the engine: the last pattern that fits it or a folder above decides."""
    ignored = False
    above = [path, *map(str, Path(path).parents)]
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        if line and not line.startswith("#") and any(fnmatch.fnmatch(each, pattern) for each in above):
            ignored = not line.startswith("!")
    return ignored


@pytest.mark.parametrize("path", [".git/config", ".venv/bin/python", "tests/conftest.py", "home/x", "codec/FORMAT.md"])
def test_what_no_image_needs_stays_here(path: str) -> None:
    assert is_ignored(path)


@pytest.mark.parametrize("image", IMAGES)
def test_every_package_of_the_wheel_and_what_its_metadata_names_is_copied(image: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {
        "pyproject.toml",
        project["tool"]["hatch"]["build"]["hooks"]["custom"]["path"],
        project["project"]["readme"],
        *project["project"]["license-files"],
        *project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"],
    }
    copied = [source for sources, _ in context_copies(image) for source in sources]
    assert needed == set(copied)
    for sources, target in context_copies(image):
        assert target in ("./", *sources)


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_ends_as_an_unprivileged_user_on_pinned_bases(image: str) -> None:
    words = [word for word, _ in instructions_of(image)]
    assert last(image, "USER") == "10001:10001"
    assert "RUN" not in words[len(words) - words[::-1].index("USER") :]
    bases = [rest.split()[0] for word, rest in instructions_of(image) if word == "FROM"]
    assert all(re.fullmatch(r"[a-z/]+:\d+(\.\d+)+-[a-z0-9.-]+", base) for base in bases), bases


@pytest.mark.parametrize("image", IMAGES)
def test_kernels_are_kept_in_the_one_place_that_a_function_can_write_to(image: str) -> None:
    assert environment_of(image)["NUMBA_CACHE_DIR"].startswith("/tmp/")


@pytest.mark.parametrize("image", IMAGES)
def test_no_image_sets_credentials_or_settings_of_a_deployment(image: str) -> None:
    assert not [name for name in environment_of(image) if name.startswith(("AWS_", "BYTEREEL_"))]


def test_both_images_install_the_same_wheel_the_same_way() -> None:
    first_stages = []
    for image in IMAGES:
        found = instructions_of(image)
        second = [number for number, (word, _) in enumerate(found) if word == "FROM"][1]
        first_stages.append(found[:second])
    assert first_stages[0] == first_stages[1]


def test_the_image_of_the_functions_starts_the_runtime_with_a_handler_that_exists() -> None:
    assert ast.literal_eval(last(IMAGES[0], "ENTRYPOINT")) == ["python", "-m", "awslambdaric"]
    [command] = ast.literal_eval(last(IMAGES[0], "CMD"))
    module, _, name = command.rpartition(".")
    assert callable(getattr(importlib.import_module(module), name))


def test_the_image_of_the_workers_starts_a_command_that_exists() -> None:
    arguments = [*ast.literal_eval(last(IMAGES[1], "ENTRYPOINT")), *ast.literal_eval(last(IMAGES[1], "CMD"))]
    arguments[0] = str(Path(sys.executable).parent / arguments[0])
    assert subprocess.run([*arguments, "--help"], capture_output=True, check=False).returncode == 0


def test_the_health_check_of_the_workers_fails_where_there_is_none() -> None:
    command = ast.literal_eval(last(IMAGES[1], "HEALTHCHECK").partition("CMD ")[2])
    assert command[0] == "python"
    alone = command[-1].replace("psutil.process_iter(['cmdline'])", "[]")
    assert subprocess.run([sys.executable, "-c", alone], check=False).returncode == 1
    ast.parse(command[-1])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_handler_is_short_and_importing_it_opens_nothing(name: str) -> None:
    source = ROOT / "functions" / "bytereel_functions" / f"{name}.py"
    assert len(source.read_text().splitlines()) <= LINES_MAX
    check = f"import sys; import bytereel_functions.{name}; sys.exit('boto3' in sys.modules or 'numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", check], env={}, check=False).returncode == 0
