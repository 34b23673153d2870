"""The package's structure: pages and wings, one-way imports, and a light `import tinynet`.

The table of contents, `tinynet/README.md`, is correct: pages, lines, wings, and the map.
"""

import ast
import io
import pathlib
import re
import subprocess
import sys
import tokenize
import tomllib
from operator import attrgetter

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parents[2] / "tinynet"

# A file in tinynet/ is a "page" of the textbook, given here with its maximum number of lines. One
# page may exceed it by a tenth, as long as all pages together stay within ALL_PAGES.
PAGES = {
    "initializers": 116, "activations": 139, "regularizers": 46, "layers": 293, "losses": 272,
    "metrics": 110, "optimizers": 240, "training": 173, "models": 111,
}  # fmt: skip
ALL_PAGES = 1500
NO_PAGES = {"__init__", "config"}

# A folder in tinynet/ is a "wing", given here with its maximum number of statements.
WINGS = {
    "backend": 1242, "compat": 2055, "utils": 365, "callbacks": 465, "saving": 440, "engine": 1862,
    "inspection": 713, "datasets": 330, "plotting": 566, "web": 300, "course": 761, "doctor": 56,
}  # fmt: skip

# Each file may import only those before it. A wing's `__init__` stands as the wing's name.
ORDER = """
    compat compat.elsewhere compat.former compat.missing
    config
    backend.types backend.diagnosis backend.gpu backend.turns backend.products backend.compiler
    backend.formulas backend.changing backend.arrays backend.replay backend.random backend
    backend.threads
    compat.naming compat.absent compat.checks compat.contracts compat.surface compat.guards
    compat.rules compat.shapes compat.arguments compat.constructors compat.configuration
    compat.targets compat.activation compat.initializer compat.weights compat.measures
    compat.functional compat.layer compat.schedule compat.slots compat.optimizer
    utils.files utils.interrupt utils.progress utils.labels utils.batches utils
    initializers activations regularizers layers losses metrics optimizers
    callbacks.base callbacks.history callbacks.monitors callbacks.learning_rate callbacks.backup
    callbacks
    saving.hdf5 saving.save saving saving.load
    engine engine.memory engine.data engine.streams engine.tracker engine.finite engine.parameters
    engine.rollback engine.surface engine.network engine.preparation engine.device engine.advice
    engine.evaluation engine.plan engine.steps engine.training_state
    training
    inspection inspection.summary inspection.model_table inspection.worked_update
    inspection.trace_table inspection.trace inspection.gradient_report inspection.gradient_check
    inspection.dead_units
    models
    datasets.digits datasets.prepare datasets.loader datasets.mnist
    datasets.fashion_mnist datasets
    plotting.pictures plotting.curves plotting.learned plotting.live plotting
    web.learning web.samples web.network web
    course.errors course.grading course.data course.pictures course.neuron course.being_wrong
    course.parts course.way_back course.taking_steps course.by_heart course.your_own course
    doctor doctor.__main__
    __init__
"""

# The core is what has to be read to understand training; these files and wings are not in it.
NOT_CORE = """
    backend.types backend.diagnosis backend.gpu backend.products backend.compiler backend.formulas
    backend.changing backend.replay backend.turns backend.threads compat.absent compat.contracts
    compat.elsewhere compat.former compat.functional compat.guards compat.missing compat.surface
    callbacks.learning_rate engine.surface
    utils.files utils.interrupt callbacks.backup engine.advice engine.device engine.finite
    engine.memory engine.rollback engine.steps engine.streams engine.training_state utils.batches
    inspection.model_table inspection.worked_update inspection.trace_table inspection.trace
    inspection.gradient_report inspection.gradient_check inspection.dead_units
    saving datasets plotting web course doctor
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
                name = ".".join(filter(None, (getattr(node, "module", None), alias.name)))
                first, *rest = name.split(".")
                if first == "tinynet":
                    name = ".".join(rest)
                    yield name if name in FILES else ".".join(rest[:-1]) or "__init__"


def statements(path):
    """Return a file's number of statements, without docstrings; a wrapped line counts once."""
    source = path.read_text("utf-8")
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    documented = ast.Module | ast.ClassDef | ast.FunctionDef
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, documented)]
    docstrings = sum(ast.get_docstring(node) is not None for node in nodes)
    return sum(token.type == tokenize.NEWLINE for token in tokens) - docstrings


