"""Pools of one worker: the standard library's executor, multiprocess, loky and pebble."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
from typing import Any

from benchmarks import subjects, victims
from benchmarks.peers import CRASH_SECONDS


class _Futures:
    """What the pools have in common whose calls are futures; `_submit` makes one."""

    def _submit(self, function: Any, *args: Any) -> Any:
        raise NotImplementedError

    def call(self, value: Any) -> Any:
        """See `Peer`."""
        return self._submit(subjects.echo, value).result()

    def call_with_timeout(self, value: Any, timeout: float) -> Any:
        """See `Peer`."""
        return self._submit(subjects.echo, value).result(timeout=timeout)

    def pipelined(self, value: Any, calls: int) -> None:
        """See `Peer`."""
        for future in [self._submit(subjects.echo, value) for _ in range(calls)]:
            future.result()

    def array(self, value: Any) -> Any:
        """See `Peer`."""
        return self.call(value)

    def worker_pid(self) -> int:
        """See `Peer`."""
        pid: int = self._submit(os.getpid).result()
        return pid

    def crash(self) -> bool:
        """See `Peer`."""
        try:
            return self._submit(victims.kill_myself).exception(timeout=CRASH_SECONDS) is not None
        except concurrent.futures.TimeoutError:
            return False


class Executor(_Futures):
    """`concurrent.futures.ProcessPoolExecutor`, spawned."""

    @staticmethod
    def check() -> None:
        """It is there."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pool = concurrent.futures.ProcessPoolExecutor(1, mp_context=context)

    def _submit(self, function: Any, *args: Any) -> Any:
        return self._pool.submit(function, *args)

    def close(self) -> None:
        """See `Peer`."""
        self._pool.shutdown()


class Loky(_Futures):
    """loky's executor."""

    @staticmethod
    def check() -> None:
        """Import it."""
        import loky  # noqa: F401

    def __init__(self) -> None:
        import loky

        self._pool: Any = loky.ProcessPoolExecutor(max_workers=1)

    def _submit(self, function: Any, *args: Any) -> Any:
        return self._pool.submit(function, *args)

    def close(self) -> None:
        """See `Peer`."""
        self._pool.shutdown(kill_workers=True)


class Pebble(_Futures):
    """pebble's pool."""

    @staticmethod
    def check() -> None:
        """Import it."""
        import pebble  # noqa: F401

    def __init__(self) -> None:
        import pebble

        self._pool: Any = pebble.ProcessPool(max_workers=1)

    def _submit(self, function: Any, *args: Any) -> Any:
        return self._pool.schedule(function, args=args)

    def close(self) -> None:
        """See `Peer`."""
        self._pool.stop()
        self._pool.join()


class MultiprocessPool:
    """A pool of multiprocess, the package that is `multiprocessing` with dill."""

    @staticmethod
    def check() -> None:
        """Import it."""
        import multiprocess  # noqa: F401

    def __init__(self) -> None:
        import multiprocess

        self._pool = multiprocess.Pool(1)

    def call(self, value: Any) -> Any:
        """See `Peer`."""
        return self._pool.apply(subjects.echo, (value,))

    def call_with_timeout(self, value: Any, timeout: float) -> Any:
        """See `Peer`."""
        return self._pool.apply_async(subjects.echo, (value,)).get(timeout)

    def pipelined(self, value: Any, calls: int) -> None:
        """See `Peer`."""
        for result in [self._pool.apply_async(subjects.echo, (value,)) for _ in range(calls)]:
            result.get()

    def array(self, value: Any) -> Any:
        """See `Peer`."""
        return self.call(value)

    def worker_pid(self) -> int:
        """See `Peer`."""
        pid: int = self._pool.apply(os.getpid)
        return pid

    def crash(self) -> bool:
        """See `Peer`: such a call waits forever."""
        import multiprocess

        try:
            self._pool.apply_async(victims.kill_myself).get(CRASH_SECONDS)
        except multiprocess.TimeoutError:
            return False
        except Exception:  # it was seen, whatever it says
            return True
        return False

    def close(self) -> None:
        """See `Peer`."""
        self._pool.terminate()
        self._pool.join()
