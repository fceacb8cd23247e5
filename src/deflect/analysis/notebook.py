"""Notebooks: run one (py:percent) with parameters to an .ipynb whose bytes depend on its content alone; show results.

A notebook starts with `open_study` and shows every table and figure by `show`.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deflect.errors import DataError
from deflect.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from deflect.analysis.records import StudyRuns
    from deflect.analysis.render import Table

log = logging.getLogger(__name__)

#: Cell metadata that differs from run to run (nbstripout strips the same).
_VOLATILE = ("papermill", "execution", "collapsed", "scrolled")
#: Threads of the kernel's linear algebra: more would change rounding with the machine, and the sums here are small.
_KERNEL = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}


def open_study(runs: str, grid: Mapping[str, Any]) -> StudyRuns:
    """Change to the project's folder and load the runs of the study that the notebook's parameters name."""
    from deflect.analysis.records import load_study

    os.chdir(find_root())
    return load_study(runs, grid)


def show(result: Table | Figure, folder: str, name: str) -> None:
    """Write a table (csv, Markdown, LaTeX) or figure (png, pdf) into ``folder`` and display it."""
    from IPython.display import Image, Markdown, display

    from deflect.analysis import figures, render

    if isinstance(result, render.Table):
        result.write(Path(folder) / name)
        display(Markdown(render.markdown(result.printed)))
    else:
        display(Image(figures.save(result, Path(folder) / name)))


def execute(source: Path | str, output: Path | str, parameters: Mapping[str, Any] | None = None) -> None:
    """Convert ``source`` (py:percent) to a notebook, run it and write ``output``.

    Runs in the current directory with the kernel of this very interpreter. Equal inputs give equal bytes. A notebook
    that fails is written too, with its traceback.

    Args:
        parameters: values for names in the cell tagged ``parameters``.

    Raises:
        DataError: an unknown parameter, or a failing cell; the message has the name or the last line of the error.
        FileNotFoundError: there is no such notebook.
    """
    source, output, parameters = Path(source), Path(output), dict(parameters or {})
    known = parameter_names(source)
    if unknown := sorted(set(parameters) - set(known)):  # papermill itself would only warn
        raise DataError(f"{source}: no parameter {', '.join(unknown)}; it has {', '.join(known)}")
    import papermill
    from traitlets.config import Config

    with tempfile.TemporaryDirectory(prefix="deflect-") as name, _kernel(Path(name)):
        plain, ran = Path(name) / "plain.ipynb", Path(name) / "ran.ipynb"
        _convert(source, plain)
        failure = None
        # Sockets in a folder of our own: notebooks that run at the same time could take each other's ports.
        local = Config({"KernelManager": {"transport": "ipc", "ip": f"{name}/kernel"}})
        try:
            papermill.execute_notebook(plain, ran, parameters, kernel_name="python3", progress_bar=False, config=local)
        except papermill.PapermillExecutionError as error:
            failure = f"{source}: cell {error.exec_count} failed: {error.ename}: {error.evalue}; see {output}"
        for text in stabilise(ran):
            log.warning("%s: %s", source, text)
        with atomic_path(output) as aside:
            aside.write_bytes(ran.read_bytes())
    if failure:
        raise DataError(failure)


def parameter_names(source: Path) -> list[str]:
    """The names that the notebook's cell tagged ``parameters`` sets."""
    import papermill

    if not source.exists():
        raise FileNotFoundError(f"{source}: no such notebook")
    with tempfile.TemporaryDirectory(prefix="deflect-") as name:
        _convert(source, Path(name) / "plain.ipynb")
        return list(papermill.inspect_notebook(Path(name) / "plain.ipynb"))


def find_root(start: Path | None = None) -> Path:
    """The nearest folder, upward from ``start`` or here, that holds the project: a Snakefile or a pyproject.toml.

    Lets a notebook use the project's paths whether it is opened in the root or in notebooks/. Where a study runs, its
    working directory holds the paths, whatever is above it.
    """
    if start is None and "DEFLECT_FOLDER" in os.environ:
        return Path(os.environ["DEFLECT_FOLDER"])
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "Snakefile").exists() or (folder / "pyproject.toml").exists():
            return folder
    return start


def stabilise(path: Path) -> list[str]:
    """Rewrite a notebook without what differs from run to run: times, random cell ids, how output was cut to pieces.

    Returns: what its cells wrote to stderr, such as warnings, a line per cell.
    """
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    notebook.metadata = {key: value for key, value in notebook.metadata.items() if key in ("kernelspec", "jupytext")}
    for position, cell in enumerate(notebook.cells):
        cell.id = f"cell-{position}"
        for key in _VOLATILE:
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            cell.outputs = _joined(cell.outputs)
    nbformat.write(notebook, path)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return [" ".join(output.text.split()) for output in outputs if output.get("name") == "stderr"]


def _joined(outputs: list[Any]) -> list[Any]:
    """Neighbouring pieces of one stream as one output."""
    joined: list[Any] = []
    for output in outputs:
        if joined and output.output_type == "stream" and output.get("name") == joined[-1].get("name"):
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def _convert(source: Path, target: Path) -> None:
    import jupytext

    notebook = jupytext.read(source)
    notebook.metadata.kernelspec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    jupytext.write(notebook, target)


@contextmanager
def _kernel(folder: Path) -> Iterator[None]:
    """For the time of a run, ``python3`` is this interpreter, free of the user's IPython settings and start-up files.

    Its log of itself is silenced: what fails in a cell reaches the notebook, and interrupts at its end are no errors.
    """
    from ipykernel.kernelspec import write_kernel_spec

    write_kernel_spec(str(folder / "kernels" / "python3"), extra_arguments=["--log-level=CRITICAL"])
    places = {"JUPYTER_PATH": folder, "JUPYTER_RUNTIME_DIR": folder / "runtime", "IPYTHONDIR": folder / "ipython"}
    places["DEFLECT_FOLDER"] = Path.cwd()
    changes = _KERNEL | {name: str(place) for name, place in places.items()}
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
