"""Settings: one table, with which Make and the README agree; those that are gone say what took their place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from retrieve.errors import SettingError
from retrieve.products import linked_products
from retrieve.settings import GONE, TABLE, Settings, defaults
from retrieve.tiles import only_one, read_lists
from support.site import HERE, TILES, Site


def test_make_knows_each_setting_as_the_table_has_it() -> None:
    assert (HERE / "lib/make/settings.mk").read_text() == defaults(), "run 'make settings'"


def test_the_readme_has_settings_with_their_defaults() -> None:
    """A row may have several settings, with a default for each or one for all; a default that is no code is empty."""
    rows = re.findall(r"^\| (`[A-Z].*?) \| (.*?) \|", (HERE / "README.md").read_text(), re.MULTILINE)
    assert len(rows) > 5
    for names, values in rows:
        named, given = re.findall("[A-Z_]+", names), re.split(", ", values)
        texts = ["".join(re.findall("^`(.*)`$", value)) for value in given]
        shown = dict(zip(named, texts * len(named) if len(texts) == 1 else texts, strict=len(texts) > 1))
        assert shown == {name: TABLE[name]["default"] for name in named}


def test_each_default_can_be_given() -> None:
    given = Settings.parse(f"{name}={one['default']}" for name, one in TABLE.items())
    assert given == Settings()


def test_a_setting_of_a_few_values_takes_these_alone_and_names_them() -> None:
    closed = {name: [*one["values"]] for name, one in TABLE.items() if one["default"] in one["values"]}
    assert closed.keys() >= {"PSF", "CHECK", "KEEP", "FORMAT", "GOAL", "V"}
    for name, values in closed.items():
        given = [getattr(Settings.parse([f"{name}={value}"]), name.lower()) for value in values]
        assert len(set(given)) == len(values)
        named = f"{', '.join(values[:-1])} or {values[-1]}"
        for value in ("", "/", " ".join(values[:2]), values[0].upper() + "s"):
            with pytest.raises(SettingError, match=rf"^bad value {name}='{value}'; give {named}$"):
                Settings.parse([f"{name}={value}"])


@pytest.mark.parametrize("name", GONE)
def test_a_setting_that_is_gone_says_what_took_its_place(name: str) -> None:
    with pytest.raises(SettingError, match=f"^the setting '{name}' is gone; [^\n]+$"):
        Settings.parse([f"{name}=1"])
    assert name not in TABLE


def test_a_remembered_setting_that_is_gone_breaks_nothing(site: Site, vault: str) -> None:
    site.begin("listed", vault)
    remembered = site.directory / "stamps/settings.mk"
    remembered.write_text(remembered.read_text() + "LINK ?= pipeline_flag\nTILE ?= 240.290\nMAX_BYTES ?= 1\n")
    assert site.done("download").startswith("70 archives fetched")
    site.done("avail")
    assert "LINK" not in remembered.read_text()


def test_tiles_are_given_by_number_beside_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("182.308").write_text("240.290\n")
    Path("a.txt").write_text("240.291\n240.292\n")
    lists = read_lists("182.308 a.txt 183-308 CFIS.184.308.r.fits ./182.308")
    assert [(one.name, one.tiles) for one in lists or ()] == [
        ("182.308", ("182.308",)),
        ("a.txt", ("240.291", "240.292")),
        ("183-308", ("183.308",)),
        ("CFIS.184.308.r.fits", ("184.308",)),
        ("182.308", ("240.290",)),
    ]
    with pytest.raises(SettingError, match=r"^cannot read tile list '182\.30': .*, tiles such as 182\.308, or all$"):
        read_lists("182.30")
    assert [only_one(text) for text in (" 182-308 ", "182.308 183.308", "a.txt", "all", "")] == [
        "182.308",
        *[None] * 4,
    ]


def test_every_step_takes_tiles_by_number(site: Site, vault: str) -> None:
    site.begin("listed", vault)
    two = f"TILES={TILES[3]} {TILES[7]}"
    assert site.done("download", two).startswith("14 archives fetched")
    assert site.done("untar", two).startswith("14 archives unpacked; 2 tiles ")
    assert site.done("status", f"TILES={TILES[3]}").startswith(f"{TILES[3]}: unpacked\n")
    assert site.done("status", two).startswith(f"{TILES[3]} {TILES[7]}: 2/2 (100.0%) unpacked\n")
    # Only `avail` remembers what it is given.
    assert site.done("missing").startswith("missing.txt: 8 tiles missing\n")
    assert site.done("avail", f"TILES={TILES[0]}").startswith(f"{TILES[0]}: 1/1 (100.0%) complete\n")
    assert site.done("download").startswith("7 archives fetched")


def test_what_is_linked_is_what_the_products_name() -> None:
    assert linked_products("") == ["final_cat"]
    assert linked_products("pipeline_flag logs") == ["pipeline_flag"]
    assert linked_products("pipeline_flag final_cat") == ["final_cat", "pipeline_flag"]
    with pytest.raises(
        SettingError, match=r"^nothing of PRODUCTS='logs' can be linked; give final_cat or pipeline_flag$"
    ):
        linked_products("logs")


def test_the_home_directory_may_begin_every_path(site: Site, container: Path) -> None:
    home = Path(site.environment["HOME"])
    container.rename(home / "results")
    for name in ("first.txt", "second.txt"):
        site.list_tiles(TILES[0], name=f"../home/{name}")
    words = [
        "INPUT_PATH=~/results",
        "TILES=~/first.txt ~/second.txt",
        "STAMPS=~/stamps",
        "ARCHIVES=~/archives",
        "DEST=~/dest",
    ]
    (home / "python").symlink_to(site.environment["PYTHON"])
    site.done("sync", "PYTHON=~/python", *words)
    # What is remembered is where it was.
    site.done("verify", "STAMPS=~/stamps")
    assert list(site.directory.iterdir()) == [site.directory / "missing.txt"]
    assert {path.name for path in home.iterdir()} >= {"stamps", "archives", "dest"}
    assert (home / f"stamps/mccd/extracted/{TILES[0]}").read_text().startswith(f"# {home}/results\n")


def test_a_tilde_elsewhere_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/a user")
    settings = Settings.parse(["INPUT_PATH=~ vos:~/x a~/b ~c/d", "CERTFILE=~/cert.pem", "TOKEN=~/token", "DEST=~"])
    assert settings.input_path == "/home/a user vos:~/x a~/b ~c/d"
    assert (settings.certfile, settings.token) == ("/home/a user/cert.pem", "/home/a user/token")
    assert settings.dest == Path("/home/a user")


def test_a_home_that_there_is_not_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(_: type[Path]) -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", classmethod(nowhere))
    with pytest.raises(SettingError, match="bad value DEST='~/x'; give the path without ~, since there is no home"):
        Settings.parse(["DEST=~/x"])
