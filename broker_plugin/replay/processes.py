"""A process beside this one that is sent work and gives answers, one at a time, over a pipe."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from typing import Any

from schemas.errors import ConventionError

Handler = Callable[[Any], Any]


class Helper:
    """``send`` work, then ``receive`` its answer before the next. ConventionError when the process has ended; an
    error of ours that the work led to there is raised here."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def send(self, work: Any) -> None:
        """Start on a piece of work."""
        with _mapped():
            self._connection.send(work)

    def receive(self) -> Any:
        """The answer to what was sent last."""
        with _mapped():
            answer = self._connection.recv()
        if isinstance(answer, ConventionError):
            raise answer
        return answer


@contextmanager
def helper_process(make_handler: Callable[[], Handler]) -> Iterator[Helper]:
    """A process that works until the context ends, or until this process does, however it ends.

    make_handler: called there once; a function of a module or a partial of one, since it travels. The handler may
    have a ``close``, called in the end.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, make_handler), daemon=True)
    with _sigint_blocked():
        process.start()
    theirs.close()  # the only other end is the child's, so that either side sees the other's end
    try:
        yield Helper(ours)
    finally:
        ours.close()
        process.join()


def num_processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def _sigint_blocked() -> Iterator[None]:
    """What is started here never hears Ctrl-C, not even while Python starts; this process hears it afterwards."""
    resource_tracker.ensure_running()  # it would be started in here, and unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError) as error:
        raise ConventionError("a helper process ended: start again to go on from the checkpoint") from error


def _serve(connection: Connection, make_handler: Callable[[], Handler]) -> None:
    handler: Handler | None = None
    try:
        while True:
            work = connection.recv()
            try:
                handler = handler or make_handler()
                connection.send(handler(work))
            except ConventionError as error:
                connection.send(error)
    except (EOFError, OSError):
        return
    finally:
        close = getattr(handler, "close", None)
        if close is not None:
            close()
