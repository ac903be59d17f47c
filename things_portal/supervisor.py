"""Starts, watches, restarts and stops the processes of one portal: one thread, one loop, nothing left behind.

Every child is a session of its own (Ctrl-C in the terminal reaches only the supervisor, which stops them in
order) and asks the kernel for a signal should the supervisor die without a word.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from .embedded import Store, die_with_parent, spawn

QUICK = 20.0  # seconds: a process that lives shorter than this has not really started
LOUD = 5  # quick deaths in a row after which it is said loudly
LONGEST_DELAY = 10.0
APP_GRACE = 8.0
STORE_GRACE = 20.0
TROUBLE = re.compile(rb"\b(ERROR|CRITICAL|FATAL|PANIC|Traceback|Error:)")
# Statements that fail are for whoever sent them; a server that is not up yet says so to whoever asks.
STORE_TROUBLE = re.compile(rb"FATAL(?!:  the database system is|:  terminating)|PANIC|OOM|Bad file format")
ECHOED = 20  # lines of trouble shown per process in ECHO_WINDOW seconds; the rest is in its log
ECHO_WINDOW = 10.0


class Stop(Exception):
    """Somebody asked the supervisor to stop."""


class Failed(Exception):
    """The start cannot go on; the message says why, with the last lines of the process that failed."""


def say(text: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


@dataclass
class Child:
    """One process that is kept running."""

    name: str
    spawn: Callable[[int], subprocess.Popen[bytes]]  # takes the file descriptor for its output
    stop_signal: int = signal.SIGTERM
    grace: float = APP_GRACE  # seconds between asking it to stop and killing it
    trouble: re.Pattern[bytes] = TROUBLE
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    restart_at: float | None = None
    quick_deaths: int = 0
    restarts: int = 0
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=15))
    echoes: deque[float] = field(default_factory=lambda: deque(maxlen=ECHOED))

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process else None


def store_child(store: Store) -> Child:
    """PostgreSQL or Redis; before each start stale lock files of a killed one are looked at again."""

    def start(output: int) -> subprocess.Popen[bytes]:
        store.prepare()
        return spawn(store, output=output)

    return Child(store.name, start, store.stop_signal, STORE_GRACE, STORE_TROUBLE)


def app_child(
    name: str,
    command: Sequence[str],
    env: Mapping[str, str],
    cwd: Path,
    orphan_signal: int = signal.SIGTERM,
) -> Child:
    """A process of the portal itself; `orphan_signal` is what it gets when the supervisor has died.

    A master that is told can stop its own workers; SIGKILL would orphan them.
    """

    def start(output: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent(orphan_signal),  # noqa: PLW1509 - there are no threads
        )

    return Child(name, start)


class Supervisor:
    """Use as a context manager: leaving it stops everything, in the reverse order of starting."""

    def __init__(self, *, log: Path, state: Path | None = None) -> None:
        self.log = log
        self.state = state
        self.address = ""
        self.children: list[Child] = []
        self.stopping = False
        self.asked = 0  # signals to stop so far
        self._selector = selectors.DefaultSelector()
        self._outputs: dict[int, IO[bytes]] = {}  # the pipe from a child, and its log
        self._old_handlers: dict[int, Any] = {}
        self._wake, self._waker = socket.socketpair()

    def __enter__(self) -> Supervisor:
        self._wake.setblocking(False)
        self._waker.setblocking(False)
        self._selector.register(self._wake, selectors.EVENT_READ, self._drain)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._old_handlers[number] = signal.signal(number, self._ask_to_stop)
        # A handler is needed for the death of a child to wake the loop.
        self._old_handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in self._old_handlers.items():
                signal.signal(number, handler)
            self._drain_outputs()
            self._selector.close()
            self._wake.close()
            self._waker.close()
            if self.state:
                self.state.unlink(missing_ok=True)

    # --- starting -------------------------------------------------------------------------------------------

    def start(self, child: Child) -> None:
        """Start a child and keep it running from now on."""
        self.children.append(child)
        self._rotate(child.name)
        self._launch(child)

    def await_ready(self, child: Child, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until a child is ready; raises Failed after `seconds`, or when it has died too often before."""
        self.wait_for(lambda: ready() or child.quick_deaths >= LOUD, seconds)
        if not ready():
            raise Failed(f"{child.name} does not start:\n{self.last_lines(child)}")

    def run(self, jobs: Mapping[str, tuple[Sequence[str], Mapping[str, str], Path]], seconds: float) -> None:
        """Run commands to their end, side by side; raises Failed for one that fails or is too slow."""
        running: list[Child] = []
        for name, (command, env, cwd) in jobs.items():
            self._rotate(name)
            child = app_child(name, command, env, cwd)
            self._attach(child)
            running.append(child)
        try:
            finished = self.wait_for(lambda: all(c.process and c.process.poll() is not None for c in running), seconds)
            self.pump(0)
            for child in running:
                if not finished or (child.process and child.process.returncode):
                    raise Failed(f"{child.name} failed:\n{self.last_lines(child)}")
        finally:
            self._end(running)

    def last_lines(self, child: Child) -> str:
        """What it wrote last, and where the rest is."""
        deadline = time.monotonic() + 0.3
        self._select(0)
        while not child.tail and time.monotonic() < deadline:
            self._select(0.05)
        return "\n".join(f"    {line}" for line in child.tail) + f"\n    (all of it: {self.log / child.name}.log)"

    # --- the loop -------------------------------------------------------------------------------------------

    def pump(self, seconds: float) -> None:
        """Handle output, deaths and restarts for up to `seconds`; raises Stop once somebody asked."""
        self._select(seconds)
        if self.asked and not self.stopping:
            raise Stop
        now = time.monotonic()
        for child in self.children:
            if child.process is not None and child.process.poll() is not None and child.restart_at is None:
                self._died(child, now)
            elif child.restart_at is not None and now >= child.restart_at:
                child.restarts += 1
                self._launch(child)

    def wait_for(self, ready: Callable[[], bool], seconds: float) -> bool:
        """Ask `ready` ten times a second, more often at first; False when it was not in time."""
        deadline = time.monotonic() + seconds
        pause = 0.01
        while not ready():
            if time.monotonic() > deadline:
                return False
            # Output wakes the loop, and asking may cause output: so the pause is kept whatever happens.
            again = time.monotonic() + pause
            while (left := again - time.monotonic()) > 0:
                self.pump(left)
            pause = min(pause * 1.5, 0.1)
        return True

    def forever(self) -> None:
        while True:
            self.pump(1.0)

    # --- stopping -------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Apps first, all at once; then the stores, each with the time it needs. A second signal hurries."""
        self.stopping = True
        apps = [child for child in self.children if child.grace == APP_GRACE]
        stores = [child for child in self.children if child.grace != APP_GRACE]
        self._end(apps)
        self._end(stores)

    def _end(self, children: list[Child]) -> None:
        for child in children:
            child.restart_at = None
            if child in self.children:
                self.children.remove(child)
        alive = [child for child in children if child.alive]
        for child in alive:
            if child.process:
                child.process.send_signal(child.stop_signal)
        asked = self.asked
        deadline = time.monotonic() + max((child.grace for child in alive), default=0)
        while alive and time.monotonic() < deadline and not (asked and self.asked > asked):
            self._select(0.1)
            alive = [child for child in alive if child.alive]
        for child in alive:
            say(f"[{child.name}] does not stop: killed")
        for child in children:
            self._sweep(child)
        self._select(0)

    def _sweep(self, child: Child) -> None:
        """Kill what is left of its session, such as workers of a master that was killed; reap the master."""
        if child.process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()

    # --- one child ------------------------------------------------------------------------------------------

    def _launch(self, child: Child) -> None:
        child.restart_at = None
        self._attach(child)
        self._write_state()

    def _attach(self, child: Child) -> None:
        """Spawn it with its output in a pipe that goes to its log, and trouble to the terminal too."""
        out, into = os.pipe()
        try:
            child.process = child.spawn(into)
        except BaseException:
            os.close(out)
            raise
        finally:
            os.close(into)
        child.started = time.monotonic()
        os.set_blocking(out, False)
        self._selector.register(out, selectors.EVENT_READ, self._reader(child, out))

    def _died(self, child: Child, now: float) -> None:
        code = child.process.returncode if child.process else 0
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"code {code}"
        self._sweep(child)
        child.process = None
        child.quick_deaths = child.quick_deaths + 1 if now - child.started < QUICK else 0
        delay = min(LONGEST_DELAY, 2.0 ** max(0, child.quick_deaths - 1))
        child.restart_at = now + delay
        say(f"[{child.name}] ended ({how}); starts again in {delay:.0f} s")
        if child.quick_deaths == LOUD:
            say(
                f"\n*** {child.name} does not stay up: it ended {LOUD} times, each within {QUICK:.0f} s of "
                f"starting. It last wrote:\n{self.last_lines(child)}\n"
            )

    def _reader(self, child: Child, fd: int) -> Callable[[], bool]:
        """Reads once from a child's output; False when there was nothing (more) to read."""
        log = (self.log / f"{child.name}.log").open("ab", buffering=0)
        rest = b""

        def read() -> bool:
            nonlocal rest
            try:
                chunk = os.read(fd, 65536)
            except BlockingIOError:
                return False
            log.write(chunk)
            lines = (rest + chunk).split(b"\n")
            # A line without end is cut, so that a child cannot fill our memory.
            rest = lines.pop()[-8192:]
            if not chunk:
                self._close_output(fd)
                lines += [rest] if rest else []
            self._note(child, lines)
            return bool(chunk)

        self._outputs[fd] = log
        return read

    def _note(self, child: Child, lines: Iterable[bytes]) -> None:
        now = time.monotonic()
        for line in lines:
            text = line.decode(errors="replace").rstrip()
            if not text:
                continue
            child.tail.append(text)
            full = len(child.echoes) == ECHOED and now - child.echoes[0] < ECHO_WINDOW
            if child.trouble.search(line) and not self.stopping and not full:
                child.echoes.append(now)
                say(f"[{child.name}] {text}")

    def _close_output(self, fd: int) -> None:
        self._selector.unregister(fd)
        os.close(fd)
        self._outputs.pop(fd).close()

    def _drain_outputs(self) -> None:
        """Take what the ended children still had in their pipes, and close them."""
        for fd in list(self._outputs):
            read = self._selector.get_key(fd).data
            # Bounded: somebody who fled from a child's session could hold its pipe open, and write for ever.
            for _ in range(100):
                if fd not in self._outputs or not read():
                    break
            if fd in self._outputs:
                self._close_output(fd)

    # --- small things ---------------------------------------------------------------------------------------

    def _select(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            key.data()

    def _drain(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            while self._wake.recv(4096):
                pass
        return False

    def _ask_to_stop(self, *_: object) -> None:
        self.asked += 1

    def _rotate(self, name: str) -> None:
        log = self.log / f"{name}.log"
        if log.exists():
            log.replace(self.log / f"{name}.log.1")

    def _write_state(self) -> None:
        if self.state is None:
            return
        facts = {"pid": os.getpid(), "address": self.address, "children": list(self._facts())}
        fresh = self.state.with_suffix(".new")
        fresh.write_text(json.dumps(facts))
        fresh.replace(self.state)

    def announce(self, address: str) -> None:
        """Note the address under which the portal answers, for `things status`."""
        self.address = address
        self._write_state()

    def _facts(self) -> Iterator[dict[str, object]]:
        for child in self.children:
            yield {"name": child.name, "pid": child.pid, "restarts": child.restarts}