def lines(page):
    return len((PACKAGE / f"{page}.py").read_text("utf-8").splitlines())


def test_pages_and_wings_are_the_files_and_folders_of_the_package():
    assert {path.stem for path in PACKAGE.glob("*.py")} == PAGES.keys() | NO_PAGES
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name[0] != "_"}
    assert folders == WINGS.keys()


def test_pages_stay_within_their_lines_alone_and_together():
    used = {page: lines(page) for page in PAGES}
    assert [page for page in PAGES if used[page] > PAGES[page] * 11 // 10] == []
    assert sum(used.values()) <= ALL_PAGES


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_stays_within_its_statements(wing):
    assert sum(map(statements, (PACKAGE / wing).rglob("*.py"))) <= WINGS[wing]


def test_the_core_stays_within_its_statements():
    left_out = set(NOT_CORE.split())
    core = [path for name, path in FILES.items() if not {name, name.split(".")[0]} & left_out]
    assert sum(map(statements, core)) <= 4296


def test_imports_point_one_way():
    order = ORDER.split()
    imports = {(name, other) for name in FILES for other in imported(FILES[name])}
    assert {(one, two) for one, two in imports if order.index(one) <= order.index(two)} == UPWARD


def test_pages_below_training_import_only_pages_and_lower_wings():
    below = {"config", "backend", "compat", *PAGES}
    for page in PAGES.keys() - {"training", "models"}:
        assert {name.split(".")[0] for name in imported(FILES[page])} <= below


@pytest.mark.parametrize("path", FILES.values(), ids=FILES)
def test_a_file_is_short_and_has_a_docstring(path):
    source = path.read_text("utf-8")
    assert len(source.splitlines()) <= 350
    assert ast.get_docstring(ast.parse(source)), f"{path.name} has no module docstring"


def test_the_network_of_the_page_is_short():
    """Forward, backward and two optimizers in JavaScript can be read in one sitting."""
    lines = (PACKAGE / "web" / "network.js").read_text("utf-8").splitlines()
    assert len(lines) <= 250


@pytest.mark.parametrize("path", sorted((PACKAGE / "web").glob("*.[jc]s*")), ids=lambda p: p.name)
def test_the_parts_of_the_page_have_at_most_350_lines(path):
    lines = path.read_text("utf-8").splitlines()
    assert len(lines) <= 350
    assert max(map(len, lines)) <= 120


def words_printed_by(program):
    """Return the words that a program prints in a new process."""
    return subprocess.check_output([sys.executable, "-c", program], text=True).split()


SHOW_LOADED = "; import sys; print(*{name.split('.')[0] for name in sys.modules})"


def test_importing_tinynet_loads_nothing_until_it_is_used():
    assert "numpy" not in words_printed_by(f"import tinynet{SHOW_LOADED}")
    use = (
        "import tinynet.plotting, tinynet.datasets; tinynet.Sequential().add(tinynet.layers.Dense"
        "(1)); tinynet.utils.progress.ProgressBar(2, 1).finish({})"  # into a pipe
    )
    loaded = set(words_printed_by(use + SHOW_LOADED))
    lazy = {"rich", "matplotlib", "h5py", "cupy", "tensorflow_datasets", "keras", "jax", "PIL"}
    lazy |= {"tensorflow", "requests", "absl", "difflib", "shutil", "threadpoolctl", "numba"}
    assert "numpy" in loaded
    assert not loaded & lazy


def test_a_missing_dependency_is_named():
    use = "import sys; sys.modules['numpy'] = None; import tinynet; tinynet.Sequential"
    run = subprocess.run([sys.executable, "-c", use], capture_output=True, text=True)
    assert "ModuleNotFoundError: import of numpy halted" in run.stderr.splitlines()[-1]


def test_the_package_has_its_public_names_and_no_others():
    import tinynet

    assert set(tinynet.__all__) <= set(dir(tinynet))
    assert not hasattr(tinynet, "foo.bar")
    with pytest.raises(AttributeError, match="no attribute 'sequentail'"):
        tinynet.sequentail  # noqa: B018


def test_types_are_named():
    """`Any` is rare, and no model is typed so; mypy is strict for everything."""
    lines = [line for path in FILES.values() for line in path.read_text("utf-8").splitlines()]
    untyped = [line for line in lines if re.search(r"\bAny\b", line)]
    assert len(untyped) <= 100
    assert not any("model: Any" in line for line in untyped)
    settings = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text("utf-8"))["tool"]["mypy"]
    assert settings["strict"]
    assert "tinynet." not in str(settings["overrides"])


