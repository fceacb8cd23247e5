"""Titles and class names of a user appear unchanged in tables, figures, notebooks and the summary."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import make_records
import matplotlib as mpl
import pytest
from make_records import make_run, make_store, make_study
from matplotlib import font_manager
from matplotlib.text import Text
from own_data import write_card, write_folders

from deflect import config
from deflect.analysis import comparison, figures, tables, variants
from deflect.analysis.figures import fonts
from deflect.analysis.figures.style import encode
from deflect.analysis.notebook import execute
from deflect.analysis.records import StudyRuns, load_study
from deflect.analysis.render import Cell, PrintedTable, html, latex, markdown
from deflect.analysis.summary import summary
from deflect.cli import main
from deflect.settings.claims import load_claims
from deflect.workflow import grid

TITLE = "Crop fields $a$ | <b>50 %</b>"
SIGNS = ["rent $<5 & >$_", r"_\frac{$_$"]
CJK = ["水田", "森林"]
METHODS = ["deflect", "lora", "frozen", "full"]


def study_of(folder: Path, monkeypatch: pytest.MonkeyPatch, classes: list[str]) -> StudyRuns:
    """A study of a published segmentation dataset under another title and with other names of classes."""
    for names in (make_records.CLASSES, make_records.SEGMENTATION):
        monkeypatch.setitem(names, "burn_scars", classes)
    make_study(folder / "runs", ["burn_scars"], ["scale_mae"], METHODS)
    make_store(folder / "prepared", "burn_scars")
    axes = {"datasets": ["burn_scars"], "gfms": ["scale_mae"], "methods": METHODS, "seeds": [0]}
    return load_study(folder / "runs", {"blocks": [axes], "titles": {"burn_scars": TITLE}})


def drawn(study: StudyRuns, folder: Path) -> dict[str, mpl.figure.Figure]:
    return {
        "confusion": figures.confusion_matrices(study),
        "classes": figures.inside_deflect_classes(study, "scale_mae"),
        "maps": figures.segmentation_maps(study, "burn_scars", "scale_mae", folder / "prepared", 1),
        "curves": figures.training_curves(study),
        "panels": figures.parameter_efficiency_per_dataset(study),
        "inside": figures.inside_deflect(study),
        "importance": figures.index_importance(study),
    }


def test_titles_and_classes_with_dollars_and_backslashes_are_drawn_as_written(tmp_path: Path, monkeypatch) -> None:
    study = study_of(tmp_path, monkeypatch, SIGNS)
    for name, figure in drawn(study, tmp_path).items():
        encode(figure, "png")
        texts = [text for text in figure.findobj(Text) if "$" in text.get_text()]
        shown = " ".join(" ".join(text.get_text() for text in texts).split())
        assert "fields $a$" in shown
        if name in ("confusion", "classes", "maps"):
            assert all(sign in shown for sign in SIGNS)
        assert not any(text.get_parse_math() for text in texts)


def test_titles_appear_in_tables_and_summary(tmp_path: Path, monkeypatch) -> None:
    study_of(tmp_path, monkeypatch, SIGNS)
    for variant, changes in {"lora+x": {"patch_init": "zero"}, "deflect+y": {"rank": 1}}.items():
        method = variant.partition("+")[0]
        make_run(tmp_path / "runs", "burn_scars", "scale_mae", method, variant=variant, settings=changes)
    axes = {"datasets": ["burn_scars"], "gfms": ["scale_mae"], "seeds": [0]}
    blocks = [axes | {"methods": METHODS}, axes | {"methods": ["lora+x", "deflect+y"]}]
    study = load_study(tmp_path / "runs", {"blocks": blocks, "titles": {"burn_scars": TITLE}})
    references = comparison.load_references("references/paper.csv")
    claims = load_claims("references/claims.yaml")
    for _, printed in (tables.main(study), variants.ablation(study), variants.patch_embed(study)):
        cells = [*printed.header, *(cell.text for row in printed.rows if isinstance(row, list) for cell in row)]
        assert any(TITLE in text for text in cells)
    page = summary(study, references, claims, resamples=10)
    assert "Crop fields $a$ | &lt;b&gt;50 %&lt;/b&gt;" in page
    assert "<b>50" not in page


def test_titles_of_cards_are_in_the_grid(tmp_path: Path, monkeypatch) -> None:
    settings = config.read()
    monkeypatch.chdir(tmp_path)
    assert "titles" not in grid(config.parse(settings).study)
    for name, title in (("fields", TITLE), ("plain", None)):
        write_card(Path("data/raw") / name, title=title)
        settings["studies"]["mini"]["datasets"].append(name)
    assert grid(config.parse(settings).study)["titles"] == {"fields": TITLE}


def test_tables_escape_markup() -> None:
    printed = PrintedTable(
        "t", ["a", "b"], [[Cell("[x] *y* _z_ a_b $c$"), Cell(r"<i> &lt; `d` \e [f](g)")], [Cell("< 5"), Cell("–")]]
    )
    text = markdown(printed)
    assert r"| [x] \*y\* \_z\_ a_b \$c\$ | \<i> \&lt; \`d\` \\e [f]\(g) |" in text
    assert "| < 5 | – |" in text
    assert r"{}[x] *y* \_z\_ a\_b \$c\$ & $<$i$>$ \&lt; `d` \textbackslash{}e [f](g) \\" in latex(printed)
    assert "&lt;i&gt; &amp;lt;" in html(printed)


def test_characters_without_a_font_are_logged_once(tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [font_manager.findfont("DejaVu Sans")])
    for cached in (fonts._search, fonts._warn):
        cached.cache_clear()
    study = study_of(tmp_path, monkeypatch, CJK)
    figures.confusion_matrices(study)
    figures.inside_deflect_classes(study, "scale_mae")
    assert caplog.text.count("no installed font has the characters 林 森 水 田") == 1
    assert "fonts-noto-cjk" in caplog.text
    fonts._search.cache_clear()


def test_an_installed_font_with_the_characters_is_used(tmp_path: Path, monkeypatch, caplog) -> None:
    """With DejaVu Sans Mono as the installed font and a base font without one of its letters."""
    mono = font_manager.findfont("DejaVu Sans Mono")
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [mono])
    base = fonts._characters(font_manager.findfont("DejaVu Sans")) - {"é"}
    signs = fonts._characters
    monkeypatch.setattr(fonts, "_characters", lambda path: signs(path) if path == mono else base)
    fonts._search.cache_clear()
    figure = figures.confusion_matrices(study_of(tmp_path, monkeypatch, ["é", "e"]))
    families = {text.get_text(): text.get_fontfamily() for text in figure.findobj(Text)}
    assert families["é"] == ["DejaVu Sans", "DejaVu Sans Mono"]
    assert families["e"] == ["DejaVu Sans"]
    figures.save(figure, tmp_path / "a")
    assert b"/Type3" in (tmp_path / "a.pdf").read_bytes()
    assert not caplog.text
    fonts._search.cache_clear()


def test_warnings_of_a_notebook_are_logged(tmp_path: Path, caplog) -> None:
    source = tmp_path / "a.py"
    source.write_text("# %%\nimport logging\nlogging.getLogger('x').warning('two\\nlines')\nprint('out')\n")
    with caplog.at_level(logging.WARNING):
        execute(source, tmp_path / "a.ipynb")
    assert [record.getMessage() for record in caplog.records] == [f"{source}: two lines"]


def test_warnings_of_a_command_are_marked(tmp_path: Path, monkeypatch, capsys) -> None:
    shutil.copy("config.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    text = Path("config.yaml").read_text().replace("[so2sat, brick_kiln,", "[fields, so2sat, brick_kiln,", 1)
    Path("config.yaml").write_text(text)
    write_folders(Path("data/raw/fields"))
    Path("data/raw/fields/field/a.jp2").touch()
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    assert main(["data", "prepare", "fields"]) == 0
    assert capsys.readouterr().err.startswith("warning: data/raw/fields: files that are not read: 1 with other")
