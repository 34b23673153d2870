"""The package's structure: pages and wings, one-way imports, and a light `import tinynet`."""

import ast
import io
import pathlib
import re
import subprocess
import sys
import tokenize
import tomllib

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parents[2] / "tinynet"

# A file in tinynet/ is a "page" of the textbook, given here with its maximum number of lines. One
# page may exceed it by a tenth, as long as all pages together stay within ALL_PAGES.
PAGES = {
    "initializers": 110, "activations": 150, "regularizers": 45, "layers": 270, "losses": 190,
    "metrics": 110, "optimizers": 185, "training": 170, "models": 170,
}  # fmt: skip
ALL_PAGES = 1400
NO_PAGES = {"__init__", "config"}

# A folder in tinynet/ is a "wing", given here with its maximum number of statements.
WINGS = {
    "backend": 466, "compat": 803, "utils": 295, "callbacks": 369, "saving": 414, "engine": 1091,
    "inspection": 652, "datasets": 294, "plotting": 564, "web": 183, "doctor": 51,
}  # fmt: skip

# Each file may import only those before it. A wing's `__init__` stands as the wing's name.
ORDER = """
    config
    backend.types backend.diagnosis backend.gpu backend.random backend backend.threads
    compat compat.naming compat.checks compat.rules compat.arguments compat.constructors
    compat.configuration compat.targets compat.activation compat.initializer compat.weights
    compat.layer compat.optimizer
    utils.files utils.interrupt utils.progress utils.labels utils
    initializers activations regularizers layers losses metrics optimizers
    callbacks.base callbacks.history callbacks.monitors callbacks.backup callbacks
    saving.hdf5 saving.save saving saving.load
    engine engine.memory engine.data engine.tracker engine.finite engine.rollback engine.parameters
    engine.network engine.device engine.evaluation engine.advice engine.plan
    engine.training_state
    training
    inspection inspection.summary inspection.worked_update inspection.trace_table inspection.trace
    inspection.gradient_report inspection.gradient_check inspection.dead_units
    models
    datasets.digits datasets.prepare datasets.mnist datasets
    plotting.pictures plotting.curves plotting.learned plotting.live plotting
    web.samples web
    doctor doctor.__main__
    __init__
"""

# The core is what has to be read to understand training; these files and wings are not in it.
NOT_CORE = """
    backend.types backend.diagnosis backend.gpu utils.files utils.interrupt callbacks.backup
    engine.advice engine.device engine.finite engine.memory engine.training_state
    inspection.worked_update inspection.trace_table inspection.trace inspection.gradient_report
    inspection.gradient_check inspection.dead_units
    saving datasets plotting web doctor
"""

# The only imports of a later file by an earlier one.
UPWARD = {
    ("callbacks", "plotting.live"),  # LivePlot, which draws; when first asked for
    ("backend.types", "models"),  # Sequential; for type checkers only
}


def name_of(path):
    """Return the name by which a file is imported, without ``tinynet.``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(path):
    """Yield the names of tinynet's files that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                module = getattr(node, "module", None) or alias.name
                inner = f"{module}.{alias.name}" if isinstance(node, ast.ImportFrom) else module
                first, *rest = inner.split(".")
                if first == "tinynet":
                    name = ".".join(rest)
                    yield name if name in FILES else ".".join(rest[:-1]) or "__init__"


def statements(path):
    """Return a file's number of statements, without docstrings; a wrapped line counts once."""
    source = path.read_text("utf-8")
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    with_docstring = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and ast.get_docstring(node) is not None
    ]
    return sum(token.type == tokenize.NEWLINE for token in tokens) - len(with_docstring)


def lines(page):
    return len((PACKAGE / f"{page}.py").read_text("utf-8").splitlines())


def total_of(count, parts, name):
    """Print and return a total; `pytest -s` shows how much room is left."""
    total = sum(map(count, parts))
    print(f"{name}: {total} {count.__name__}")
    return total


def test_pages_and_wings_are_the_files_and_folders_of_the_package():
    assert {path.stem for path in PACKAGE.glob("*.py")} == PAGES.keys() | NO_PAGES
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name[0] != "_"}
    assert folders == WINGS.keys()


