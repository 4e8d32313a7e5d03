"""All workers of a gateway: started together, replaced when they die, exchanged for new ones, sent away.

Every worker takes clients from listening sockets that the parent holds: while any worker lives nobody is refused, and a
worker that dies takes with it only what it had accepted. A newcomer is let in when it can serve, or when nobody can.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path

from gateway.config import GatewayConfig
from gateway.workers.exposition import added, remains
from gateway.workers.loads import PLACES, Loads
from gateway.workers.member import Member
from gateway.workers.process import Process, described
from gateway.workers.share import share
from gateway.workers.told import Command, Family, Order, Told

_log = logging.getLogger("gateway.parent")
RESTART_MIN, RESTART_MAX = 0.5, 15.0  # seconds; a worker that keeps dying must not keep the machine busy
_LOOK_SECONDS = 0.05
_FIRST_WORD_SECONDS = 2.0
_LIVELY_SECONDS, _COUNT_SECONDS = 1.0, 10.0
# Beyond what a worker gives its last requests; then it is killed.
_FAREWELL_SECONDS = 5.0
_LOADS = "loads"

Tell = Callable[[str, str, str], None]  # subject, text, reason


class CannotStart(Exception):
    """Why workers do not come up, in one line."""


class Crew:
    """The workers of one configuration after another."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        config: GatewayConfig,
        hear: Callable[[Told], None],
        tell: Tell,
    ) -> None:
        """`command` starts a worker; `folder` is private and holds their sockets.

        `hear` gets what they tell, `tell` is told what operators should know.
        """
        self.config = config
        self.greet: Callable[[Member], Awaitable[None]] = _nobody  # brings a newcomer up to date
        self.sockets: list[socket.socket] = []
        self.serving: list[Member] = []
        self.starting: list[Member] = []
        self.leaving: list[Member] = []
        self.retired: list[Family] = []  # what workers had counted that have ended
        path = folder / _LOADS
        self._loads = Loads(path) if path.exists() else Loads.make(path)
        self._command = command
        self._folder = folder
        self._hear = hear
        self._tell = tell
        self._tasks: set[asyncio.Task[None]] = set()
        self._restarts: set[asyncio.Task[None]] = set()
        self.failed = False  # a worker of ours did not end well when it was told to

    @property
    def members(self) -> list[Member]:
        """All whose numbers count."""
        return [*self.serving, *self.leaving]

    async def start(self, sockets: list[socket.socket]) -> None:
        """The first workers: they take in clients at once, as a single process does. Raises CannotStart."""
        self.sockets = sockets
        self.serving = await self._raised(self.config, sockets, at_once=True)
        for member in self.serving:
            self._attend(member)

    def adopt(self, process: Process, families: list[Family], *, leaving: bool) -> None:
        """A worker of the program that we replaced, with what it had counted."""
        member = Member(process, self._hear)
        member.leaving, member.families = leaving, families
        (self.leaving if leaving else self.serving).append(member)
        self._attend(member)
        if leaving:
            self._see_off(member)

    async def exchange(self, config: GatewayConfig, sockets: list[socket.socket]) -> None:
        """New workers for the old: those leave once these can serve. Raises CannotStart; then all is as before."""
        fresh = await self._raised(config, sockets, at_once=False)
        before = list(self.serving)
        self.config, self.sockets = config, sockets
        for member in fresh:
            await self._let_in(member)
            self._attend(member)
        for restart in self._restarts:  # of whom has been replaced otherwise
            restart.cancel()
        for member in before:
            if member in self.serving:
                await self._send_away(member)

    async def heard(self) -> None:
        """Wait for the first word of everybody, but not long: nobody must be told of a fleet without nodes."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_WORD_SECONDS):
                while not all(member.told for member in self.serving):  # noqa: ASYNC110 # once in a program's life
                    await asyncio.sleep(_LOOK_SECONDS)

    async def thinned(self) -> None:
        """Wait until at most one generation is leaving: reload after reload must not fill the machine."""
        while len(self.leaving) > self.config.workers.count:  # noqa: ASYNC110 # nobody waits for this often
            await asyncio.sleep(_LOOK_SECONDS)

    async def configure(self, config: GatewayConfig) -> None:
        """What can change while running; certificates are read again."""
        self.config = config
        for member in self.serving:
            await member.process.tell(Command(do="configure", config=share(config)))

    async def stop(self) -> None:
        """Finish everything and end."""
        for task in self._restarts:
            task.cancel()
        await asyncio.gather(*self._restarts, return_exceptions=True)
        members, self.serving = [*self.serving, *self.leaving], []
        for member in members:
            member.leaving = True
            member.process.signal(signal.SIGTERM)
        self.leaving = members
        await asyncio.gather(*(member.process.leave(self._patience) for member in members))
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def keep_lively(self) -> None:
        """Kill who is silent for longer than the configuration allows; until cancelled."""
        looked = time.monotonic()
        while True:
            await asyncio.sleep(_LIVELY_SECONDS)
            before, looked = looked, time.monotonic()
            if looked - before < 2 * _LIVELY_SECONDS:  # else it was we who slept
                self._kill_the_silent(looked)

    async def keep_count(self) -> None:
        """Note now and then what all have counted, as one that is killed says no last word; until cancelled."""
        while True:
            await asyncio.sleep(_COUNT_SECONDS)
            await self.count()

    async def count(self) -> list[Family]:
        """The metrics of all, with what those had counted that have ended."""
        counted = await asyncio.gather(*(member.count() for member in self.members))
        return added([*counted, self.retired])

    def hand_over(self) -> list[Member]:
        """Let go of all without ending them: for the program that takes our place."""
        for task in [*self._tasks, *self._restarts]:
            task.cancel()
        for member in self.starting:
            member.process.signal(signal.SIGKILL)
        return self.members

    def take_back(self) -> None:
        """Nobody took them over."""
        for member in self.members:
            member.process.take_back()

    def homeless(self) -> str:
        """Make the folder anew if somebody swept it away with other temporary files; why that cannot be, or ""."""
        path = self._folder / _LOADS
        try:
            if not self._folder.exists():
                self._folder.mkdir(mode=0o700)
            if not path.exists():
                self._loads = Loads.make(path)
        except OSError as error:
            return f"{path}: {error.strerror or error}"
        return ""

    @property
    def _patience(self) -> float:
        return self.config.limits.drain_seconds + _FAREWELL_SECONDS

    def _kill_the_silent(self, now: float) -> None:
        for member in self.serving:
            silent = now - member.heard
            if silent > self.config.workers.hang_seconds:
                self._tell(str(member), "is killed", f"it was silent for {silent:.0f} s")
                member.process.signal(signal.SIGKILL)

    async def _raised(self, config: GatewayConfig, sockets: list[socket.socket], *, at_once: bool) -> list[Member]:
        """As many as configured, all ready. Raises CannotStart, and none is left."""
        numbers = range(1, config.workers.count + 1)
        fresh: list[Member] = []
        try:
            for number in numbers:
                fresh.append(await self._born(number, config, sockets, at_once=at_once))
            async with asyncio.timeout(config.workers.start_seconds):
                await asyncio.gather(*(self._ready(member) for member in fresh))
                while not (all(each.told for each in fresh) if at_once else self._fit(fresh)):
                    self._check_alive(fresh)
                    await asyncio.sleep(_LOOK_SECONDS)
        except BaseException as error:
            await self._abandon(fresh)
            if isinstance(error, TimeoutError):
                said = f"they were not ready within workers.start_seconds = {config.workers.start_seconds:g}"
                raise CannotStart(said) from None
            if isinstance(error, OSError):
                raise CannotStart(str(error)) from None
            raise
        for member in fresh:
            self.starting.remove(member)
        return fresh

    async def _born(
        self, number: int, config: GatewayConfig, sockets: list[socket.socket], *, at_once: bool = False
    ) -> Member:
        if why := self.homeless():
            raise CannotStart(why)
        taken = {member.process.place for member in (*self.members, *self.starting)}
        order = Order(
            config=share(config),
            number=number,
            loads=str(self._folder / _LOADS),
            place=next(place for place in range(PLACES) if place not in taken),
            sockets=[sock.fileno() for sock in sockets],
            operators=str(self._folder / f"{number}-{time.monotonic_ns():x}"),
            at_once=at_once,
        )
        member = Member(await Process.start(self._command, order), self._hear)
        self.starting.append(member)
        return member

    async def _ready(self, member: Member) -> None:
        process = member.process
        waits = [asyncio.ensure_future(event.wait()) for event in (process.ready, process.ended)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        self._check_alive([member])

    def _check_alive(self, members: Sequence[Member]) -> None:
        for member in members:
            if member.process.ended.is_set():
                why = member.process.why or f"it ended with {described(member.process.code)}"
                raise CannotStart(f"{member}: {why}")

    def _fit(self, fresh: Sequence[Member]) -> bool:
        """Whether newcomers can do what those can who serve now."""
        return all(member.can_serve for member in fresh) or not any(member.can_serve for member in self.serving)

    async def _abandon(self, members: Sequence[Member]) -> None:
        for member in members:
            self.starting.remove(member)
            member.process.signal(signal.SIGKILL)
            await member.process.ended.wait()
            await member.close()

    async def _let_in(self, member: Member) -> None:
        await self.greet(member)
        await member.process.tell(Command(do="open"))
        self.serving.append(member)

    async def _send_away(self, member: Member) -> None:
        member.leaving = True
        self.serving.remove(member)
        self.leaving.append(member)
        await member.process.tell(Command(do="leave", grace=self.config.workers.handover_seconds))
        self._see_off(member)

    def _see_off(self, member: Member) -> None:
        """One that hangs while it leaves would stay for ever, and let no later reload be thinned."""
        self._spawn(member.process.leave(self.config.workers.handover_seconds + self._patience))

    def _attend(self, member: Member) -> None:
        self._spawn(self._until_it_ends(member))

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _until_it_ends(self, member: Member) -> None:
        process = member.process
        await process.ended.wait()
        self._loads.leave(process.place)
        await member.close()
        nodes = self._nodes()
        kept = [family for each in member.families if (family := remains(each, nodes)) is not None]
        self.retired = added([self.retired, kept])
        if member.leaving:
            self.leaving.remove(member)
            self.failed = self.failed or process.code != 0
            return
        self.serving.remove(member)
        self._tell(str(member), f"died ({described(process.code)})", "another takes its place")
        restart = asyncio.get_running_loop().create_task(self._replace(process))
        self._restarts.add(restart)
        restart.add_done_callback(self._restarts.discard)

    async def _replace(self, dead: Process) -> None:
        pause = RESTART_MIN if time.monotonic() - dead.started > RESTART_MAX else 2 * RESTART_MIN
        while True:
            await asyncio.sleep(pause)
            pause = min(pause * 2, RESTART_MAX)
            try:
                member = await self._reborn(dead.number)
            except (CannotStart, OSError) as error:
                self._tell(f"worker {dead.number}", f"does not come back; again in {pause:g} s", str(error))
                continue
            await self._let_in(member)
            self._attend(member)
            self._tell(str(member), "serves again", f"after worker {dead.number} had died")
            return

    async def _reborn(self, number: int) -> Member:
        """One that is fit to be let in; waits for that as long as others serve. Raises CannotStart or OSError."""
        member = await self._born(number, self.config, self.sockets)
        try:
            async with asyncio.timeout(self.config.workers.start_seconds):
                await self._ready(member)
            while not self._fit([member]):
                self._check_alive([member])
                await asyncio.sleep(_LOOK_SECONDS)
        except BaseException as error:
            await self._abandon([member])
            if isinstance(error, TimeoutError):
                raise CannotStart("it was not ready in time") from None
            raise
        self.starting.remove(member)
        return member

    def _nodes(self) -> frozenset[str]:
        documents = [member.told.document for member in self.members if member.told is not None]
        return frozenset(node.id for document in documents for node in document.nodes)


async def _nobody(_member: Member) -> None:
    """There is nothing to tell."""
