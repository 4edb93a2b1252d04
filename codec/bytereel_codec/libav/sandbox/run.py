"""The parent's side of a job: serves the file's bytes, takes what the child says of them, and believes none of it.

Sizes, counts and the order of messages are checked; samples may be any. Whatever the child does, it ends in pictures or
in one of the error families; when the parent wants no more, the child is killed.
"""

import io
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

from bytereel_codec.errors import BytereelError, Permanent, Temporary
from bytereel_codec.libav.sandbox.launch import no_sandbox, start_child
from bytereel_codec.libav.sandbox.limits import within_limits
from bytereel_codec.libav.sandbox.memory import WINDOW_BYTES, SharedMemory, new_shared_file, shared_bytes
from bytereel_codec.libav.sandbox.planes import Samples, planes_in
from bytereel_codec.libav.sandbox.wire import Ending, Job, Kind, Message, WireError, heard, say

SILENCE_SECONDS_MAX = 120.0
_SERVED_PASSES_MAX = 64
_SERVED_BYTES_MIN = 256 << 20
_RESULTS_MIN = 1024
_OF_THE_VIDEO = (signal.SIGXCPU, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)


class Run:
    """One job on one file, in a child of its own."""

    def __init__(self, file: BinaryIO, job: Job) -> None:
        """`job`: what is asked for; its limits are set here, by the file's size and the threads."""
        size = file.seek(0, io.SEEK_END)
        self._file = file
        self._size = size
        self._job = within_limits(replace(job, file_bytes=size))
        self._served = 0
        self._results_seen = 0
        self.ending = Ending.DONE
        self.counted = 0

    def pictures(self) -> Iterator[tuple[str, list[Samples]]]:
        """The format and planes of each picture that the child shows, as `planes_in` gives them.

        Afterwards `ending` says why there is no more, `counted` how many pictures the child counted. Raises: Permanent
        `media.refused` when reading takes too much or the child breaks; Temporary `media.interrupted` and
        `media.no_sandbox`; what reading the file raises.
        """
        for message, slot in self._results():
            yield self._planes_in(message, slot)

    def packets(self) -> Iterator[memoryview]:
        """The bytes of the packets, some at a time, good until the next are asked for. Raises: as `pictures`."""
        for message, slot in self._results():
            if message.kind is not Kind.BYTES or message.place > len(slot):
                raise _broke()
            yield slot[: message.place]

    def _planes_in(self, message: Message, slot: memoryview) -> tuple[str, list[Samples]]:
        if message.kind is not Kind.SHOWN:
            raise _broke()
        try:
            return planes_in(slot, message.sizes)
        except WireError as error:
            raise _broke() from error

    def _results(self) -> Iterator[tuple[Message, memoryview]]:
        memory_fd = new_shared_file(shared_bytes(self._job.slots, self._job.slot_bytes))
        try:
            memory = SharedMemory(memory_fd, self._job.slots, self._job.slot_bytes)
            connection = start_child(self._job, memory_fd)
        finally:
            os.close(memory_fd)
        with connection:
            connection.settimeout(SILENCE_SECONDS_MAX)
            yield from self._heard_results(connection, memory)

    def _heard_results(self, connection: socket.socket, memory: SharedMemory) -> Iterator[tuple[Message, memoryview]]:
        while (message := self._heard(connection)).kind is not Kind.END:
            if message.kind is Kind.READ:
                self._serve(message, connection, memory)
            elif message.kind in (Kind.SHOWN, Kind.BYTES):
                yield message, self._slot(message, memory)
                self._say(connection, Message(Kind.FREE))
            else:
                raise _died(message)
        self.ending = self._checked(message.number)
        self.counted = message.place
        if self.ending is Ending.NO_MEMORY:
            raise _refused("reading it takes more memory than its pictures ask for")

    def _heard(self, connection: socket.socket) -> Message:
        try:
            message = heard(connection)
        except TimeoutError as error:
            raise _interrupted(f"nothing came of it for {SILENCE_SECONDS_MAX:.0f} seconds") from error
        except WireError as error:
            raise _broke() from error
        except OSError as error:
            raise no_sandbox() from error
        if message is None:
            raise no_sandbox()
        return message

    def _serve(self, message: Message, connection: socket.socket, memory: SharedMemory) -> None:
        """Put the bytes that the child asks for into the window."""
        length = min(message.number, WINDOW_BYTES, max(0, self._size - message.place))
        self._served += length
        if self._served > max(_SERVED_BYTES_MIN, _SERVED_PASSES_MAX * self._size):
            raise _refused("its parts lie so that reading it does not end")
        done = 0
        if length:
            self._file.seek(message.place)
        while done < length and (count := self._file.readinto(memory.window[done:length])):  # type: ignore[attr-defined]
            done += count
        self._say(connection, Message(Kind.GIVEN, done))

    def _say(self, connection: socket.socket, message: Message) -> None:
        """Tell the child; one that has died will be told of."""
        try:
            say(connection, message)
        except TimeoutError as error:
            raise _interrupted("the process that reads it does not answer") from error
        except OSError:
            return

    def _slot(self, message: Message, memory: SharedMemory) -> memoryview:
        self._results_seen += 1
        if self._results_seen > max(_RESULTS_MIN, self._size):
            raise _refused("it has more pictures than bytes")
        try:
            return memory.slot(message.number)
        except IndexError as error:
            raise _broke() from error

    def _checked(self, number: int) -> Ending:
        try:
            return Ending(number)
        except ValueError as error:
            raise _broke() from error


def _died(message: Message) -> BytereelError:
    """The error for a child that ended before it was done."""
    if message.kind is not Kind.DIED:
        return _broke()
    if message.place == signal.SIGXCPU:
        return _refused("reading it takes more time than its size allows")
    if message.place and message.place not in _OF_THE_VIDEO:
        return _interrupted("the process that read it was killed")
    return _broke()


def _broke() -> Permanent:
    return _refused("the process that read it broke")


def _refused(why: str) -> Permanent:
    return Permanent("media.refused", f"the video cannot be read: {why}", hint="it may be damaged, or made to do harm")


def _interrupted(why: str) -> Temporary:
    return Temporary("media.interrupted", f"the video was not read to its end: {why}")