@pytest.mark.parametrize("page", PAGES)
def test_a_page_stays_within_its_lines(page):
    assert lines(page) <= PAGES[page] * 11 // 10


def test_all_pages_together_stay_within_their_lines():
    assert total_of(lines, PAGES, "all pages") <= ALL_PAGES


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_stays_within_its_statements(wing):
    assert total_of(statements, (PACKAGE / wing).rglob("*.py"), wing) <= WINGS[wing]


def test_the_core_stays_within_its_statements():
    left_out = set(NOT_CORE.split())
    core = [path for name, path in FILES.items() if not {name, name.split(".")[0]} & left_out]
    assert total_of(statements, core, "the core") <= 3150


@pytest.mark.parametrize("name", FILES)
def test_imports_point_one_way(name):
    order = ORDER.split()
    assert name in order, f"{name} is missing in ORDER"
    above = order[order.index(name) :]
    upward = {(name, other) for other in imported(FILES[name]) if other in above}
    assert upward <= UPWARD


def test_order_and_upward_match_the_files_and_imports():
    assert sorted(ORDER.split()) == sorted(FILES)
    assert all(above in set(imported(FILES[name])) for name, above in UPWARD)


def test_pages_below_training_import_only_pages_and_lower_wings():
    below = {"config", "backend", "compat", *PAGES}
    for page in PAGES.keys() - {"training", "models"}:
        assert {name.split(".")[0] for name in imported(FILES[page])} <= below


@pytest.mark.parametrize("path", FILES.values(), ids=FILES)
def test_a_file_is_short_and_has_a_docstring(path):
    source = path.read_text("utf-8")
    assert len(source.splitlines()) <= 350
    assert ast.get_docstring(ast.parse(source)), f"{path.name} has no module docstring"


def words_printed_by(program):
    """Return the words that a program prints in a new process."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


SHOW_LOADED = "; import sys; print(*{name.split('.')[0] for name in sys.modules})"


def test_importing_tinynet_loads_nothing_until_it_is_used():
    assert "numpy" not in words_printed_by(f"import tinynet{SHOW_LOADED}")
    use = "import tinynet; tinynet.Sequential().add(tinynet.layers.Dense(1))"
    loaded = set(words_printed_by(use + SHOW_LOADED))
    lazy = {"rich", "matplotlib", "h5py", "cupy", "tensorflow_datasets", "keras", "jax", "PIL"}
    assert "numpy" in loaded
    assert not loaded & (lazy | {"difflib", "shutil", "threadpoolctl"})


def test_lazy_modules_can_be_reached_and_a_missing_dependency_is_named():
    use = "import tinynet; tinynet.datasets.digits.load_data(); tinynet.plotting.plot_network"
    assert words_printed_by(use) == []
    without_numpy = (
        "import sys; sys.modules['numpy'] = None\nimport tinynet\n"
        "try: tinynet.Sequential\nexcept ModuleNotFoundError as error: print(error.name)"
    )
    assert words_printed_by(without_numpy) == ["numpy"]


def test_the_package_has_its_public_names_and_no_others():
    import tinynet

    assert set(tinynet.__all__) <= set(dir(tinynet))
    assert all(getattr(tinynet, name) is not None for name in tinynet.__all__)
    assert tinynet.training.train_step  # modules that are not in __all__ are there as well
    assert not hasattr(tinynet, "foo.bar")
    with pytest.raises(AttributeError, match="no attribute 'sequentail'"):
        tinynet.sequentail  # noqa: B018


def test_types_are_named():
    """`Any` is rare, and no model is typed so; mypy is strict for everything."""
    lines = [line for path in FILES.values() for line in path.read_text("utf-8").splitlines()]
    untyped = [line for line in lines if re.search(r"\bAny\b", line)]
    print(f"{len(untyped)} lines with Any")
    assert len(untyped) <= 100
    assert not any("model: Any" in line for line in untyped)
    settings = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text("utf-8"))["tool"]["mypy"]
    assert settings["strict"]
    assert "tinynet." not in str(settings["overrides"])
