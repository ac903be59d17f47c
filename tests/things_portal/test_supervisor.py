"""The embedded services and their supervisor: real processes, killed and stopped for real (Y4)."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import redis as redis_client

from things_portal import cli, embedded
from things_portal.supervisor import LOUD, Failed, Stop, Supervisor, app_child

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="parent-death signals and /proc are Linux's")
stack = pytest.mark.stack

AS_ROOT = os.geteuid() == 0
OWN = {"DATABASE_URL", "REDIS_URL", "THINGS_HOME", "STATIC_ROOT", "SECRET_KEY", "THINGS_KEYRING", "ALLOWED_HOSTS"}


def until(ready: Callable[[], bool], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    tick = threading.Event()
    while not ready():
        if time.monotonic() > deadline:
            return False
        tick.wait(0.02)
    return True


def wait_gone(pid: int, seconds: float = 15) -> bool:
    """Whether a process that need not be our child ends in time."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    with os.fdopen(fd, "rb", closefd=True) as handle:
        return bool(select.select([handle], [], [], seconds)[0])


def living_in(folder: Path) -> list[int]:
    """The processes that work in a folder: PostgreSQL, each of its backends, and Redis."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink().is_relative_to(folder):
                found.append(int(process.name))
    return found


@dataclass
class Running:
    """`things services` as a process of its own."""

    root: Path
    process: subprocess.Popen[str]
    env: dict[str, str]
    stores: Path
    database: str = ""
    redis: str = ""

    def things(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "things_portal.cli", *arguments]
        return subprocess.run(command, env=self.env, cwd=cli.BASE_DIR, capture_output=True, text=True, check=False)

    def pid(self, name: str) -> int:
        children = json.loads((self.root / "run" / "state.json").read_text())["children"]
        return next(child["pid"] for child in children if child["name"] == name)

    def query(self, statement: str) -> object:
        with psycopg.connect(self.database, autocommit=True, connect_timeout=2) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchone()[0] if cursor.description else None

    def can_query(self) -> bool:
        try:
            return self.query("SELECT 1") == 1
        except psycopg.OperationalError:
            return False


def start(root: Path, prefix: tuple[str, ...] = ()) -> Running:
    env = {key: value for key, value in os.environ.items() if key not in OWN} | {"THINGS_HOME": str(root)}
    command = [*prefix, sys.executable, "-m", "things_portal.cli", "services"]
    process = subprocess.Popen(
        command, env=env, cwd=cli.BASE_DIR, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    running = Running(root, process, env, root)
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("PostgreSQL "):
            running.database = line.split()[1]
        elif line.startswith("Redis "):
            running.redis = line.split()[1]
            break
    assert running.redis, "".join(said)
    running.stores = Path(f"/proc/{running.pid('redis')}/cwd").readlink().parent
    return running


def finish(running: Running) -> None:
    if running.process.poll() is None:
        running.process.send_signal(signal.SIGTERM)
    try:
        running.process.communicate(timeout=20)
    finally:
        running.process.kill()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short folder that the stores' user can reach."""
    path = Path(tempfile.mkdtemp(prefix="things-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def services() -> Iterator[Running]:
    path = Path(tempfile.mkdtemp(prefix="things-"))
    path.chmod(0o755)
    running = start(path / ".things")
    yield running
    finish(running)
    shutil.rmtree(path, ignore_errors=True)


# --- the embedded services ---


@stack
def test_postgres_that_is_killed_comes_back_with_what_was_committed(services):
    services.query("CREATE TABLE kept AS SELECT 42 AS answer")
    pid = services.pid("postgres")
    os.kill(pid, signal.SIGKILL)
    assert wait_gone(pid)
    assert until(services.can_query)
    assert services.query("SELECT answer FROM kept") == 42
    assert services.pid("postgres") != pid


@stack
def test_redis_that_is_killed_comes_back_with_what_it_acknowledged(services):
    client = redis_client.Redis.from_url(services.redis)
    client.xadd("accepted", {"message": "one"})
    pid = services.pid("redis")
    os.kill(pid, signal.SIGKILL)
    assert wait_gone(pid)

    def answers() -> bool:
        with contextlib.suppress(redis_client.ConnectionError):
            return client.xlen("accepted") == 1
        return False

    assert until(answers)
    assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
    assert client.config_get("appendfsync")["appendfsync"] == "always"


@stack
def test_second_start_in_the_same_checkout_is_refused(services):
    second = services.things("up")
    assert second.returncode == cli.USAGE
    assert "already running" in second.stderr
    assert second.stderr.count("\n") == 1


@stack
def test_env_and_status_tell_what_runs(services):
    exports = services.things("env")
    said = subprocess.run(
        ["bash", "-c", f"{exports.stdout}\necho $DATABASE_URL"], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == services.database
    assert "THINGS_KEYRING" in exports.stdout
    status = services.things("status")
    assert status.returncode == 0
    assert str(services.pid("redis")) in status.stdout


@stack
def test_postgres_has_what_the_portal_needs(services):
    for extension in ("pg_trgm", "btree_gin"):
        services.query(f"CREATE EXTENSION IF NOT EXISTS {extension}")
    assert services.query("SHOW server_encoding") == "UTF8"
    assert services.query("SHOW timezone") == "UTC"
    assert services.query("SHOW fsync") == "on"
    assert services.query("SHOW synchronous_commit") == "on"
    assert services.query("SHOW listen_addresses") == ""
    assert services.query("SELECT lower('ÉÅ') || similarity('Zürich', 'zürich')") == "éå1"


@stack
def test_nobody_but_us_may_reach_the_sockets_and_the_secrets(services):
    assert (services.stores / "sock").stat().st_mode & 0o777 == 0o700
    assert (services.root / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert (services.root / "log").stat().st_mode & 0o777 == 0o700


@stack
def test_killed_supervisor_leaves_nothing_and_the_next_start_works(folder):
    first = start(folder / ".things")
    first.query("CREATE TABLE kept AS SELECT 7 AS answer")
    pids = living_in(first.stores)
    assert len(pids) > 2
    first.process.kill()
    first.process.communicate()
    assert all(wait_gone(pid) for pid in pids)
    again = start(folder / ".things")
    try:
        assert again.query("SELECT answer FROM kept") == 7
    finally:
        finish(again)
    assert again.process.returncode == 0
    assert living_in(again.stores) == []


@stack
@pytest.mark.skipif(not AS_ROOT, reason="only root runs the stores as somebody else")
def test_checkout_that_only_root_can_reach_keeps_its_rights_and_works(folder):
    folder.chmod(0o700)
    running = start(folder / "deep" / ".things")
    try:
        assert running.query("SELECT 1") == 1
        assert not running.stores.is_relative_to(folder)
        assert folder.stat().st_mode & 0o777 == 0o700
        assert folder.stat().st_uid == 0
    finally:
        finish(running)
        shutil.rmtree(running.stores)


@stack
@pytest.mark.skipif(not AS_ROOT, reason="the other tests already run as an ordinary user")
def test_ordinary_user_starts_and_stops_everything(folder):
    nobody = embedded.Account.for_stores()
    os.chown(folder, nobody.uid, nobody.gid)
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("there is no setpriv here")
    prefix = (setpriv, f"--reuid={nobody.uid}", f"--regid={nobody.gid}", "--clear-groups")
    if not nobody.can("-x", Path(sys.executable).resolve()):
        # The interpreter lies in root's home. Reading is allowed, so that it starts; nothing else is.
        prefix += ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    running = start(folder / ".things", prefix)
    try:
        assert running.query("SELECT 1") == 1
        assert Path(f"/proc/{running.process.pid}").stat().st_uid == nobody.uid
        assert (running.root / "postgres").stat().st_uid == nobody.uid
    finally:
        running.process.send_signal(signal.SIGINT)
        finish(running)
    assert running.process.returncode == 0
    assert living_in(running.stores) == []


# --- the supervisor, with small children ---


@pytest.fixture
def supervisor(tmp_path) -> Iterator[Supervisor]:
    with Supervisor(log=tmp_path, state=tmp_path / "state.json") as supervisor:
        yield supervisor


def shell(tmp_path: Path, script: str, name: str = "child"):
    return app_child(name, ["sh", "-c", script], {"PATH": os.environ["PATH"]}, tmp_path)


def test_output_goes_to_the_log_and_trouble_to_the_terminal(supervisor, tmp_path, capfd):
    supervisor.start(shell(tmp_path, "echo all is well; echo ERROR it is not; exec sleep 60"))
    log = tmp_path / "child.log"
    assert supervisor.wait_for(lambda: log.read_bytes().count(b"\n") == 2, 5)
    assert capfd.readouterr().out == "[child] ERROR it is not\n"


def test_log_of_the_start_before_is_kept_beside_the_new_one(supervisor, tmp_path):
    (tmp_path / "child.log").write_text("before\n")
    supervisor.start(shell(tmp_path, "exec sleep 60"))
    assert (tmp_path / "child.log.1").read_text() == "before\n"
    assert (tmp_path / "child.log").read_text() == ""


def test_process_that_never_stays_up_is_said_loudly_with_its_last_lines(supervisor, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("things_portal.supervisor.LONGEST_DELAY", 0.01)
    child = shell(tmp_path, "echo no such table; exit 3")
    supervisor.start(child)
    assert supervisor.wait_for(lambda: child.quick_deaths >= LOUD, 10)
    out = capfd.readouterr().out
    assert out.count("does not stay up") == 1
    assert "no such table" in out
    assert "ended (code 3)" in out


def test_delay_before_a_restart_grows_to_its_limit(supervisor, tmp_path, capfd):
    child = shell(tmp_path, "exit 1")
    delays = []
    for _ in range(6):
        supervisor._attach(child)
        child.process.wait()
        supervisor._died(child, child.started)
        delays.append(child.restart_at - child.started)
        child.restart_at = None
    assert delays == [1, 2, 4, 8, 10, 10]


def test_job_that_fails_stops_the_start_and_shows_why(supervisor, tmp_path):
    jobs = {
        "good": (["true"], dict(os.environ), tmp_path),
        "bad": (["sh", "-c", "echo relation does not exist; exit 1"], dict(os.environ), tmp_path),
    }
    with pytest.raises(Failed, match=r"bad failed:(?s:.*)relation does not exist"):
        supervisor.run(jobs, 10)
    assert supervisor.children == []


def test_stop_kills_what_does_not_listen_and_what_it_started(tmp_path, monkeypatch, capfd):
    script = "trap '' TERM; sh -c \"trap '' TERM; echo $$; while :; do sleep 60; done\" & echo $!; wait; wait"
    with Supervisor(log=tmp_path) as supervisor:
        child = shell(tmp_path, script)
        child.grace = 0.1
        supervisor.start(child)
        log = tmp_path / "child.log"
        assert supervisor.wait_for(lambda: log.read_bytes().count(b"\n") >= 2, 5)
        grandchild = int(log.read_text().split()[0])
    assert wait_gone(child.pid)
    assert wait_gone(grandchild)
    assert "does not stop: killed" in capfd.readouterr().out


def test_signal_asks_for_a_stop(supervisor):
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Stop):
        supervisor.pump(5)


def test_line_without_end_does_not_fill_the_memory(supervisor, tmp_path):
    child = shell(tmp_path, "head -c 3000000 /dev/zero | tr '\\0' x; exec sleep 60")
    supervisor.start(child)
    log = tmp_path / "child.log"
    assert supervisor.wait_for(lambda: log.stat().st_size == 3_000_000, 10)
    assert sum(map(len, child.tail)) == 0


# --- what `things` refuses, and remembers ---


@pytest.mark.parametrize("given", ["DATABASE_URL", "REDIS_URL"])
def test_one_address_without_the_other_is_refused(monkeypatch, capsys, given, tmp_path):
    for name in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(given, "somewhere")
    monkeypatch.setenv("THINGS_HOME", str(tmp_path))
    assert cli.main(["up"]) == cli.USAGE
    assert f"{given} is set" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["SECRET_KEY", "THINGS_KEYRING"])
def test_external_stores_need_the_keys_from_outside(monkeypatch, capsys, missing, tmp_path):
    monkeypatch.setenv("THINGS_HOME", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", "postgresql:///x")
    monkeypatch.setenv("REDIS_URL", "redis://x")
    monkeypatch.delenv(missing)
    assert cli.main(["up"]) == cli.USAGE
    assert missing in capsys.readouterr().err


def test_external_stores_get_no_demo_people_unasked(monkeypatch, tmp_path):
    monkeypatch.setenv("DATABASE_URL", "postgresql:///x")
    monkeypatch.setenv("REDIS_URL", "redis://x")
    monkeypatch.delenv("THINGS_DEMO", raising=False)
    assert cli.portal_environment(tmp_path)["THINGS_DEMO"] == "0"
    assert "THINGS_INSECURE_HTTP" not in cli.portal_environment(tmp_path)


def test_secrets_are_made_once(tmp_path):
    first = cli.kept_secrets(tmp_path)
    assert cli.kept_secrets(tmp_path) == first
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_port_that_is_taken_is_passed_over_or_refused_by_name():
    taken = cli.free_port("127.0.0.1", None)
    with cli.socket.socket() as holder:
        holder.bind(("127.0.0.1", taken))
        holder.listen()
        assert cli.free_port("127.0.0.1", None) > taken
        with pytest.raises(cli.Refused, match=str(taken)):
            cli.free_port("127.0.0.1", taken)


def test_socket_folder_of_a_deep_checkout_is_short(folder):
    deep = folder / ("x" * 120)
    deep.mkdir()
    home = embedded.Home.prepare(deep / ".things")
    try:
        assert not home.sockets.is_relative_to(deep)
        assert len(os.fsencode(home.sockets / ".s.PGSQL.5432.lock")) <= embedded.SOCKET_PATH_LIMIT
        assert home.sockets.stat().st_mode & 0o777 == 0o700
        assert home.sockets.stat().st_uid == home.account.uid
        assert home.stores.is_relative_to(deep)
    finally:
        shutil.rmtree(home.sockets)


def test_data_of_another_postgres_is_refused_and_left_alone(folder):
    home = embedded.Home.prepare(folder / ".things")
    (home.stores / "postgres").mkdir()
    (home.stores / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(embedded.StoreError, match="made by PostgreSQL 9"):
        embedded.Postgres(home).prepare()
    assert (home.stores / "postgres" / "PG_VERSION").read_text() == "9\n"


def test_data_of_a_newer_redis_is_refused(folder):
    home = embedded.Home.prepare(folder / ".things")
    redis = embedded.Redis(home)
    redis.prepare()
    (redis.data / "appendonly.aof").write_text("")
    (home.run / "redis-version").write_text("99.0")
    with pytest.raises(embedded.StoreError, match=r"written by Redis 99\.0"):
        redis.prepare()


def test_lock_file_whose_number_now_belongs_to_another_process_is_dropped(folder):
    home = embedded.Home.prepare(folder / ".things")
    postgres = embedded.Postgres(home)
    postgres.data.mkdir()
    (postgres.data / "PG_VERSION").write_text(str(postgres.major))
    lock = postgres.data / "postmaster.pid"
    lock.write_text(f"{os.getpid()}\n")
    postgres.prepare()
    assert not lock.exists()


def test_binary_that_the_stores_user_cannot_reach_is_copied(folder):
    if not AS_ROOT:
        pytest.skip("only root runs the stores as somebody else")
    home = embedded.Home.prepare(folder / ".things")
    hidden = folder / "hidden"
    (hidden / "tool").mkdir(parents=True)
    shutil.copy("/bin/true", hidden / "tool" / "true")
    hidden.chmod(0o700)
    path = home.runnable(hidden / "tool" / "true", hidden, "tool")
    assert not path.is_relative_to(hidden)
    assert subprocess.run([path], check=False, **home.account.popen).returncode == 0
    assert home.runnable(hidden / "tool" / "true", hidden, "tool") == path
