"""Settings, all from the environment. Without DEBUG the portal is in production and refuses to start half-set."""

from pathlib import Path

import django_stubs_ext
from csp.constants import SELF
from django.utils.translation import gettext_lazy as _

from common.crypto import KeyRing

from . import environment as env

# Django's generic classes (ModelAdmin[…]) are subscriptable only after this.
django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = env.flag("DEBUG")
SECRET_KEY = env.required("SECRET_KEY", "the key that signs sessions (50 random characters or more)")
THINGS_KEYRING = KeyRing.parse(
    env.required(
        "THINGS_KEYRING",
        "the keys that encrypt device secrets, newest first, such as k1:<32 random bytes in base64>",
    )
)
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS") or (["localhost", "127.0.0.1", "[::1]"] if DEBUG else [])
if not ALLOWED_HOSTS:
    env.required("ALLOWED_HOSTS", "the host names that the portal answers to, separated by commas")

# Where the embedded services keep their data, and what the demo tells `things up`.
THINGS_HOME = env.text("THINGS_HOME") or str(BASE_DIR / ".things")

OPERATOR_NAME = env.text("OPERATOR_NAME", "KPN")
PORTAL_NAME = env.text("PORTAL_NAME", "Things Portal")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django_htmx",
    "csp",
    "template_partials",
    "common",
    "accounts",
    "flows",
    "devices",
    "lora",
    "m2m",
    "internet",
    "downlinks",
    "twin",
    "ingest",
    "api",
    "things_portal",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "accounts.middleware.PersonMiddleware",
]

ROOT_URLCONF = "things_portal.urls"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "common.context.portal",
            ],
            "builtins": ["common.templatetags.addresses", "common.templatetags.portal"],
        },
    },
]

# --- stores ---

DATABASES = {"default": env.database("DATABASE_URL")}
REDIS_URL = env.required("REDIS_URL", "the address of Redis, such as redis://host:6379/0")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CELERY_BROKER_URL = env.celery_broker(REDIS_URL)
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_TIME_LIMIT = 60
CELERY_TASK_SOFT_TIME_LIMIT = 45
CELERY_WORKER_PREFETCH_MULTIPLIER = 4
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# A task lost with its worker comes back after this many seconds; the sweepers are quicker and do not need it.
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 300}
# Celery closes the database connection around every task unless this is set (five times slower).
CELERY_DB_REUSE_MAX = 1000
CELERY_TIMEZONE = "UTC"

# How often the sweepers look for what a dead worker or a lost message left behind, in seconds.
SWEEP_SECONDS = env.number("THINGS_SWEEP_SECONDS", 5)
# How long an instruction may be Executing where the device type does not say. A class A device hears it after its own
# next message; most send within half a day.
DOWNLINK_TIMEOUT_SECONDS = {
    kind: env.number(f"THINGS_{kind.upper()}_TIMEOUT_SECONDS", 86_400) for kind in ("lora", "m2m", "internet")
}
CELERY_BEAT_SCHEDULE = {
    "registrations that died": {"task": "devices.tasks.sweep_network_tasks", "schedule": SWEEP_SECONDS},
    "instructions that died": {"task": "downlinks.tasks.sweep_downlinks", "schedule": SWEEP_SECONDS},
    "desired values that are due": {"task": "twin.tasks.sweep_desired", "schedule": SWEEP_SECONDS},
    "jobs that died": {"task": "devices.tasks.sweep_jobs", "schedule": SWEEP_SECONDS},
    "SIM cards to switch off": {"task": "m2m.tasks.sweep_cards", "schedule": SWEEP_SECONDS},
    "SIM cards to ask for": {"task": "m2m.tasks.refresh_cards", "schedule": 60.0},
    "columns of values": {"task": "devices.tasks.sweep_value_columns", "schedule": 60.0},
    "files of devices that died": {"task": "devices.tasks.sweep_imports", "schedule": SWEEP_SECONDS},
    "files of devices dropped": {"task": "devices.tasks.drop_expired_imports", "schedule": 3600.0},
    "Flows that are being deleted": {"task": "devices.tasks.sweep_flow_deletions", "schedule": 60.0},
    "warnings of Flows": {"task": "devices.tasks.check_flows", "schedule": SWEEP_SECONDS},
    "codecs in trouble by Flow": {"task": "devices.tasks.count_trouble_of_flows", "schedule": 60.0},
    "all warnings of Flows": {"task": "devices.tasks.check_all_flows", "schedule": 900.0},
    "messages at test endpoints dropped": {"task": "flows.tasks.drop_received", "schedule": 3600.0},
    "LoRa devices that fell silent": {"task": "lora.tasks.sweep_silent", "schedule": 60.0},
    "partitions ahead": {"task": "common.tasks.maintain_partitions", "schedule": 3600.0},
}

