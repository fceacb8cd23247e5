"""Hook of mkdocs.yml: pages keep the paths that they have in the repository, and tutorials are executed notebooks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory

import jupytext
import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

from deflect.analysis.notebook import execute

ROOT = Path(__file__).parents[2]
#: Files outside docs/ to which pages link.
PAGES, TEXTS = ("README.md", "references/README.md"), ("CITATION.cff", "LICENSE")
#: Set to 0, tutorials are shown without their results, which saves a minute.
EXECUTE = "DEFLECT_SITE_EXECUTE"


class Tutorial(File):
    """A Python file that becomes a page."""

    def is_documentation_page(self) -> bool:
        return True


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Files with the paths of the repository, so that relative links work here as they do there."""
    found = [file for file in files if file.src_dir != config.docs_dir]  # those of the theme
    for file in set(files) - set(found):
        path, place = Path(str(file.abs_src_path)), f"docs/{file.src_uri}"
        if place.startswith("docs/tutorials/"):
            found += tutorial(path, place, config)
        else:
            found.append(File.generated(config, place, abs_src_path=str(path), inclusion=file.inclusion))
    found += [File.generated(config, name, abs_src_path=str(ROOT / name)) for name in PAGES + TEXTS]
    for text in found[-len(TEXTS) :]:
        text.dest_uri = f"{text.src_uri}.txt"  # a browser shows it
    return Files(found)


def on_page_markdown(markdown: str, **_: object) -> str:
    """What GitHub reads in another way than Python-Markdown: tags of code cells, and bars in the code of tables."""
    markdown = re.sub(r"^(```\w+) tags=.*$", r"\1", markdown, flags=re.MULTILINE)
    return re.sub(r"(`[^`\n]+)\\\|([^`\n]+`)", r"\1|\2", markdown)


def tutorial(source: Path, place: str, config: MkDocsConfig) -> Iterator[File]:
    """The page of a tutorial (py:percent), its pictures, and the notebook."""
    with TemporaryDirectory() as folder, chdir(folder):
        if os.environ.get(EXECUTE) == "0":
            nbformat.write(jupytext.read(source), "notebook.ipynb")
        else:
            execute(source, "notebook.ipynb")
        notebook = nbformat.read("notebook.ipynb", 4)
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]  # logs, progress bars
    notebook.metadata.language_info = {"name": "python"}  # colours of the code
    stem = Path(place).stem
    names = {"output_files_dir": f"{stem}_files", "unique_key": stem}
    page, resources = MarkdownExporter().from_notebook_node(notebook, names)
    title, _, rest = page.partition("\n\n")
    page = f"{title}\n\n[This page as a notebook]({stem}.ipynb)\n\n{rest}"
    yield Tutorial.generated(config, place, content=page)
    yield File.generated(config, str(Path(place).with_suffix(".ipynb")), content=nbformat.writes(notebook))
    for name, picture in resources["outputs"].items():
        yield File.generated(config, f"docs/tutorials/{name}", content=picture)
