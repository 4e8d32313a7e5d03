"""The parent of several workers: holds the sockets, speaks to operators, reloads, upgrades, ends.

SIGTERM and SIGINT end it once everything is finished. SIGHUP reads the configuration again, SIGUSR2 puts the program on
disk in our place. Neither loses a request: old workers serve until new ones can.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path

from gateway import listening
from gateway.config import GatewayConfig
from gateway.workers import handover, live
from gateway.workers.crew import CannotStart, Crew
from gateway.workers.desk import Desk
from gateway.workers.orders import Orders
from gateway.workers.process import Process
from gateway.workers.programs import Programs
from gateway.workers.together import Together

_log = logging.getLogger("gateway.parent")
Ready = Callable[..., None]


class Parent:
    """Built, then `run` once."""

    def __init__(self, config: GatewayConfig, reread: Callable[[], GatewayConfig], programs: Programs) -> None:
        """`reread` raises ValueError, one line, for a configuration that cannot be used."""
        self._config = config
        self._reread = reread
        self._programs = programs
        self._together = Together()
        self._orders = Orders()
        self._wishes: asyncio.Queue[str] = asyncio.Queue()
        self._stop = asyncio.Event()
        self._sockets: list[socket.socket] = []
        self._folder: Path | None = None

    async def run(self, ready: Ready | None, left: Path | None) -> int:
        """Serve until told to end; the exit code. `left` is what a predecessor wrote down."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        for number, wish in ((signal.SIGHUP, "reload"), (signal.SIGUSR2, "upgrade")):
            loop.add_signal_handler(number, self._wishes.put_nowait, wish)
        try:
            live.check(self._config)
            await self._begin(left)
        except (CannotStart, listening.CannotListen, OSError, ValueError) as error:
            _log.error("cannot start", extra={"fields": {"why": str(error)}})
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
            return 1
        if ready is not None and left is None and not self._stop.is_set():
            ready(listening.address(self._sockets[0].getsockname()), self._desk.address)
        works = [self._crew.keep_lively(), self._crew.keep_count(), self._fulfil()]
        failed = await self._until_stopped(works)
        return await self._end(failed)

    async def _begin(self, left: Path | None) -> None:
        inherited = handover.take(left) if left is not None else None
        folder = self._folder = left.parent if left is not None else Path(tempfile.mkdtemp(prefix="fleetgate-"))
        listen, operator = self._config.listen, self._config.operator
        if inherited is None:
            self._sockets = listening.bind(listen.host, listen.port, listen.backlog)
            operators = listening.bind(operator.host, operator.port, listen.backlog)
        else:
            self._sockets = [socket.socket(fileno=fd) for fd in inherited.sockets]
            operators = [socket.socket(fileno=fd) for fd in inherited.operators]
        together = self._together
        self._crew = Crew(self._programs.worker, folder, self._config, together.hear, self._say)
        together.crew = self._crew
        self._desk = Desk(together, self._crew, self._orders)
        self._crew.greet = self._desk.greet
        if inherited is not None:
            await self._adopt(inherited)
        await self._desk.open(operators)
        public = listening.address(self._sockets[0].getsockname())
        _log.info("listening", extra={"fields": {"public": public, "operators": self._desk.address}})
        if inherited is None:
            await self._until_stopped([self._crew.start(self._sockets)])
        else:
            await self._exchange(self._config, inherited.listen, inherited.operator)

    async def _adopt(self, inherited: handover.Handover) -> None:
        """Take over what a predecessor left; its workers serve until ours can."""
        for each in inherited.workers:
            process = Process(each.number, each.place, each.pid, socket.socket(fileno=each.line), Path(each.operators))
            self._crew.adopt(process, each.families, leaving=each.leaving)
        self._crew.sockets, self._crew.retired = self._sockets, inherited.retired
        self._orders.restore(inherited.nodes, inherited.routing)
        journal = self._together.journal
        for event in inherited.events:
            journal.events.append(event)
        for row in inherited.history:
            journal.history.append(row)
        self._together.note("gateway", "a new program took over", kind="upgrade")
        await self._crew.heard()

    async def _until_stopped(self, works: list[Coroutine[object, object, None]]) -> bool:
        """Work until one of `works` ends or we are told to stop; whether one failed. Raises CannotStart."""
        tasks = [asyncio.create_task(work) for work in works]
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
        for task in (*tasks, stopping):
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        errors = [result for result in results if isinstance(result, Exception)]
        for error in errors:
            if isinstance(error, CannotStart):
                raise error
            _log.error("a part of the parent failed", exc_info=error)
        return bool(errors)

    async def _fulfil(self) -> None:
        """One wish after another; the same wish many times is one."""
        while True:
            wishes = {await self._wishes.get()}
            while not self._wishes.empty():
                wishes.add(self._wishes.get_nowait())
            if "upgrade" in wishes:
                await self._upgrade()
                continue
            try:
                await self._reload()
            except Exception as error:  # whatever it is, what serves goes on serving
                _log.exception("the reload broke")
                self._say("configuration", "not taken: the reload broke", repr(error))

    async def _reload(self) -> None:
        before = self._crew.config
        try:
            config = self._reread()
            live.check(config)
        except ValueError as error:
            self._say("configuration", "not taken: the old one stays in force", str(error))
            return
        changed = list(live.changes(before, config))
        if not all(map(live.is_live, changed)):
            address = (before.listen.host, before.listen.port), (before.operator.host, before.operator.port)
            await self._exchange(config, *address)
            return
        self._orders.configured(changed)
        await self._crew.configure(config)
        self._together.note("configuration", "read again", f"changed: {', '.join(changed) or 'nothing'}", "reload")
        _log.info("configuration read again", extra={"fields": {"changed": changed}})

    async def _exchange(self, config: GatewayConfig, listen: tuple[str, int], operator: tuple[str, int]) -> None:
        """Other workers with `config`. `listen` and `operator` are where we listen now, as configured."""
        before = self._crew.config
        await self._crew.thinned()
        sockets, operators = self._sockets, self._desk.sockets
        opened: list[socket.socket] = []
        try:
            if listen != (config.listen.host, config.listen.port):
                opened += (sockets := listening.bind(config.listen.host, config.listen.port, config.listen.backlog))
            if operator != (config.operator.host, config.operator.port):
                opened += (operators := listening.bind(config.operator.host, config.operator.port, 128))
            self._orders.configured(live.changes(before, config))
            await self._crew.exchange(config, sockets)
        except (CannotStart, listening.CannotListen) as error:
            self._say("configuration", "not taken: the old workers stay", str(error))
            for sock in opened:
                sock.close()
            return
        if sockets is not self._sockets:
            for sock in self._sockets:
                sock.close()
            self._sockets = sockets
        if operators is not self._desk.sockets:
            await self._desk.move(operators)
        self._together.note("configuration", "new workers serve, the old ones finish and leave", kind="reload")
        _log.info("new workers serve", extra={"fields": {"workers": config.workers.count}})
        if opened:
            public = listening.address(self._sockets[0].getsockname())
            _log.info("moved", extra={"fields": {"public": public, "operators": self._desk.address}})

    async def _upgrade(self) -> None:
        if why := await self._programs.unfit() or self._crew.homeless():
            self._say("gateway", "the program on disk is not taken: this one goes on", why)
            return
        _log.info("another program takes over")
        await self._crew.count()
        operators = [sock.dup() for sock in self._desk.sockets]  # the desk closes its own
        await self._desk.close()
        config, journal = self._crew.config, self._together.journal
        nodes, routing = self._orders.all()
        left = handover.Handover(
            sockets=[sock.fileno() for sock in self._sockets],
            listen=(config.listen.host, config.listen.port),
            operators=[sock.fileno() for sock in operators],
            operator=(config.operator.host, config.operator.port),
            workers=[handover.left(member) for member in self._crew.hand_over()],
            nodes=nodes,
            routing=routing,
            retired=self._crew.retired,
            events=list(journal.events),
            history=list(journal.history),
        )
        for number in (signal.SIGHUP, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)  # until the successor listens: its default would be to die
        assert self._folder is not None
        try:
            self._programs.become(handover.leave(left, self._folder))
        except OSError:
            self._crew.take_back()  # to end it in order
            raise

    async def _end(self, failed: bool) -> int:
        _log.info("draining", extra={"fields": {"workers": len(self._crew.members)}})
        self._together.draining = True
        self._desk.hurry()
        for sock in self._sockets:
            sock.close()
        await self._crew.stop()
        await self._desk.close()
        assert self._folder is not None
        shutil.rmtree(self._folder, ignore_errors=True)
        _log.info("stopped")
        return 1 if failed or self._crew.failed else 0

    def _say(self, subject: str, text: str, reason: str) -> None:
        """To operators, as an event and in the log."""
        self._together.note(subject, text, reason)
        _log.warning(f"{subject} {text}", extra={"fields": {"why": reason}})