# --- ways in ---

INGEST_SHARDS = env.number("THINGS_INGEST_SHARDS", 2)
INGEST_MAX_BODY = 64 * 1024
INGEST_MAX_BACKLOG = env.number("THINGS_INGEST_MAX_BACKLOG", 500_000)
# Pushes whose Time is further away than this are refused (a replayed or delayed one); 0 accepts any.
THINGPARK_MAX_DRIFT_SECONDS = env.number("THINGPARK_MAX_DRIFT_SECONDS", 600)

FRAME_RETENTION_DAYS = env.number("THINGS_FRAME_RETENTION_DAYS", 31)
VALUE_RETENTION_DAYS = env.number("THINGS_VALUE_RETENTION_DAYS", 93)
DELIVERY_RETENTION_DAYS = env.number("THINGS_DELIVERY_RETENTION_DAYS", 31)
# Destinations are reached at public addresses; these networks (CIDR, commas between) beside them.
DELIVERY_NETWORKS = env.words("THINGS_DELIVERY_NETWORKS")
# A file of certificates (PEM) that are trusted beside the system's.
DELIVERY_CA_FILE = env.text("THINGS_DELIVERY_CA_FILE", "")

# --- people ---

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["accounts.backends.PersonBackend"]
SESSION_ENGINE = "accounts.sessions"
LOGIN_URL = "accounts:sign_in"
LOGIN_REDIRECT_URL = "devices:list"
LOGOUT_REDIRECT_URL = "accounts:sign_in"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("nl", _("Dutch"))]
LOCALE_PATHS = [BASE_DIR / "things_portal" / "locale"]
TIME_ZONE = "UTC"
DEFAULT_PERSON_TIME_ZONE = env.text("THINGS_TIME_ZONE", "Europe/Amsterdam")
USE_TZ = True

# --- browser ---

STATIC_URL = "/static/"
STATIC_ROOT = env.text("STATIC_ROOT") or str(BASE_DIR / ".things" / "static")
STATICFILES_DIRS = [
    ("portal", BASE_DIR / "static" / "src"),
    ("vendor", BASE_DIR / "static" / "vendor"),
]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
WHITENOISE_MAX_AGE = 3600

# Maps show the tiles of this server; without it positions are drawn and no other server is asked for anything.
MAP_TILES = env.tiles("THINGS_MAP_TILES", "THINGS_MAP_ATTRIBUTION")
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:", *([MAP_TILES.origin] if MAP_TILES else [])],
        "object-src": ["'none'"],
        "base-uri": [SELF],
        "form-action": [SELF],
        "frame-ancestors": ["'none'"],
    }
}
INSECURE_HTTP = env.flag("THINGS_INSECURE_HTTP") or DEBUG
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not INSECURE_HTTP
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_SSL_REDIRECT = not INSECURE_HTTP
SECURE_REDIRECT_EXEMPT = [r"^ingestion/m2m/", r"^healthz$", r"^readyz$"]
SECURE_HSTS_SECONDS = 0 if INSECURE_HTTP else 31_536_000
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = not INSECURE_HTTP
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env.flag("THINGS_BEHIND_PROXY") else None
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS")
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 2_621_440

# --- the simulated network ---

SIMULATED_NETWORK = env.flag("THINGS_SIMULATED_NETWORK", default=True)
SIMULATED_SEED = env.number("THINGS_SIMULATED_SEED", 20)
# Seconds between the messages of a simulated device that somebody adds through the wizard.
SIMULATED_INTERVAL = env.number("THINGS_SIMULATED_INTERVAL", 60)

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env.text("LOG_LEVEL", "INFO")},
}
