"""The picture of the house in words, from the imports of the code: `make house`, `python -m tools.house`.

- A **room** is what stands directly in a package: a folder with all that is in it, a file of its own, and the package's
  own `__init__`.
- An **arrow** leads from a room to another that it imports, wherever in a file the import stands: at its top, in a
  function, or for types alone.
- A room's **floor** is the length of the longest chain of arrows that starts there, so that a room without arrows is on
  floor 1, and every arrow leads down. Rooms of a circle share a floor.
- A **circle** is a set of rooms, or of files, each of which reaches the others by arrows.
"""

import argparse
import ast
import io
import subprocess
import sys
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[1]
WINGS = ("codec", "layers", "functions")
"""The folders that hold packages; each acts as `src`."""

Arrows = Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Module:
    """One file of a package: its dotted name, its lines, and the dotted names that it imports."""

    name: str
    lines: int
    imports: frozenset[str]

    @property
    def room(self) -> str:
        """The room that it stands in, as `package.room`; a package's `__init__` is a room of that name."""
        package, _, rest = self.name.partition(".")
        return f"{package}.{rest.partition('.')[0] or '__init__'}"


def files_here(root: Path = ROOT) -> dict[PurePosixPath, str]:
    """The Python files below the wings, by their paths, as they stand in the working tree."""
    found = sorted(path for wing in WINGS for path in (root / wing).rglob("*.py"))
    return {PurePosixPath(path.relative_to(root)): path.read_text("utf-8") for path in found}


def files_at(revision: str, root: Path = ROOT) -> dict[PurePosixPath, str]:
    """The same at a git revision. Raises: CalledProcessError for a revision that git does not know."""
    command = ["git", "-C", str(root), "archive", "--format=tar", revision, "--", *WINGS]
    archive = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    files = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.name.endswith(".py") else None
            if content is not None:
                files[PurePosixPath(member.name)] = content.read().decode("utf-8")
    return files


def modules_in(files: Mapping[PurePosixPath, str]) -> list[Module]:
    """The modules of the packages in the wings, each with those of these that it imports."""
    named = {_name_of(path): text for path, text in files.items() if len(path.parts) > 2}
    return [
        Module(name, text.count("\n"), frozenset(_imported(ast.parse(text), named) - {name}))
        for name, text in sorted(named.items())
    ]


def _name_of(path: PurePosixPath) -> str:
    parts = path.with_suffix("").parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(tree: ast.AST, known: Iterable[str]) -> set[str]:
    """The known modules that a file imports. `from a import b` is `a.b` where that is a module, else `a`."""
    known = set(known)
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & known
            found |= {node.module} if names - known else set()
    return found & known


def arrows_between(modules: Sequence[Module], *, rooms: bool = True) -> dict[str, frozenset[str]]:
    """Who leads where, of rooms or else of files; every room or file is a key."""
    place = {module.name: module.room if rooms else module.name for module in modules}
    arrows: defaultdict[str, set[str]] = defaultdict(set)
    for module in modules:
        here = place[module.name]
        arrows[here] |= {place[name] for name in module.imports & place.keys()} - {here}
    return {here: frozenset(there) for here, there in arrows.items()}


def circles_in(arrows: Arrows) -> list[frozenset[str]]:
    """The strongly connected components of more than one node."""
    reached = {node: _reached(arrows, node) for node in arrows}
    found = {frozenset(other for other in reached[node] if node in reached[other]) for node in arrows}
    return sorted((circle for circle in found if len(circle) > 1), key=sorted)


def _reached(arrows: Arrows, start: str) -> set[str]:
    found, waiting = {start}, [start]
    while waiting:
        fresh = arrows.get(waiting.pop(), frozenset()) - found
        found |= fresh
        waiting += fresh
    return found


def floors_of(arrows: Arrows) -> dict[str, int]:
    """The floor of every node, counted from 1; the nodes of a circle count as one."""
    one = {node: min(circle) for circle in circles_in(arrows) for node in circle}
    merged: defaultdict[str, set[str]] = defaultdict(set)
    for node, there in arrows.items():
        here = one.get(node, node)
        merged[here] |= {one.get(other, other) for other in there} - {here}
    floors: dict[str, int] = {}
    for node in TopologicalSorter(merged).static_order():
        floors[node] = 1 + max((floors[other] for other in merged[node]), default=0)
    return {node: floors[one.get(node, node)] for node in arrows}


def picture(modules: Sequence[Module]) -> Iterator[str]:
    """The house as lines of text: a table of the rooms from the top floor down, then sums and circles."""
    arrows = arrows_between(modules)
    floors = floors_of(arrows)
    single = len({module.name.partition(".")[0] for module in modules}) == 1
    for room in sorted(arrows, key=lambda room: (-floors[room], room)):
        inside = [module for module in modules if module.room == room]
        size = f"{sum(module.lines for module in inside):6,} lines in {len(inside):3} files"
        leads = "".join(f" {_shown(other, single=single)}" for other in sorted(arrows[room]))
        yield f"floor {floors[room]:2}  {_shown(room, single=single):28} {size}" + (f"  ->{leads}" if leads else "")
    yield summary(modules)
    for kind, there in (("rooms", arrows), ("files", arrows_between(modules, rooms=False))):
        circles = circles_in(there)
        yield f"circles of {kind}: {len(circles) or 'none'}"
        yield from ("  " + " <-> ".join(sorted(circle)) for circle in circles)


def summary(modules: Sequence[Module]) -> str:
    """The house in one line."""
    arrows = arrows_between(modules)
    floors = max(floors_of(arrows).values(), default=0)
    count = sum(map(len, arrows.values()))
    lines = sum(module.lines for module in modules)
    return f"{len(arrows)} rooms on {floors} floors, {count} arrows, {lines:,} lines in {len(modules)} files"


def _shown(room: str, *, single: bool) -> str:
    return room.partition(".")[2] if single else room


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the picture of the whole, or of the wings and packages named."""
    parser = argparse.ArgumentParser(prog="make house", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("only", nargs="*", metavar="NAME", help=f"a wing ({', '.join(WINGS)}) or a package")
    parser.add_argument("--at", metavar="REV", help="a git revision, instead of the working tree")
    chosen = parser.parse_args(arguments)
    files = files_at(chosen.at) if chosen.at else files_here()
    wanted = {path: text for path, text in files.items() if not chosen.only or {*chosen.only} & {*path.parts[:2]}}
    if not wanted:
        parser.error(f"there is no such wing or package: {' '.join(chosen.only)}")
    modules = modules_in(wanted)
    print("\n".join(picture(modules)))
    packages = sorted({module.name.partition(".")[0] for module in modules})
    for package in packages if len(packages) > 1 else ():
        print(f"{package}: {summary([module for module in modules if module.name.partition('.')[0] == package])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
