"""The `things` command: starts the whole portal, or its stores alone, and tells about what runs.

`things up` needs nothing but the checkout: PostgreSQL and Redis are embedded unless DATABASE_URL and
REDIS_URL name others. Everything made at run time lies under THINGS_HOME (`.things` in the checkout).
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from . import assets
from .embedded import Home, StoreError, make_root, stores
from .supervisor import Child, Failed, Stop, Supervisor, app_child, say, store_child

BASE_DIR = Path(__file__).resolve().parent.parent
USAGE = 2  # exit code: what was asked for cannot be, nothing was started
READY_SECONDS = 60.0
JOB_SECONDS = 600.0


class Refused(Exception):
    """What was asked cannot be done; the message is one clear sentence."""


# --- where and with what ----------------------------------------------------------------------------------


def things_home() -> Path:
    return Path(os.environ.get("THINGS_HOME") or BASE_DIR / ".things").absolute()


def external() -> bool:
    """Whether the caller's environment names the stores; raises Refused for half an answer."""
    given = [name for name in ("DATABASE_URL", "REDIS_URL") if os.environ.get(name)]
    if len(given) == 1:
        other = "REDIS_URL" if given == ["DATABASE_URL"] else "DATABASE_URL"
        raise Refused(f"{given[0]} is set and {other} is not: set both, or neither for the embedded stores.")
    missing = [name for name in ("SECRET_KEY", "THINGS_KEYRING") if not os.environ.get(name)]
    if given and missing:
        raise Refused(f"With DATABASE_URL and REDIS_URL set, {' and '.join(missing)} must be set too.")
    return bool(given)


def kept_secrets(root: Path) -> dict[str, str]:
    """The keys of this checkout, made once: without them the secrets in its database cannot be read."""
    path = root / "secrets.json"
    if not path.is_file():
        made = {
            "SECRET_KEY": secrets.token_urlsafe(48),
            "THINGS_KEYRING": f"k1:{base64.b64encode(secrets.token_bytes(32)).decode()}",
        }
        fresh = path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(made, file)
        fresh.replace(path)
    kept: dict[str, str] = json.loads(path.read_text())
    return kept


def portal_environment(root: Path, host: str = "127.0.0.1") -> dict[str, str]:
    """What this adds to the environment of the portal's processes. What the caller set goes before it."""
    names = ["localhost", "127.0.0.1", "[::1]"]
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - only compared
        names.append(socket.gethostname())
    elif host not in names:
        names.append(f"[{host}]" if ":" in host else host)
    made = {
        "THINGS_HOME": str(root),
        "STATIC_ROOT": str(root / "static"),
        "ALLOWED_HOSTS": ",".join(names),
        "PYTHONUNBUFFERED": "1",
    }
    if external():
        # A database of somebody's own gets no people with known passwords and no invented devices unasked.
        made |= {"THINGS_DEMO": "0", "THINGS_SIMULATED_NETWORK": "0"}
    else:
        home = Home.prepare(root)
        postgres, redis = stores(home)
        made |= kept_secrets(root)
        made |= {"DATABASE_URL": postgres.url, "REDIS_URL": redis.url, "THINGS_INSECURE_HTTP": "1"}
    return {name: os.environ.get(name) or value for name, value in made.items()}


@contextlib.contextmanager
def only_one(root: Path) -> Iterator[None]:
    """Hold the lock of a home; the kernel lets go of it when we die."""
    make_root(root)
    with (root / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"The portal of {root} is already running; stop that one first.") from None
        yield


