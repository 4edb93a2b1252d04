"""One thing after another: what a command says of each of several, and how it ends when some of them fail."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from click.exceptions import Exit

from bytereel.cli.exits import ExitCode, as_failure, exit_code_of
from bytereel.cli.printing.hints import hint_for
from bytereel.cli.printing.output import print_failure, print_note, print_result
from bytereel.errors import BytereelError, is_state_lost


@dataclass(frozen=True, slots=True)
class Said:
    """What a command says of one thing: as JSON, as lines, in notes; and the code that it would end with."""

    values: Mapping[str, Any]
    lines: Sequence[str]
    notes: Sequence[str] = ()
    code: ExitCode = ExitCode.OK
    on_stderr: bool = False


def say_each(names: Sequence[str], act: Callable[[str], Said], *, plural: str, as_json: bool) -> None:
    """Do something to each and say what came of it; ends with the first code that is not 0.

    Of one thing its own words and JSON object; of several one after the other or, as JSON, one object: `plural` with
    what came of each, `failed` with the errors by name. One that fails keeps none of the others from being done.
    """
    if len(names) == 1:
        _end(_print(act(names[0]), as_json=as_json))
        return
    done: list[Mapping[str, Any]] = []
    failed: list[dict[str, Any]] = []
    codes = []
    for name in names:
        try:
            said = act(name)
        except (BytereelError, OSError, MemoryError) as caught:
            error = as_failure(caught)
            if isinstance(caught, BrokenPipeError) or is_state_lost(error):
                raise
            codes.append(exit_code_of(error))
            if not as_json:
                print_note(f"{name}:")
                print_failure(error, as_json=False)
            values = error.to_dict()
            failed.append({"name": name, **values, "hint": hint_for(values)})
            continue
        codes.append(said.code)
        done.append(said.values)
        if not as_json and (said.lines or said.notes):
            _print(said, as_json=False)
            print(flush=True)
    if as_json:
        print_result({plural: done, "failed": failed}, [], as_json=True)
    _end(next((code for code in codes if code), ExitCode.OK))


def _print(said: Said, *, as_json: bool) -> ExitCode:
    print_result(said.values, said.lines, as_json=as_json, on_stderr=said.on_stderr)
    for note in () if as_json and said.on_stderr else said.notes:  # one object there, and nothing else
        print_note(note)
    return said.code


def _end(code: ExitCode) -> None:
    if code:
        raise Exit(code)
