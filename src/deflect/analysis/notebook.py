"""Execute notebooks (py:percent) with parameters. Equal inputs give .ipynb files with equal bytes.

A notebook starts with `open_study` and passes every table and figure to `show`.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from deflect.errors import DataError
from deflect.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from deflect.analysis.records import StudyRuns
    from deflect.analysis.render import Table

log = logging.getLogger(__name__)

#: Cell metadata that differs from run to run (nbstripout strips the same).
_VOLATILE = ("papermill", "execution", "collapsed", "scrolled")
#: Environment of the kernel. One thread: with more, rounding would depend on the machine, and the sums here are small.
_KERNEL = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
_KERNEL |= {"PYDEVD_DISABLE_FILE_VALIDATION": "1"}


def open_study(runs: str, grid: Mapping[str, Any]) -> StudyRuns:
    """Change to the project's folder and load the runs of a study."""
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
    """Run the notebook ``source`` (py:percent) in the current directory and write ``output``.

    The kernel is this interpreter. A notebook that fails is written too, with its traceback.

    Args:
        parameters: values for names in the cell tagged ``parameters``.

    Raises:
        DataError: an unknown parameter, or a failing cell; the message has the name or the last line of the error.
        FileNotFoundError: there is no such notebook.
    """
    source, parameters = Path(source), dict(parameters or {})
    known = parameter_names(source)
    if unknown := sorted(set(parameters) - set(known)):  # papermill itself would only warn
        raise DataError(f"{source}: no parameter {', '.join(unknown)}; it has {', '.join(known)}")
    import papermill
    from ipykernel.kernelspec import write_kernel_spec
    from traitlets.config import Config

    with tempfile.TemporaryDirectory(prefix="deflect-") as name:
        folder, ran = Path(name), Path(name) / "ran.ipynb"
        # The kernel's own log is off: errors in a cell reach the notebook, and interrupts at its end are no errors.
        write_kernel_spec(str(folder / "kernels" / "python3"), extra_arguments=["--log-level=CRITICAL"])
        # The user's IPython settings and start-up files have no effect.
        folders = {"JUPYTER_PATH": name, "JUPYTER_RUNTIME_DIR": f"{name}/runtime", "IPYTHONDIR": f"{name}/ipython"}
        environment = _KERNEL | folders | {"DEFLECT_FOLDER": str(Path.cwd())}
        # Sockets in this folder: notebooks that run at the same time could take each other's ports.
        config = Config({"KernelManager": {"transport": "ipc", "ip": f"{name}/kernel"}})
        options = {"kernel_name": "python3", "progress_bar": False, "config": config, "coalesce_streams": True}
        failure = None
        try:
            with mock.patch.dict(os.environ, environment):
                papermill.execute_notebook(_read(source), ran, parameters, **options)
        except papermill.PapermillExecutionError as error:
            failure = f"{source}: cell {error.exec_count} failed: {error.ename}: {error.evalue}; see {output}"
        for text in stabilise(ran):
            log.warning("%s: %s", source, text)
        with atomic_path(Path(output)) as aside:
            aside.write_bytes(ran.read_bytes())
    if failure:
        raise DataError(failure)


def parameter_names(source: Path) -> list[str]:
    """The names that the notebook's cell tagged ``parameters`` sets."""
    import papermill

    if not source.exists():
        raise FileNotFoundError(f"{source}: no such notebook")
    return list(papermill.inspect_notebook(_read(source)))


def _read(source: Path) -> Any:
    import jupytext

    notebook = jupytext.read(source)
    notebook.metadata.kernelspec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return notebook


def find_root() -> Path:
    """The project's folder: the nearest one, from here upward, with a Snakefile or a pyproject.toml.

    A notebook finds it whether it is opened in the root or in notebooks/. Under `execute` it is the working directory.
    """
    if "DEFLECT_FOLDER" in os.environ:
        return Path(os.environ["DEFLECT_FOLDER"])
    here = Path.cwd()
    marked = (f for f in (here, *here.parents) if (f / "Snakefile").exists() or (f / "pyproject.toml").exists())
    return next(marked, here)


def stabilise(path: Path) -> list[str]:
    """Remove from a notebook what differs from run to run: times and random cell ids.

    Returns: what its cells wrote to stderr, such as warnings, a line per cell.
    """
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    notebook.metadata = {key: value for key, value in notebook.metadata.items() if key in ("kernelspec", "jupytext")}
    for position, cell in enumerate(notebook.cells):
        cell.id = f"cell-{position}"
        for key in _VOLATILE:
            cell.metadata.pop(key, None)
    nbformat.write(notebook, path)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return [" ".join(output.text.split()) for output in outputs if output.get("name") == "stderr"]
