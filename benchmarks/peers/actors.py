"""Actors: pykka's threads, Ray's and xoscar's processes."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from typing import Any

from benchmarks import subjects, victims
from benchmarks.peers import CRASH_SECONDS, Cannot


class Pykka:
    """An actor in a thread of this process: no isolation, but the same calls."""

    @staticmethod
    def check() -> None:
        """It is there: piactors needs it."""

    def __init__(self) -> None:
        import pykka

        class Echo(subjects.PlainEcho, pykka.ThreadingActor):
            """Returns what it is given."""

        self._ref = Echo.start()
        self._proxy: Any = self._ref.proxy()

    def call(self, value: Any) -> Any:
        """See `Peer`."""
        return self._proxy.echo(value).get()

    def call_with_timeout(self, value: Any, timeout: float) -> Any:
        """See `Peer`."""
        return self._proxy.echo(value).get(timeout=timeout)

    def pipelined(self, value: Any, calls: int) -> None:
        """See `Peer`."""
        for future in [self._proxy.echo(value) for _ in range(calls)]:
            future.get()

    def array(self, value: Any) -> Any:
        """See `Peer`."""
        raise Cannot("nothing travels: threads share their memory")

    def worker_pid(self) -> int:
        """See `Peer`."""
        raise Cannot("no process of its own")

    def crash(self) -> bool:
        """See `Peer`."""
        raise Cannot("a crash ends the whole program")

    def close(self) -> None:
        """See `Peer`."""
        self._ref.stop()


class Crashing(victims.Plain, subjects.PlainEcho):
    """Returns what it is given, and dies when told to."""


class RayNode:
    """A cluster of one node, in a folder of its own."""

    def __init__(self, cores: int) -> None:
        import ray

        self.ray: Any = ray
        self._folder = tempfile.mkdtemp(prefix="ray")
        ray.init(
            num_cpus=cores,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            include_dashboard=False,
            _temp_dir=self._folder,
        )

    def close(self) -> None:
        """End it."""
        self.ray.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)


class Ray:
    """An actor with unlimited restarts in a cluster of one node, which starts with it."""

    @staticmethod
    def check() -> None:
        """Import it."""
        import ray  # noqa: F401

    def __init__(self) -> None:
        self._node = RayNode(1)
        self._ray = self._node.ray
        remote: Any = self._ray.remote(max_restarts=-1)
        self._actor = remote(Crashing).remote()

    def call(self, value: Any) -> Any:
        """See `Peer`."""
        return self._ray.get(self._actor.echo.remote(value))

    def call_with_timeout(self, value: Any, timeout: float) -> Any:
        """See `Peer`."""
        return self._ray.get(self._actor.echo.remote(value), timeout=timeout)

    def pipelined(self, value: Any, calls: int) -> None:
        """See `Peer`."""
        self._ray.get([self._actor.echo.remote(value) for _ in range(calls)])

    def array(self, value: Any) -> Any:
        """See `Peer`."""
        return self.call(value)

    def worker_pid(self) -> int:
        """See `Peer`."""
        pid: int = self._ray.get(self._actor.pid.remote())
        return pid

    def crash(self) -> bool:
        """See `Peer`."""
        try:
            self._ray.get(self._actor.crash.remote(), timeout=CRASH_SECONDS)
        except self._ray.exceptions.GetTimeoutError:
            return False
        except self._ray.exceptions.RayError:
            return True
        return False

    def close(self) -> None:
        """See `Peer`."""
        self._node.close()


class Xoscar:
    """An actor in a process of xoscar's pool.  Its calls are coroutines, and run here in one event loop."""

    @staticmethod
    def check() -> None:
        """Import it."""
        import xoscar  # noqa: F401

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._run = self._loop.run_until_complete
        self._run(self._start())

    async def _start(self) -> None:
        import xoscar

        from benchmarks.peers import xoscar_actor

        self._pool = await xoscar.create_actor_pool("127.0.0.1", n_process=1)
        strategy = xoscar.allocate_strategy.ProcessIndex(1)
        self._actor: Any = await xoscar.create_actor(
            xoscar_actor.Echo, address=self._pool.external_address, allocate_strategy=strategy
        )

    def call(self, value: Any) -> Any:
        """See `Peer`."""
        return self._run(self._actor.echo(value))

    def call_with_timeout(self, value: Any, timeout: float) -> Any:
        """See `Peer`."""
        return self._run(asyncio.wait_for(self._actor.echo(value), timeout))

    def pipelined(self, value: Any, calls: int) -> None:
        """See `Peer`."""

        async def run() -> None:
            await asyncio.gather(*(self._actor.echo(value) for _ in range(calls)))

        self._run(run())

    def array(self, value: Any) -> Any:
        """See `Peer`."""
        return self.call(value)

    def worker_pid(self) -> int:
        """See `Peer`."""
        pid: int = self._run(self._actor.pid())
        return pid

    def crash(self) -> bool:
        """See `Peer`."""
        try:
            self._run(asyncio.wait_for(self._actor.crash(), CRASH_SECONDS))
        except TimeoutError:
            return False
        except Exception:  # it was seen, whatever it says
            return True
        return False

    def close(self) -> None:
        """See `Peer`."""
        self._run(asyncio.wait_for(self._pool.stop(), CRASH_SECONDS))
        self._loop.close()
