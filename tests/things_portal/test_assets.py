"""The browser libraries: what is copied is what the lock names, whole, and without an address of any host."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from things_portal import assets

MODULES = assets.BASE_DIR / "node_modules"
VENDOR = assets.BASE_DIR / "static" / "vendor"


@pytest.fixture
def modules(tmp_path) -> Path:
    """A node_modules with each file that is copied."""
    for source in assets.FILES:
        path = tmp_path / "node_modules" / source
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"a{}\n/*# sourceMappingURL=a.css.map */\nb{}\n//# sourceMappingURL=a.js.map\n")
    return tmp_path / "node_modules"


def test_files_are_copied_without_their_source_maps(modules, tmp_path):
    assets.copy_files(modules, tmp_path / "vendor")
    assert {path.name for path in (tmp_path / "vendor").rglob("*") if path.is_file()} == {
        Path(target).name for target in assets.FILES.values()
    }
    assert (tmp_path / "vendor" / "sse.js").read_bytes() == b"a{}\nb{}\n"


def test_images_are_copied_byte_for_byte(modules, tmp_path):
    assets.copy_files(modules, tmp_path / "vendor")
    source = modules / "leaflet/dist/images/layers.png"
    assert (tmp_path / "vendor" / "images" / "layers.png").read_bytes() == source.read_bytes()


def test_file_that_a_package_no_longer_has_is_named(modules, tmp_path):
    (modules / "htmx.org/dist/htmx.min.js").unlink()
    with pytest.raises(assets.AssetError, match=r"htmx\.org/dist/htmx\.min\.js"):
        assets.copy_files(modules, tmp_path / "vendor")


def test_sprite_has_one_symbol_per_icon(tmp_path):
    for name in ("x", "home"):
        (tmp_path / f"{name}.svg").write_text(
            '<svg\n class="icon">\n <path stroke="none" d="M0 0h24v24H0z" fill="none" />\n <path d="M1 2" />\n</svg>'
        )
    made = assets.sprite(tmp_path, ("x", "home"))
    assert re.findall(r'id="([^"]+)"', made) == ["i-home", "i-x"]
    assert made.count('<path d="M1 2" />') == 2
    assert "M0 0h24v24H0z" not in made


def test_icons_that_do_not_exist_are_all_named(tmp_path):
    with pytest.raises(assets.AssetError, match="No such icon: sun, moon"):
        assets.sprite(tmp_path, ("sun", "moon"))


def test_names_of_icons_are_sorted_and_unique():
    assert list(assets.ICONS) == sorted(set(assets.ICONS))


def test_assets_are_made_once_per_lock(modules, tmp_path, monkeypatch):
    for name in ("package.json", "package-lock.json"):
        (tmp_path / name).write_bytes((assets.BASE_DIR / name).read_bytes())
    icons = modules / "@tabler/icons/icons/outline"
    icons.mkdir(parents=True)
    for name in assets.ICONS:
        (icons / f"{name}.svg").write_text('<svg><path d="M1 2" /></svg>')
    lock = assets._digest(tmp_path / "package-lock.json", tmp_path / "package.json")
    (modules / ".things-stamp").write_text(lock)
    (tmp_path / "static").mkdir()
    assert assets.build(tmp_path) is True
    assert assets.build(tmp_path) is False
    (tmp_path / "static" / "vendor" / ".stamp").write_text("older")
    (tmp_path / "static" / "vendor" / "left over.js").write_text("")
    assert assets.build(tmp_path) is True
    assert not (tmp_path / "static" / "vendor" / "left over.js").exists()


def test_versions_are_exact_and_the_lock_names_no_host():
    wanted = json.loads((assets.BASE_DIR / "package.json").read_text())["dependencies"]
    locked = json.loads((assets.BASE_DIR / "package-lock.json").read_text())["packages"]
    for name, version in wanted.items():
        assert locked[f"node_modules/{name}"]["version"] == version
    for path, package in locked.items():
        assert "resolved" not in package, path
        assert not path or package["integrity"].startswith("sha512-"), path


@pytest.mark.skipif(not VENDOR.is_dir(), reason="the assets were not made (make setup makes them)")
def test_made_assets_refer_to_no_file_that_is_not_there():
    for sheet in VENDOR.glob("*.css"):
        for target in re.findall(r"url\(['\"]?([^)'\"]+)", sheet.read_text()):
            assert target.startswith(("data:", "#")) or (VENDOR / target).is_file(), (sheet.name, target)
    for script in VENDOR.glob("*.js"):
        assert "sourceMappingURL" not in script.read_text(), script.name
    sprite = (VENDOR / "icons.svg").read_text()
    assert sprite.count("<symbol ") == len(assets.ICONS)
