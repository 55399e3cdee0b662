"""`make report` and `make map`: what a reader sees of it, in a real browser."""

from __future__ import annotations

import io
import math
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import md5
from pathlib import Path
from types import ModuleType

import pytest
from playwright.sync_api import Page, sync_playwright

from retrieve.archives import Archive, Verified, date_of
from retrieve.commands import map as map_verb
from retrieve.commands import report as report_verb
from retrieve.errors import RetrieveError
from retrieve.settings import Settings
from retrieve.stamps.runs import Run
from retrieve.stamps.stamps import AVAILABLE, DOWNLOADED, EXTRACTED, INCOMPLETE, Record, Stamp, Stamps
from retrieve.standing.survey import AT_SOURCE, DAMAGED, FAILED, HERE, NEWER, STATES, UNPACKED, UNSEEN
from retrieve.standing.survey import INCOMPLETE as INCOMPLETE_THERE
from support.site import Site, names

DATE_NS = 1_628_162_732_123_000_000
#: What a source may answer, and a careless page would run.
EVIL = 'answered </script><img src=http://127.0.0.1:1/x onerror=alert(1)> & "failed" \'<!--'


def put(site: Site, tile: str, state: str, number: int = 0) -> None:
    """Write the stamps and archives of a tile in a state; a later number is a later date."""
    stamps, here = Stamps(site.directory / "stamps", "mccd"), site.directory / "archives"
    mtime_ns = DATE_NS + number * 86_400 * 10**9
    archives = tuple(
        Archive(name, len(name) * (number + 1), md5(name.encode()).hexdigest(), date_of(mtime_ns))
        for name in names(tile)
    )
    if state == INCOMPLETE_THERE:
        stamps.write(INCOMPLETE, tile, Stamp("vos:x", archives[1:], (archives[0].name,)).text(), mtime_ns)
    elif state != UNSEEN:
        stamps.write(AVAILABLE, tile, Stamp("vos:x", archives).text(), mtime_ns)
    if state in (UNPACKED, HERE, NEWER, DAMAGED, FAILED):
        older = [Archive(one.name, one.bytes, "0" * 32, date_of(mtime_ns - 10**15)) for one in archives]
        mine = older if state == NEWER else archives
        text = Record("vos:x", {one.name: Verified(one, str(one.md5), mtime_ns) for one in mine}).text()
        stamps.write(DOWNLOADED, tile, text, mtime_ns - (state == NEWER))
        if state == UNPACKED:
            stamps.write(EXTRACTED, tile, text, mtime_ns)
        here.mkdir(exist_ok=True)
        for one in mine:
            (here / one.name).write_bytes(b"x" * (one.bytes - (state == DAMAGED)))
            os.utime(here / one.name, ns=(mtime_ns, mtime_ns))


def lay_out(site: Site, states: dict[str, str]) -> None:
    """Make a run directory whose tiles are in these states, and a record of three runs."""
    for number, (tile, state) in enumerate(states.items()):
        put(site, tile, state, number)
    stamps = Stamps(site.directory / "stamps", "mccd")
    stamps.directory.mkdir(parents=True, exist_ok=True)
    stamps.listing.write_text("")
    site.list_tiles(*states)
    begin = datetime.now(UTC) - timedelta(days=2)
    failed = {tile: EVIL for tile, state in states.items() if state == FAILED}
    runs = [
        Run("avail", begin, 3.0, 0, tiles={AVAILABLE: 4}),
        Run("download", begin + timedelta(days=1), 600.0, 0, tiles={AVAILABLE: 4, DOWNLOADED: 4},
            result={"fetched": 28, "bytes": 3e9}),
        # A clock that is ahead of ours: nothing that was written since puts it right.
        Run("untar", begin + timedelta(days=3), 9.0, 1, tiles={AVAILABLE: 4, DOWNLOADED: 4, EXTRACTED: 2},
            result={"failed": failed}),
    ]  # fmt: skip
    (stamps.directory / "runs.jsonl").write_text("".join(run.line() for run in runs))


def here(site: Site, verb: ModuleType, *words: str) -> str:
    """Run a verb in this very process, which has the libraries for it already; return what it prints."""
    with chdir(site.directory), redirect_stdout(io.StringIO()) as out:
        assert verb.main(Settings.parse(words)) == 0
    return out.getvalue()


