"""The program of the fork server: one process with PyAV loaded and one thread, which forks a child for each job.

It reads jobs from its control socket, ends with it, and takes its children along. It reads no foreign byte itself. Of a
child that ended it tells the parent how; a child whose parent has gone, or wants no more, is killed.
"""

import gc
import os
import resource
import select
import signal
import socket
import sys

from bytereel_codec.libav.sandbox.confine import CONNECTION, DESCRIPTORS_MAX, confine
from bytereel_codec.libav.sandbox.decoder import Decoder, load_all
from bytereel_codec.libav.sandbox.memory import SharedMemory
from bytereel_codec.libav.sandbox.wire import JOB_BYTES, Job, Kind, Message, say

_JOB_DESCRIPTORS = 2  # the job's connection, the shared memory


class Server:
    """Children by their process, and the connection of each, on which the parent is told of its end."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._children: dict[int, socket.socket] = {}
        self._poll = select.poll()
        self._wake, self._waker = socket.socketpair()
        for end in (self._wake, self._waker):
            end.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for end in (control, self._wake):
            self._poll.register(end, select.POLLIN)

    def serve(self) -> None:
        """Run jobs until the control socket ends."""
        while True:
            ready = {fd for fd, _ in self._poll.poll()}
            self._kill(*(pid for pid, end in self._children.items() if end.fileno() in ready))
            self._reap()
            # Last: a new connection may get the number of one that has just been closed.
            if self._control.fileno() in ready and not self._take_job():
                self._kill(*self._children)
                return

    def _take_job(self) -> bool:
        """Fork a child for the next job; False when there will be none."""
        packed, descriptors, _, _ = socket.recv_fds(self._control, JOB_BYTES, _JOB_DESCRIPTORS)
        if len(packed) != JOB_BYTES or len(descriptors) != _JOB_DESCRIPTORS:
            return False
        connection, memory = socket.socket(fileno=descriptors[0]), descriptors[1]
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            _be_child(Job.unpack(packed), connection, memory, server)
        os.close(memory)
        self._children[pid] = connection
        self._poll.register(connection, 0)  # tells of nothing but that the parent has gone
        return True

    def _reap(self) -> None:
        """Take leave of the children that ended, and say how."""
        while True:
            try:
                self._wake.recv(64)
            except BlockingIOError:
                break
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            self._part_from(pid, Message(Kind.DIED, max(code, 0), max(-code, 0)))

    def _part_from(self, pid: int, last: Message) -> None:
        connection = self._children.pop(pid)
        self._poll.unregister(connection)
        try:
            connection.setblocking(False)
            say(connection, last)
        except OSError:  # the parent has what it wanted
            pass
        connection.close()

    def _kill(self, *pids: int) -> None:
        """End children that nobody waits for."""
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            connection = self._children.pop(pid)
            self._poll.unregister(connection)
            connection.close()


def _be_child(job: Job, connection: socket.socket, memory_fd: int, server: int) -> None:
    """The whole life of a child; never returns."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        memory = SharedMemory(memory_fd, job.slots, job.slot_bytes)
        confine(job, connection.fileno(), server)
        Decoder(job, socket.socket(fileno=CONNECTION), memory).run()
        status = 0
    except OSError:  # the parent has gone
        status = 2
    finally:
        os._exit(status)


def main(control_fd: int) -> None:
    """Serve the parent behind that descriptor until it is gone."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS_MAX, hard))
    load_all()
    gc.collect()
    gc.freeze()
    gc.disable()
    Server(socket.socket(fileno=control_fd)).serve()
    sys.exit(0)
