"""Answers that are worked out once, however many ask for them at the same time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from threading import Lock
from typing import Generic, TypeVar

_Value = TypeVar("_Value")


class Once(Generic[_Value]):
    """The values that were asked for last; who asks for one that is being worked out waits for it.

    Parameters
    ----------
    most : int
        Values that are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()
        self._found: OrderedDict[Hashable, Future[_Value]] = OrderedDict()

    def get(self, key: Hashable, work: Callable[[], _Value]) -> _Value:
        """The value of a key; `work` makes it if nobody has asked for it before.

        Raises
        ------
        BaseException
            What `work` raises, to all who wait for it. It is tried again for who asks later.
        """
        with self._lock:
            known = self._found.get(key)
            if known is not None:
                self._found.move_to_end(key)
            else:
                mine = self._found[key] = Future[_Value]()
                if len(self._found) > self._most:
                    self._found.popitem(last=False)
        if known is not None:
            return known.result()
        try:
            value = work()
        except BaseException as error:
            with self._lock:
                if self._found.get(key) is mine:
                    del self._found[key]
            mine.set_exception(error)
            raise
        mine.set_result(value)
        return value
