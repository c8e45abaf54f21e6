"""Ends the wait for a call that may hang, such as a read from a store that has gone."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from surgetank.errors import RegistryError

T = TypeVar("T")


def within(seconds: float, call: Callable[[], T], what: str) -> T:
    """Return what a call returns, or raise what it raises. ``what``: the call in words.

    Raises RegistryError after ``seconds``. The call goes on in its thread, which does not keep the process alive: no
    client can stop it.
    """
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(call())
        except BaseException as error:  # noqa: BLE001 - the future passes it to the caller
            done.set_exception(error)

    threading.Thread(target=run, name="model-registry", daemon=True).start()
    try:
        return done.result(timeout=seconds)
    except TimeoutError:
        if done.done():  # the call's own error
            raise
        raise RegistryError(
            f"{what} has taken {seconds:g} s and is given up; check the registry and the network, or raise "
            "model.registry_timeout_seconds"
        ) from None
