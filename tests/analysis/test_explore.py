"""The page of all runs in a browser: it sorts, filters, and every number and point leads to the right records."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest
from browser import LAPTOP, PHONE, needs_browser, opened, wider_than_screen
from make_records import make_run, make_study
from playwright.sync_api import Page, expect

from deflect.analysis import tables
from deflect.analysis.explore.addresses import Addresses
from deflect.analysis.explore.chart import efficiency
from deflect.analysis.explore.page import page
from deflect.analysis.records import load_study
from deflect.analysis.render import score

pytestmark = needs_browser
HOSTILE = '<img src=x onerror="document.title=\'taken\'"> </script> & "Fields"'
DATASETS, GFMS, METHODS = ["so2sat", "burn_scars"], ["scale_mae", "dino_mc"], ["deflect", "lora", "frozen", "full"]
LORA = "so2sat/scale_mae/lora/seed0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study without one of its cells and with a variant, a hostile title and the page."""
    folder = tmp_path_factory.mktemp("study")
    make_study(folder / "runs", DATASETS, GFMS, METHODS)
    make_run(folder / "runs", "so2sat", "scale_mae", "lora", variant="lora+init=zero", settings={"patch_init": "zero"})
    (folder / "runs/burn_scars/dino_mc/lora/seed0/record.json").unlink()
    axes = {"datasets": DATASETS, "gfms": GFMS, "methods": METHODS, "seeds": [0]}
    variant = axes | {"datasets": ["so2sat"], "gfms": ["scale_mae"], "methods": ["lora+init=zero"]}
    study = load_study(folder / "runs", {"blocks": [axes, variant], "titles": {"burn_scars": HOSTILE}})
    (folder / "explore.html").write_text(page(study))
    tables.main(study).write(folder / "tables/main")
    return folder


@pytest.fixture(scope="module")
def laptop(folder: Path) -> Iterator[Page]:
    with opened((folder / "explore.html").as_uri(), LAPTOP) as shown:
        yield shown


def visit(shown: Page, folder: Path, address: str = "") -> None:
    """Load the page anew at an address within it."""
    shown.goto("about:blank")
    shown.goto((folder / "explore.html").as_uri() + address)
    shown.wait_for_selector("body[data-ready]")


def column(shown: Page, name: str) -> list[str]:
    """The visible cells of a column of the table of runs."""
    names = shown.locator("#runs thead .dt-column-title").all_inner_texts()
    return shown.locator(f"#runs tbody td:nth-child({names.index(name) + 1})").all_inner_texts()


def header(shown: Page, name: str, button: str) -> None:
    cell = shown.locator("#runs thead td, #runs thead th").filter(has=shown.get_by_text(name, exact=True))
    cell.locator(f".dtcc-button_{button}").click()


def wait_for_scores(shown: Page, expected: list[float]) -> None:
    """Wait until the visible scores are in this order; a busy machine draws late."""
    for _ in range(50):
        if [float(text) for text in column(shown, "Score (%)")] == expected:
            return
        shown.wait_for_timeout(100)
    assert [float(text) for text in column(shown, "Score (%)")] == expected


def test_sorts_and_filters(laptop: Page, folder: Path) -> None:
    visit(laptop, folder)
    assert "1 to 16 of 16" in laptop.locator("#runs .dt-info").inner_text()
    scores = [float(text) for text in column(laptop, "Score (%)")]
    assert scores != sorted(scores)
    header(laptop, "Score (%)", "order")
    wait_for_scores(laptop, sorted(scores, reverse=True))
    header(laptop, "Score (%)", "order")
    wait_for_scores(laptop, sorted(scores))
    header(laptop, "Method", "dropdown")
    laptop.locator(".dtcc-list button", has_text="LoRA").click()
    assert column(laptop, "Method") == ["LoRA"] * 4
    laptop.locator("#runs input[type=search]").first.fill("dino")
    assert column(laptop, "GFM") == ["DINO-MC"]


def test_a_point_lists_its_runs_and_a_number_opens_its_record(laptop: Page, folder: Path) -> None:
    visit(laptop, folder)
    point = laptop.locator("#chart path[aria-label='DEFLECT, 4 runs']").last
    point.hover(force=True)
    expect(laptop.locator("#vg-tooltip-element")).to_contain_text("DEFLECT, 4 runs")
    point.click(force=True)
    expect(laptop.locator("#filter")).to_contain_text("Only runs of DEFLECT.")
    assert column(laptop, "Method") == ["DEFLECT"] * 4
    laptop.locator(f"#main a[href='#run={LORA}']").click()
    record = json.loads((folder / "runs" / LORA / "record.json").read_text())
    shown = laptop.locator("dialog[open]").inner_text()
    assert LORA in shown
    for value in (record["data"]["store_sha256"], record["weights"]["sha256"], record["packages"]["torch"]):
        assert value in shown
    assert f"{100 * record['score']['value']:.4f}".rstrip("0") in shown
    assert laptop.locator("dialog a").get_attribute("href") == f"runs/{LORA}/record.json"
    laptop.keyboard.press("Escape")
    expect(laptop.locator("dialog[open]")).to_have_count(0)
    expect(laptop.locator("#filter")).to_contain_text("Only runs of DEFLECT.")  # as before


def test_a_point_of_one_run_opens_its_record(laptop: Page, folder: Path) -> None:
    visit(laptop, folder)
    laptop.get_by_label("single runs").check()
    laptop.locator("#chart path[aria-label='So2Sat, Scale-MAE, LoRA, seed 0']").last.click(force=True)
    expect(laptop.locator("#record-title")).to_have_text(LORA)