def is_running(root: Path) -> bool:
    try:
        with (root / "lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def free_port(host: str, wanted: int | None) -> int:
    """The port asked for, or 8000, or the first free one after it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in [wanted] if wanted else range(8000, 8100):
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                if wanted:
                    raise Refused(f"Port {port} of {host} cannot be used: {error.strerror}.") from None
                continue
            return port
    raise Refused(f"None of the ports 8000 to 8099 of {host} is free; choose one with --port.")


def count(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdecimal():
        raise Refused(f"{name} must be a whole number, not {text!r}.")
    return int(text)


# --- what is started --------------------------------------------------------------------------------------


def start_stores(supervisor: Supervisor, root: Path) -> None:
    pair = stores(Home.prepare(root))
    for store in pair:
        store.stop_stray()
    children = {store.name: store_child(store) for store in pair}
    for child in children.values():
        supervisor.start(child)
    for store in pair:
        supervisor.await_ready(children[store.name], store.answers, READY_SECONDS)
        store.finish()


def make_ready(supervisor: Supervisor, root: Path, env: dict[str, str], *, demo: bool) -> None:
    """Migrations, static files and demo data, each only when what it depends on has changed."""
    manage = [sys.executable, str(BASE_DIR / "manage.py")]
    lock = BASE_DIR / "requirements.lock"
    # Somebody else may change an external database, so it is always looked at.
    database = "" if external() else stores(Home.prepare(root))[0].identity()
    migrations = digest([*BASE_DIR.glob("*/migrations/*.py"), lock], database)
    static = digest(
        [path for folder in ("static", "*/static") for path in BASE_DIR.glob(f"{folder}/**/*") if path.is_file()]
        + [lock, BASE_DIR / "things_portal" / "settings.py"],
        env["STATIC_ROOT"],
    )
    seeds = [*BASE_DIR.glob("*/management/commands/seed_demo.py"), *BASE_DIR.glob("*/demo.py")]
    with Stamps(root / "run" / "stamps.json") as stamps:
        jobs = {}
        if not database or stamps.differ("migrate", migrations):
            jobs["migrate"] = ([*manage, "migrate", "--noinput", "--verbosity", "1"], env, BASE_DIR)
        if stamps.differ("collectstatic", static) or not Path(env["STATIC_ROOT"]).is_dir():
            command = [*manage, "collectstatic", "--noinput", "--clear", "--verbosity", "0"]
            jobs["collectstatic"] = (command, env, BASE_DIR)
        if jobs:
            supervisor.run(jobs, JOB_SECONDS)
        stamps.keep("migrate", migrations)
        stamps.keep("collectstatic", static)
        seeded = digest([*seeds, *BASE_DIR.glob("*/migrations/*.py")], database)
        if demo and seeds and (not database or stamps.differ("seed_demo", seeded)):
            supervisor.run({"seed_demo": ([*manage, "seed_demo"], env, BASE_DIR)}, JOB_SECONDS)
            stamps.keep("seed_demo", seeded)


def local_address(host: str, port: int) -> str:
    """Where the portal's own processes reach it by HTTP."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{reached}:{port}"


def start_apps(supervisor: Supervisor, env: dict[str, str], host: str, port: int) -> Child:
    """Start the portal's own processes; gives the web server, whose address is not ready yet."""

    def app(name: str, *command: str, orphan_signal: int = signal.SIGTERM) -> Child:
        child = app_child(name, [sys.executable, *command], env, BASE_DIR, orphan_signal)
        supervisor.start(child)
        return child

    manage = str(BASE_DIR / "manage.py")
    celery = ["-m", "celery", "-A", "things_portal"]
    web = app(
        *("web", "-m", "granian", "--interface", "asgi", "--host", host, "--port", str(port)),
        *("--workers", str(count("THINGS_WEB_WORKERS", 1)), "--backpressure", "4096"),
        *("--workers-kill-timeout", "5", "--respawn-failed-workers", "things_portal.asgi:application"),
    )
    app(
        *("worker", *celery, "worker", "--pool", "prefork", "--without-gossip", "--without-mingle"),
        *("--concurrency", str(count("THINGS_CELERY_CONCURRENCY", 2)), "--loglevel", "INFO"),
        # Its SIGTERM waits for the tasks at hand, which nobody would end. They come back: they are acked late.
        orphan_signal=signal.SIGQUIT,
    )
    schedule = Path(env["THINGS_HOME"]) / "run" / "beat-schedule"
    app("beat", *celery, "beat", "-s", str(schedule), "--pidfile=", "--loglevel", "INFO")
    for number in range(1, count("THINGS_INGEST_CONSUMERS", 2) + 1):
        app(f"ingest-{number}", manage, "ingest_consumer")
    app("deliverer", manage, "deliver")
    if env["THINGS_SIMULATED_NETWORK"] != "0":
        app("simulator", manage, "simulated_network")
        app("senders", manage, "simulated_senders", "--address", local_address(host, port))
    return web


# --- commands ---------------------------------------------------------------------------------------------


def up(arguments: argparse.Namespace) -> int:
    root, host = things_home(), arguments.host
    own_stores = not external()
    with only_one(root):
        env = {
            "THINGS_SIMULATED_NETWORK": "1",
            "THINGS_DEMO": "1",
            **os.environ,
            **portal_environment(root, host),
        }
        demo = env["THINGS_DEMO"] != "0" and not arguments.no_demo
        for folder in ("log", "run"):
            (root / folder).mkdir(mode=0o700, exist_ok=True)
        port = free_port(host, arguments.port)
        with Supervisor(log=root / "log", state=root / "run" / "state.json") as supervisor:
            if own_stores:
                say("Starting PostgreSQL and Redis")
                start_stores(supervisor, root)
            say("Preparing the database and the pages")
            make_ready(supervisor, root, env, demo=demo)
            say("Starting the portal")
            web = start_apps(supervisor, env, host, port)
            supervisor.await_ready(web, lambda: serves(host, port), READY_SECONDS)
            shown = {"0.0.0.0": "localhost", "::": "localhost", "127.0.0.1": "localhost"}.get(host, host)  # noqa: S104
            address = f"http://[{shown}]:{port}/" if ":" in shown else f"http://{shown}:{port}/"
            supervisor.announce(address)
            say(f"\n  Things Portal   {address}")
            if demo:
                for line in sign_ins(root):
                    say(f"  sign in         {line}")
            say("\nCtrl-C stops everything.")
            supervisor.forever()
    return 0


def services(arguments: argparse.Namespace) -> int:
    if external():
        raise Refused("DATABASE_URL and REDIS_URL are set: there is nothing to start.")
    root = things_home()
    with only_one(root):
        env = portal_environment(root)
        with Supervisor(log=root / "log", state=root / "run" / "state.json") as supervisor:
            start_stores(supervisor, root)
            supervisor.announce("")
            say(f"PostgreSQL  {env['DATABASE_URL']}\nRedis       {env['REDIS_URL']}\nCtrl-C stops both.")
            supervisor.forever()
    return 0


def run(arguments: argparse.Namespace) -> int:
    """Run a command with a migrated database: the running portal's, or one that is started for it."""
    root = things_home()
    env = {**os.environ, **portal_environment(root)}
    if external() or is_running(root):
        return subprocess.run(arguments.argv, env=env, check=False).returncode
    with only_one(root), Supervisor(log=root / "log", state=root / "run" / "state.json") as supervisor:
        start_stores(supervisor, root)
        make_ready(supervisor, root, env, demo=False)
        with subprocess.Popen(arguments.argv, env=env) as process:
            try:
                supervisor.wait_for(lambda: process.poll() is not None, float("inf"))
            except Stop:
                process.terminate()
                raise
    return process.returncode


def show_env(arguments: argparse.Namespace) -> int:
    root = things_home()
    if not external() and not is_running(root):
        raise Refused("Nothing runs here: start `things up` or `things services` first.")
    for name, value in portal_environment(root).items():
        say(f"export {name}={shlex.quote(value)}")
    return 0


def build_assets(arguments: argparse.Namespace) -> int:
    made = assets.build(BASE_DIR, things_home())
    say("Browser assets made in static/vendor." if made else "Browser assets are up to date.")
    return 0


def status(arguments: argparse.Namespace) -> int:
    """Exit code 0 when it runs, 3 when not (as of init scripts)."""
    root = things_home()
    if not is_running(root):
        say(f"Not running ({root}).")
        return 3
    try:
        state = json.loads((root / "run" / "state.json").read_text())
    except FileNotFoundError:
        say("Starting.")
        return 0
    say(f"Running as process {state['pid']}, {state['address'] or 'without an address (yet)'}")
    for child in state["children"]:
        say(f"  {child['name']:<12} process {child['pid']}, restarts: {child['restarts']}")
    return 0


def serves(host: str, port: int) -> bool:
    """Whether the web server answers with anything but a fault of its own."""
    peer = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    connection = http.client.HTTPConnection(peer, port, timeout=2)
    try:
        connection.request("GET", "/healthz", headers={"Host": f"localhost:{port}"})
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def sign_ins(root: Path) -> list[str]:
    """The people of the demo data. `seed_demo` writes demo.json: {"sign_ins": [{"email": …, "password": …}]}."""
    try:
        people = json.loads((root / "demo.json").read_text())["sign_ins"]
        return [f"{person['email']} / {person['password']}" for person in people]
    except (OSError, ValueError, KeyError, TypeError):
        return []


class Stamps:
    """Remembers of which input each step was made last, so that a start skips what has not changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, str] = {}

    def __enter__(self) -> Stamps:
        with contextlib.suppress(OSError, ValueError):
            self.known = json.loads(self.path.read_text())
        return self

    def __exit__(self, *_: object) -> None:
        self.path.write_text(json.dumps(self.known))

    def differ(self, step: str, digest: str) -> bool:
        return self.known.get(step) != digest

    def keep(self, step: str, digest: str) -> None:
        self.known[step] = digest


def digest(files: list[Path], *more: str) -> str:
    """One hash over the names and contents of files."""
    total = hashlib.sha256("\0".join(more).encode())
    for file in sorted(set(files)):
        total.update(f"\0{file.relative_to(BASE_DIR)}\0".encode())
        total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="things", description="Things Portal: devices on LoRa, M2M and Internet.")
    commands = root.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], what: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=what, description=what)
        sub.set_defaults(run=run)
        return sub

    start = command("up", up, "Start everything and stay in the foreground.")
    start.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    start.add_argument("--port", type=int, help="port to listen on (8000, or the next free one)")
    start.add_argument("--no-demo", action="store_true", help="make no demo data")
    command("services", services, "Start only the embedded PostgreSQL and Redis, in the foreground.")
    beside = command("run", run, "Run a command with the environment of the portal, with stores started for it.")
    beside.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND ...")
    command("env", show_env, "Print the environment of the running portal as shell exports.")
    command("assets", build_assets, "Fetch the browser libraries into static/vendor.")
    command("status", status, "Tell what is running.")
    return root


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except Stop:
        say("Stopped.")
        return 0
    except KeyboardInterrupt:
        return 130
    except (Refused, StoreError) as error:
        sys.stderr.write(f"things: {error}\n")
        return USAGE
    except (Failed, assets.AssetError) as error:
        sys.stderr.write(f"things: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
