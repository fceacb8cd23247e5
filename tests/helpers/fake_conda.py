"""An executable ``conda`` that answers what Snakemake asks and makes environments with ``python -m venv``."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

CONDA = """#!{python}
import json, os, subprocess, sys, venv
from pathlib import Path

base, arguments = Path(__file__).parents[1], sys.argv[1:]
if arguments == ["--version"]:
    print("conda 24.7.1")
elif arguments == ["info", "--json"]:
    print(json.dumps({{"conda_prefix": str(base), "platform": "linux-64"}}))
elif arguments[:2] == ["config", "--get"]:
    print(json.dumps({{"get": {{"channel_priority": "strict"}}}}))
elif arguments[:2] == ["env", "create"]:
    file, prefix = (Path(arguments[arguments.index(option) + 1]) for option in ("--file", "--prefix"))
    venv.create(prefix, symlinks=True)
    {install}
elif arguments[0] != "clean":
    sys.exit(f"fake conda: unknown command {{arguments}}")
"""
#: The packages of this environment, except editable ones: Python does not follow a .pth file inside another.
LEND = 'next(prefix.glob("lib/python3*/site-packages")).joinpath("lent.pth").write_text({packages!r})'
#: Exactly the pins of the file.
INSTALL = """import yaml
    pins = prefix / "pins.txt"
    pins.write_text("\\n".join(yaml.safe_load(file.read_text())["dependencies"][-1]["pip"]))
    subprocess.run([{uv!r}, "pip", "install", "--quiet", "--python", prefix / "bin/python", "-r", pins], check=True)"""


def write_conda(base: Path, install_pins: bool = False) -> Path:
    """Write ``base/bin/conda`` and return ``bin``. New environments have the pins of their file, or all packages
    of this environment."""
    install = INSTALL if install_pins else LEND
    places = {"packages": sysconfig.get_path("purelib"), "uv": str(Path(sys.executable).with_name("uv"))}
    conda = base / "bin/conda"
    conda.parent.mkdir(parents=True)
    conda.write_text(CONDA.format(python=sys.executable, install=install.format(**places)))
    conda.chmod(0o755)
    conda.with_name("activate").write_text('export CONDA_PREFIX="$1" PATH="$1/bin:$PATH"\n')
    return conda.parent