def test_the_address_of_a_record_opens_it_and_back_closes_it(laptop: Page, folder: Path) -> None:
    visit(laptop, folder, f"#run={LORA}")
    expect(laptop.locator("#record-title")).to_have_text(LORA)
    laptop.get_by_role("button", name="Close").click()
    expect(laptop.locator("dialog[open]")).to_have_count(0)
    laptop.locator("#runs tbody a").first.click()
    expect(laptop.locator("dialog[open]")).to_have_count(1)
    laptop.go_back()
    expect(laptop.locator("dialog[open]")).to_have_count(0)
    visit(laptop, folder, "#run=so2sat/scale_mae/lora%2Binit=zero/seed0")
    expect(laptop.locator("#record")).to_contain_text("init=zero")
    visit(laptop, folder, "#run=no/such/run/seed0")
    expect(laptop.locator("#record")).to_contain_text("no such run")


def test_numbers_are_those_of_the_main_table(folder: Path) -> None:
    text = (folder / "explore.html").read_text()
    shown = {
        unescape(run): re.sub("<.*?>", "", cell)
        for run, cell in re.findall(r'<td><a href="#run=(.*?)">(.*?)</a>', text)
    }
    with open(folder / "tables/main.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] in ("f1_macro", "mIoU")]
    means: dict[str, str] = {}
    for row in rows:
        if row["mean"] and row["metric"] == ("mIoU" if row["dataset"] == "burn_scars" else "f1_macro"):
            means[f"{row['dataset']}/{row['gfm']}/{row['method']}/seed0"] = score(float(row["mean"]))
    assert len(means) == 15
    assert shown == means
    study = load_study(folder / "runs")
    points = efficiency(study, Addresses(study.runs.run))["datasets"]
    single = {p["href"]: p["score"] for p in next(iter(points.values())) if p["single"]}
    assert {run.removeprefix("#run="): score(value) for run, value in single.items()} == means


def test_missing_runs_are_gaps_that_are_named(laptop: Page, folder: Path) -> None:
    visit(laptop, folder)
    assert "missing: burn_scars/dino_mc/lora/seed0" in laptop.locator("body").inner_text()
    assert laptop.locator("#main td", has_text="–").locator("a").count() == 0


def test_a_title_cannot_add_html(laptop: Page, folder: Path) -> None:
    visit(laptop, folder, "#runs=burn_scars/*/*")
    assert HOSTILE in laptop.locator("#filter").inner_text()
    assert set(column(laptop, "Dataset")) == {HOSTILE}
    header(laptop, "Dataset", "dropdown")
    expect(laptop.locator(".dtcc-list button", has_text="Fields")).to_be_visible()
    laptop.locator("#chart select").first.select_option("burn_scars")
    laptop.get_by_label("single runs").check()
    laptop.locator("#chart path[aria-label*='seed 0']").last.hover(force=True)
    expect(laptop.locator("#vg-tooltip-element")).to_contain_text("Fields")
    visit(laptop, folder, "#run=burn_scars/dino_mc/deflect/seed0")
    expect(laptop.locator("#record")).to_contain_text(HOSTILE)
    assert laptop.locator("img").count() == 0
    assert laptop.title() != "taken"


def test_a_phone_scrolls_only_tables_sideways_and_taps_name_points(laptop: Page, folder: Path) -> None:
    assert laptop.context.browser
    width, height = PHONE
    shown = laptop.context.browser.new_page(viewport={"width": width, "height": height}, has_touch=True)
    visit(shown, folder)
    assert not wider_than_screen(shown)
    point = shown.locator("#chart path[aria-label='DEFLECT, 4 runs']").last
    point.tap(force=True)
    expect(shown.locator("#vg-tooltip-element")).to_contain_text("DEFLECT, 4 runs")
    assert "#" not in shown.url
    point.tap(force=True)
    expect(shown.locator("#filter")).to_contain_text("DEFLECT")
    visit(shown, folder, f"#run={LORA}")
    assert not wider_than_screen(shown)
    assert shown.locator("dialog").evaluate("dialog => dialog.scrollWidth <= dialog.clientWidth")


def test_several_seeds_of_a_number_are_listed(laptop: Page, tmp_path: Path) -> None:
    make_study(tmp_path / "runs", ["so2sat"], ["scale_mae"], ["deflect", "full"], seeds=(0, 1, 2))
    study = load_study(tmp_path / "runs")
    (tmp_path / "explore.html").write_text(made := page(study))
    assert made == page(load_study(tmp_path / "runs"))
    mean = tables.main(study).frame.iloc[0]
    visit(laptop, tmp_path)
    link = laptop.locator("#main a[href='#runs=so2sat/scale_mae/deflect']").first
    assert link.inner_text() == score(mean["mean"], mean.ci95)
    link.click()
    assert column(laptop, "Seed") == ["0", "1", "2"]


def test_a_regression_has_scores_below_zero(laptop: Page, tmp_path: Path) -> None:
    regression = {"R2": -0.25, "RMSE": 7.5, "MAE": 5.0}
    changes = {"score__metric": "R2", "metrics__test": regression, "task": "regression", "confusion": []}
    for method in ("deflect", "full"):
        make_run(tmp_path / "runs", "so2sat", "scale_mae", method, score=-0.25, classes=["height"], **changes)
    (tmp_path / "explore.html").write_text(page(load_study(tmp_path / "runs")))
    visit(laptop, tmp_path)
    assert column(laptop, "Score (%)") == ["-25.0", "-25.0"]
    assert column(laptop, "Metric") == ["R²", "R²"]
    laptop.locator("#runs tbody a").first.click()
    expect(laptop.locator("#record")).to_contain_text("RMSE")