@dataclass
class Reader:
    """Someone who looks at the page; what the browser asks for and complains about."""

    page: Page
    requests: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def show(self, *states: str) -> None:
        """Press the buttons of these states, and of no other."""
        for number, state in enumerate(STATES):
            chip = self.page.locator(f".chips [data-state='{number}']")
            if (chip.get_attribute("aria-pressed") == "true") != (state in states):
                chip.click()

    def rows(self) -> list[list[str]]:
        """Text of the table, as it is shown."""
        lines = self.page.locator("#table tbody tr").all()
        return [[cell.inner_text() for cell in line.locator("th, td").all()] for line in lines]

    def tiles(self) -> list[str]:
        """Tiles of the table, from its top."""
        return self.page.locator("#table tbody th").all_inner_texts()

    def marked(self) -> str | None:
        """Tile that is marked on the map."""
        mark = self.page.locator("#mark")
        return mark.get_attribute("data-tile") if mark.is_visible() else None

    def chosen(self) -> list[str]:
        """Tiles that are marked in the table."""
        return self.page.locator("#table [aria-current] th").all_inner_texts()

    def point(self, number: int) -> dict[str, float]:
        """Where on the screen is the middle of the first tile in a state?"""
        return self.page.evaluate(
            """(number) => {
              const path = document.querySelector(`#tiles-${number} path`);
              const [a, b, , , e, f] = path.getAttribute("d").match(/[\\d.]+/g).map(Number);
              const { x, y } = new DOMPoint((a + e) / 2, (b + f) / 2).matrixTransform(path.getScreenCTM());
              return { x, y };
            }""",
            number,
        )