# The table of contents

README = (PACKAGE / "README.md").read_text("utf-8")
ABOUT_PAGES, ABOUT_WINGS, MAP = README.split("\n## ")[1:4]
ROWS = [line for line in MAP.splitlines() if line.startswith("| ")][1:]
PLACE = re.compile(r"\[([\w./]+):(\d+)\]\(([\w./]+)#L(\d+)\) `([\w.]+)`")


def line_of(path, name):
    """Return the line on which a function, class or method of a file begins."""
    node = ast.parse(path.read_text("utf-8"))
    for part in name.split("."):
        node = next(child for child in node.body if getattr(child, "name", None) == part)
    return node.lineno


def test_every_page_is_listed_with_its_number_of_lines():
    table = dict(re.findall(r"^\| \[`(\w+\.py)`\]\(\1\) \| (\d+) \| \S", ABOUT_PAGES, flags=re.M))
    assert table == {f"{page}.py": str(lines(page)) for page in PAGES}


def test_every_wing_is_listed_with_its_files():
    table = dict(re.findall(r"^\| `(\w+)/` \| (.+) \|$", ABOUT_WINGS, flags=re.M))
    assert table.keys() == WINGS.keys()
    for file in (file for wing in WINGS for file in (PACKAGE / wing).glob("*.py")):
        assert file.stem in ("__init__", "__main__") or f"`{file.stem}`" in table[file.parent.name]


def test_the_map_lists_every_step_of_from_scratch():
    scratch = (PACKAGE.parent / "examples" / "from_scratch.py").read_text("utf-8")
    steps = re.findall(r"^# (\d+\. [^:\n]+)", scratch, flags=re.M)
    assert len(steps) >= 9
    found = [re.match(r"\| (\d+\. [^:[]+)", row)[1].strip() for row in ROWS]
    assert list(dict.fromkeys(found)) == steps


@pytest.mark.parametrize("row", ROWS, ids=lambda row: re.match(r"\| ([^[]+)", row)[1].strip())
def test_a_row_of_the_map_links_to_the_right_lines(row):
    first, here, *_ = row.split(" | ")
    (step,), places = PLACE.findall(first), PLACE.findall(here)
    assert places
    for shown, number, link, linked, name in (step, *places):
        path = (PACKAGE / link).resolve()
        assert path.name == shown.split("/")[-1]
        assert number == linked == str(line_of(path, name)), f"{name} is no longer on line {linked}"
    assert step[2] == "../examples/from_scratch.py"


def test_the_keras_names_in_the_map_exist(keras):
    names = re.findall(r"`keras\.([\w.]+)`", MAP)
    assert len(names) >= 8
    assert all(attrgetter(name)(keras) for name in names)
