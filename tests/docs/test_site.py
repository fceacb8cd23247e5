"""The documentation site builds without a warning, needs no other machine, and works in a browser opened as files."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from browser import LAPTOP, PHONE, needs_browser, opened, wider_than_screen
from paths import ROOT
from playwright.sync_api import expect
from projects import run

#: What a browser loads by itself: everything with `src`, and `link`s; and in styles `url` and `@import`.
LOADED = re.compile(r"""\bsrc=["']?(?:https?:)?//[^ "'>]*|<link\b[^>]*href=["']?(?:https?:)?//[^ "'>]*""")
LOADED_BY_STYLES = re.compile(r"""(?:url\(|@import\s+)["']?(?:https?:)?//[^"')]*""")


def build(folder: Path, execute: bool) -> Path:
    """Build the site as `make site` does; a warning, such as of a broken link, is an error."""
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    run(ROOT, "mkdocs", "build", "--site-dir", str(folder), PYTHONPATH=path, DEFLECT_SITE_EXECUTE=str(int(execute)))
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("site"), execute=False)


def pages(site: Path) -> list[Path]:
    return sorted(path for path in site.rglob("*.html") if path.name != "404.html")


def test_every_page_of_the_repository_is_in_the_site(site: Path) -> None:
    sources = [path.relative_to(ROOT).with_suffix(".html") for path in ROOT.glob("docs/**/*.md")]
    assert {Path("index.html"), *sources} <= {path.relative_to(site) for path in pages(site)}
    assert (site / "LICENSE.txt").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_a_broken_link_is_an_error(tmp_path: Path) -> None:
    """With the settings of mkdocs.yml, on one page."""
    text = (ROOT / "mkdocs.yml").read_text()
    settings = text[text.index("markdown_extensions:") :]
    (tmp_path / "mkdocs.yml").write_text(f"site_name: one page\nstrict: true\n{settings}")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text("# Here\n\n[1](#here) [2](#there) [3](other.md) [4](../LICENSE)\n")
    found = run(tmp_path, "mkdocs", "build", expect=1)
    assert "Aborted with 3 warnings in strict mode" in found
    assert all(link in found for link in ("#there", "other.md", "../LICENSE"))


def test_no_page_loads_anything_from_another_machine(site: Path) -> None:
    for path in site.rglob("*"):
        if path.suffix in (".html", ".css"):
            text = path.read_text()
            assert not (LOADED if path.suffix == ".html" else LOADED_BY_STYLES).findall(text), path
            assert "fonts.googleapis" not in text


@needs_browser
def test_every_page_fits_a_phone_and_shows_its_pictures(site: Path) -> None:
    missing = "[...document.images].filter(image => !image.naturalWidth).map(image => image.src)"
    with opened((site / "index.html").as_uri(), PHONE) as page:
        for path in pages(site):
            page.goto(path.as_uri())
            assert not wider_than_screen(page), path
            assert page.evaluate(missing) == [], path


@needs_browser
def test_navigation_search_and_signatures(site: Path) -> None:
    with opened((site / "index.html").as_uri(), LAPTOP) as page:
        page.locator(".md-tabs").get_by_text("Replication", exact=True).click()
        expect(page.locator("h1")).to_contain_text("What a study looks like")
        page.locator(".md-sidebar--primary").get_by_text("Speed and memory").click()
        expect(page.locator("h1")).to_contain_text("Speed and memory")

        page.get_by_placeholder("Search").press_sequentially("calibrate")
        page.locator(".md-search-result__link", has_text="calibrate").first.click()
        page.wait_for_url(re.compile("calibrate"))
        expect(page.locator("article mark:visible").first).to_be_visible()

        page.locator(".md-tabs").get_by_text("Python API").click()
        expect(page.locator(".doc-signature").first).to_contain_text("method: str")
        page.locator(".md-header label[title='Dark colours']").click()
        assert page.locator("body").get_attribute("data-md-color-scheme") == "slate"


@needs_browser
def test_navigation_and_search_on_a_phone(site: Path) -> None:
    with opened((site / "index.html").as_uri(), PHONE) as page:
        page.locator(".md-header label[for='__drawer']").click()
        page.locator(".md-nav--primary .md-nav__link:visible", has_text="Guides").click()
        page.get_by_role("navigation", name="Guides").get_by_role("link", name="Run a study").click()
        expect(page.locator("h1")).to_contain_text("Run a study")
        page.locator(".md-header__button[for='__search']").click()
        page.get_by_placeholder("Search").press_sequentially("nodata")
        page.locator(".md-search-result__link").first.click()
        expect(page.locator("article mark:visible").first).to_be_visible()
        assert not wider_than_screen(page)


@needs_browser
@pytest.mark.slow
def test_the_tutorials_show_their_results(tmp_path: Path) -> None:
    """Both are executed; their pages have what their last cells print or draw."""
    site = build(tmp_path / "site", execute=True)
    with opened((site / "index.html").as_uri(), LAPTOP) as page:
        page.locator(".md-tabs").get_by_text("Tutorials").click()
        text = page.locator("article").inner_text()
        accuracy = {
            method: float(re.search(rf"{method}: accuracy ([\d.]+)", text)[1]) for method in ("frozen", "deflect")
        }
        assert accuracy["frozen"] < 0.5 < 0.9 < accuracy["deflect"]
        assert page.locator("article img").count() == 2
        page.locator(".md-sidebar--primary").get_by_text("Read the records of a study").click()
        expect(page.locator("article table").last).to_contain_text("DEFLECT")
        assert page.locator("article img").count() == 2
    with opened((site / "docs/tutorials/records.html").as_uri(), PHONE) as page:
        assert not wider_than_screen(page)
