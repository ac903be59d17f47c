"""Gives the suite its PostgreSQL and Redis before Django reads its settings, and finds the browser.

Without DATABASE_URL and REDIS_URL a run starts embedded ones that nobody else uses: two runs in one checkout
get two homes (`.things/test`, `.things/test-2`, …). Under xdist the controller starts them and each worker has
a database and a Redis number of its own. What a killed run leaves, the kernel ends.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import django
import psycopg
import pytest
from django.conf import settings
from django.db import connections
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from things_portal import celery_app, cli, embedded
from things_portal.environment import celery_broker

BASE_DIR = Path(__file__).resolve().parent.parent
XDIST_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
EMBEDDED = "THINGS_TEST_EMBEDDED"
TEST_ENVIRONMENT = {
    "SECRET_KEY": "only for tests " * 4,
    "THINGS_KEYRING": f"k1:{base64.b64encode(bytes(range(32))).decode()}",
    "ALLOWED_HOSTS": "testserver,localhost,127.0.0.1",
    "THINGS_INSECURE_HTTP": "1",
    "THINGS_SIMULATED_NETWORK": "0",
}
# How long an example takes says how busy the machine is, not whether the code is right.
hypothesis_settings.register_profile(
    "portal", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("portal")
NO_BROWSER = "there is no Chromium on PATH and THINGS_CHROMIUM is not set"

_held = contextlib.ExitStack()


def start_services() -> None:
    """Start PostgreSQL and Redis in the first home that no other run holds; both end with this process."""
    base = cli.things_home()
    for number in range(1, 17):
        root = base / ("test" if number == 1 else f"test-{number}")
        with contextlib.suppress(cli.Refused):
            _held.enter_context(cli.only_one(root))
            break
    else:
        raise pytest.UsageError("Sixteen test runs hold all the test homes.")
    atexit.register(_held.close)
    home = embedded.Home.prepare(root)
    if home.stores != home.root:
        # A checkout that only root can reach, such as a clone in CI: nothing would ever tidy up after it.
        _held.callback(shutil.rmtree, home.stores, ignore_errors=True)
    started: list[tuple[embedded.Store, subprocess.Popen[bytes]]] = []
    for store in embedded.stores(home, durable=False):
        store.stop_stray()
        store.prepare()
        log = _held.enter_context((home.log / f"{store.name}.log").open("wb"))
        process = embedded.spawn(store, output=log)
        _held.callback(stop, process, store.stop_signal)
        started.append((store, process))
    for store, process in started:
        deadline = time.monotonic() + 30
        while not store.answers():
            if process.poll() is not None or time.monotonic() > deadline:
                text = (home.log / f"{store.name}.log").read_text(errors="replace")
                raise pytest.UsageError(f"{store.name} does not start:\n{text[-2000:]}")
            time.sleep(0.02)
        store.finish()
    (root / "static").mkdir(exist_ok=True)
    postgres, redis = (store for store, _ in started)
    os.environ |= {
        EMBEDDED: "1",
        "DATABASE_URL": postgres.url,
        "REDIS_URL": redis.url,
        "THINGS_HOME": str(root),
        "STATIC_ROOT": str(root / "static"),
    }


def stop(process: subprocess.Popen[bytes], signal_number: int) -> None:
    process.send_signal(signal_number)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def own_redis_number(url: str, number: int) -> str:
    """The same server, another database: each xdist worker may flush its own."""
    if url.startswith("unix:"):
        return re.sub(r"([?&]db=)\d+", rf"\g<1>{number}", url)
    return re.sub(r"(//[^/]+)(/\d*)?$", rf"\g<1>/{number}", url)


for _name, _value in TEST_ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)
if XDIST_WORKER:
    os.environ["REDIS_URL"] = own_redis_number(os.environ["REDIS_URL"], 1 + int(XDIST_WORKER[2:]))
elif not cli.external():
    start_services()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "things_portal.settings")

# Only now can the settings be read. The fixtures of tests.cast import models, so Django is set up before them.
settings.STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
django.setup()
# The workers of xdist inherit DJANGO_SETTINGS_MODULE, and pytest-django reads the settings before this file does:
# their Redis number is put right here. With one number for all, a Celery worker would take another test's tasks.
settings.REDIS_URL = os.environ["REDIS_URL"]
settings.CELERY_BROKER_URL = celery_broker(settings.REDIS_URL)
celery_app.conf.broker_url = settings.CELERY_BROKER_URL
pytest_plugins = ["tests.cast"]


def pytest_unconfigure(config: pytest.Config) -> None:
    _held.close()


# --- the test database: migrated once per state of the migrations, then copied ---


def schema_digest() -> str:
    lock = BASE_DIR / "requirements.lock"
    files = [*BASE_DIR.glob("*/migrations/*.py"), lock, BASE_DIR / "things_portal" / "settings.py"]
    return f"template_{cli.digest(files)[:16]}"


@pytest.fixture(scope="session")
def schema_template() -> str | None:
    """The name of the database to copy, whether or not it exists yet; None on servers that are not ours."""
    return schema_digest() if os.environ.get(EMBEDDED) else None


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings: None, schema_template: str | None) -> None:
    if schema_template and schema_template in _databases():
        connections["default"].settings_dict["TEST"]["TEMPLATE"] = schema_template


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker, schema_template: str | None) -> None:
    existing = _databases() if schema_template else set()
    # A migration that was edited meanwhile is in the files and not in the database.
    if schema_template is None or schema_template in existing or schema_digest() != schema_template:
        return
    with django_db_blocker.unblock():
        connections["default"].close()
        source = connections["default"].settings_dict["NAME"]
    with _server() as server, contextlib.suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
        for old in existing:
            if old.startswith("template_"):
                server.execute(f'DROP DATABASE IF EXISTS "{old}"')
        server.execute(f'CREATE DATABASE "{schema_template}" TEMPLATE "{source}"')


def _server():
    return psycopg.connect(os.environ["DATABASE_URL"], dbname="postgres", autocommit=True)


def _databases() -> set[str]:
    with _server() as server:
        return {row[0] for row in server.execute("SELECT datname FROM pg_database")}


# --- the browser ---


def find_chromium() -> str | None:
    chosen = os.environ.get("THINGS_CHROMIUM")
    names = [chosen] if chosen else ["chromium", "chromium-browser", "google-chrome"]
    return next((path for name in names if (path := shutil.which(name))), None)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the browser's binary."""
    path = find_chromium()
    if path is None:
        pytest.skip(NO_BROWSER)
    return path


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("browser") and find_chromium() is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"In CI the browser tests must run, but {NO_BROWSER}.", pytrace=False)
        pytest.skip(NO_BROWSER)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if NO_BROWSER in str(report.longrepr)]
    if skipped:
        terminalreporter.section("BROWSER TESTS SKIPPED", sep="!", red=True, bold=True)
        terminalreporter.write_line(f"BROWSER TESTS SKIPPED: {len(skipped)} did not run, because {NO_BROWSER}.")


@pytest.fixture(autouse=True)
def no_names_remembered() -> None:
    """Rows of names never go, but for those of a test before."""
    from twin import samples

    samples._numbers.clear()


@pytest.fixture(autouse=True)
def english() -> None:
    """A request leaves its language on in the thread: the next test starts in English again."""
    from django.utils import translation

    translation.activate("en")