@contextmanager
def reading(file: Path, width: int = 1600, **how: object) -> Iterator[Reader]:
    """Open a page in Chromium."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs chromium: apt-get install chromium")
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=root)
        page = browser.new_page(viewport={"width": width, "height": 900}, **how)
        reader = Reader(page)
        page.on("request", lambda request: reader.requests.append(request.url))
        page.on("console", lambda message: reader.problems.append(message.text))
        page.on("pageerror", lambda error: reader.problems.append(str(error)))
        page.set_default_timeout(120_000)
        page.goto(file.as_uri())
        yield reader
        assert [one for one in reader.requests if not one.startswith("data:")] == [file.as_uri()]
        assert reader.problems == []
        browser.close()


def test_a_reader_filters_the_table_and_finds_tiles_on_the_map_and_back(site: Site) -> None:
    first = {f"{240 + place}.29{place // 4}": state for place, state in enumerate(STATES)}
    states = first | {"250.292": UNPACKED, "251.292": AT_SOURCE, "999.999": UNSEEN}
    lay_out(site, states)
    result = site.make("report")
    assert result.stderr == "1 tile not on the sky, such as '999.999'; correct the list\n"
    counts = (
        "2 unpacked, 1 here, 2 at the source, 1 newer there, 1 damaged, 1 failed, 1 incomplete there, 2 not seen there"
    )
    assert (result.returncode, result.stdout) == (
        0,
        f"report.html: {counts}\ncoverage.moc.fits, coverage.reg: 2 tiles unpacked\n",
    )
    tile_of = {state: tile for tile, state in reversed(states.items())}

    with reading(site.directory / "report.html") as reader:
        page = reader.page
        assert page.title() == page.locator("h1").inner_text() == "2 of 11 tiles unpacked"
        assert page.locator("html").get_attribute("lang") == "en"
        # What is left to be done, and of that first what is farthest from it.
        farthest_first = sorted(states, key=lambda tile: (-STATES.index(states[tile]), tile))
        assert reader.tiles() == [tile for tile in farthest_first if states[tile] != UNPACKED]
        assert page.locator("#shown").inner_text() == "9 of 11 tiles"
        cells = {row[0]: row for row in reader.rows()}
        assert cells[tile_of[FAILED]][1:3] == ["failed", f"untar: {EVIL}"]
        assert (
            cells[tile_of[INCOMPLETE_THERE]][2]
            == f"not at the source: {names(tile_of[INCOMPLETE_THERE])[0]}; not fetched: 6 archives"
        )
        assert cells[tile_of[HERE]][3:] == [f"{sum(map(len, names('240.290'))) * 2} B", "2021-08-06"]
        assert cells["999.999"][3:] == ["—", "—"]

        # By text, by state, and in an order.
        page.fill("#find", "NOT AT")
        assert reader.tiles() == [tile_of[INCOMPLETE_THERE]]
        page.fill("#find", "240.290")
        assert reader.tiles() == []
        assert page.locator("#shown").inner_text() == "0 of 11 tiles; 1 more in other states"
        page.fill("#find", "")
        reader.show(AT_SOURCE)
        assert reader.tiles() == ["242.290", "251.292"]
        reader.show(*STATES)
        page.get_by_role("button", name="Tile").click()
        assert reader.tiles() == sorted(states)
        size = page.get_by_role("button", name="Size")
        size.click()
        assert page.locator("[aria-sort=ascending]").inner_text().startswith("Size")
        bytes_up = [row[0] for row in reader.rows() if row[3] != "—"]
        assert bytes_up == [tile for tile in states if states[tile] != UNSEEN], "a later tile is larger"
        size.press("Enter")
        assert page.locator("[aria-sort=descending]").inner_text().startswith("Size")
        assert [row[0] for row in reader.rows() if row[3] != "—"] == bytes_up[::-1]

        # From the table to the map: with the keyboard, and with the mouse.
        assert reader.marked() is None
        page.get_by_role("button", name=tile_of[DAMAGED]).press("Enter")
        assert reader.marked() == tile_of[DAMAGED]
        page.locator("#table tbody tr", has_text=tile_of[NEWER]).click()
        assert (reader.marked(), reader.chosen()) == (tile_of[NEWER], [tile_of[NEWER]])
        mark = page.locator("#mark path").bounding_box()
        there = reader.point(STATES.index(NEWER))
        assert there == {"x": pytest.approx(mark["x"] + mark["width"] / 2, abs=1),
                         "y": pytest.approx(mark["y"] + mark["height"] / 2, abs=1)}  # fmt: skip
        page.locator("#table tbody tr", has_text="999.999").click()
        assert reader.marked() is None, "it is not on the sky"
        assert "not on the sky" in page.locator("#under").inner_text()

        # And back, closer too: also to a tile that the filter hides.
        page.locator(".chips button", has_text=UNPACKED).click()
        page.fill("#find", "setools")
        assert tile_of[UNPACKED] not in reader.tiles()
        for state in (UNPACKED, AT_SOURCE):
            page.mouse.click(**reader.point(STATES.index(state)))
            assert (reader.marked(), reader.chosen()) == (tile_of[state], [tile_of[state]])
            page.get_by_role("button", name="Zoom in").click()
        ra = 242 / 2 / math.cos(math.radians(55))
        assert f"242.290 · RA {ra:.3f}°, Dec 55.0° · at the source: not fetched" in page.locator("#under").inner_text()

        tables = page.locator(".products, .runs").all_inner_texts()
        assert re.search(r"^setools_plot\t2\t", tables[0], re.MULTILINE)
        assert "3.0 GB fetched in 1 run, lately at 5.0 MB per second." in tables[1]
        assert re.search(r"download\t28 archives fetched\t10 min\t3.0 GB\t5.0 MB/s", tables[1])
        assert page.get_by_role("img", name="Progress over time").is_visible()

        # On a phone, in the dark.
        light = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.emulate_media(color_scheme="dark")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        page.locator("#table tbody tr").first.click()
        assert page.evaluate("document.querySelector('#map').getBoundingClientRect().top") >= 0, (
            "the map comes into view"
        )
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == light


def test_the_map_alone_is_a_picture_for_a_slide(site: Site) -> None:
    lay_out(site, {"240.290": UNPACKED, "241.290": HERE, "242.290": AT_SOURCE})
    assert site.done("map") == "map.png, map.pdf: 1 unpacked, 1 here, 1 at the source\n"
    png, pdf = (site.directory / name for name in ("map.png", "map.pdf"))
    assert png.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert [int.from_bytes(png.read_bytes()[at : at + 4]) for at in (16, 20)] == [2666, 1500]
    assert pdf.read_bytes()[:5] == b"%PDF-"
    assert re.search(rb"/MediaBox \[ 0 0 960 540 \]", pdf.read_bytes()), "13.33 by 7.5 inches"


def test_without_a_listing_or_a_tile_on_the_sky_there_is_no_picture(site: Site) -> None:
    site.list_tiles("999.999")
    with pytest.raises(RetrieveError, match=r"^nothing was listed yet; run 'make avail'"):
        here(site, map_verb)
    lay_out(site, {"999.999": UNSEEN})
    with pytest.raises(RetrieveError, match=r"^no tile of 'tile_numbers.txt' is on the sky; give TILES a list of"):
        here(site, report_verb)
    assert not (site.directory / "report.html").exists()


@pytest.mark.soak
def test_the_whole_survey_is_a_page_that_shows_a_hundred_of_its_tiles_at_once(site: Site) -> None:
    # Strips from 29 degrees up, as CFIS has them.
    tiles = [f"{nnn:03}.{mmm}" for mmm in range(238, 322) for nnn in range(60, 360)][:12_621]
    lay_out(site, {tile: STATES[number % 23 % 8] for number, tile in enumerate(tiles)})
    site.done("report")
    file = site.directory / "report.html"
    assert file.stat().st_size < 8e6
    with reading(file) as reader:
        for text in ("2", "24", "setools", ""):
            reader.page.fill("#find", text)
            assert len(reader.tiles()) == 100
        reader.page.mouse.click(**reader.point(STATES.index(FAILED)))
        assert reader.marked() == reader.chosen()[0]
