"""A clone can be installed and imported, whatever it is called and wherever Python is started."""

import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys
import venv

import pytest
from conftest import ROOT

import tinynet

SITE_PACKAGES = pathlib.Path(importlib.util.find_spec("numpy").origin).parents[1]


@pytest.mark.long
def test_an_editable_clone_named_tinynet_is_imported_from_every_folder(tmp_path, monkeypatch):
    """In its parent folder, Python could take the clone itself for a package without a file."""
    clone, environment = tmp_path / "tinynet", tmp_path / "environment"
    clone.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    shutil.copytree(ROOT / "tinynet", clone / "tinynet")
    venv.create(environment)
    (python,) = environment.glob("Scripts/python.exe" if os.name == "nt" else "bin/python")
    # NumPy and the build backend are borrowed from this environment, so that nothing is downloaded.
    monkeypatch.setenv("PYTHONPATH", str(SITE_PACKAGES))

    def run(*command, folder=tmp_path):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    run(sys.executable, "-m", "pip", "--python", python, "install", *offline, "--editable", clone)
    (tmp_path / "beside").mkdir()
    for folder in (tmp_path, tmp_path / "beside", clone, clone / "tinynet"):
        program = "import tinynet; print(tinynet.__file__, tinynet.Sequential.__name__)"
        received = run(python, "-c", program, folder=folder).split()
        assert received == [str(clone / "tinynet" / "__init__.py"), "Sequential"]


def test_nobody_is_told_to_install_the_other_project_of_that_name():
    """On PyPI, `tinynet` is another project; this one's distribution is called `tinynet-nn`."""
    kinds = {".py", ".md", ".toml", ".ipynb", ".html", ".js", ".cff"}
    for path in [*ROOT.glob("*.*"), *ROOT.glob("*/**/*.*")]:
        if path.suffix in kinds and not {".venv", "build"} & set(path.parts):
            text = path.read_text("utf-8")
            told = re.search(r"[p]ip install [^\n]*?(?<![\w./*-])tinynet(?![\w./-])", text)
            assert not told, path


def test_the_versions_to_cite_and_to_install_are_equal():
    assert f"\nversion: {tinynet.__version__}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), flags=re.M)[1]
    assert newest == tinynet.__version__
