"""The house: pages and wings, imports point one way, and `import tinynet` stays light."""

import ast
import io
import pathlib
import subprocess
import sys
import tokenize

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parents[2] / "tinynet"

# A file in tinynet/ is a page of the textbook, with the lines that it should have at most,
# everything counted; a tenth more is forgiven, if all pages together keep to ALL_PAGES.
PAGES = {
    "initializers": 110,
    "activations": 150,
    "regularizers": 45,
    "layers": 270,
    "losses": 190,
    "metrics": 110,
    "optimizers": 185,
    "training": 170,
    "models": 170,
}
ALL_PAGES = 1400
NO_PAGES = {"__init__", "config"}

# A folder is a wing, with the statements that it has at most.
WINGS = {
    "backend": 432,
    "compat": 812,
    "utils": 295,
    "callbacks": 366,
    "saving": 399,
    "engine": 1066,
    "inspection": 648,
    "datasets": 291,
    "plotting": 552,
    "web": 180,
    "doctor": 51,
}

# Each file may import those before it, the `__init__` of a wing as the wing itself.
ORDER = [
    name
    for group in """
    config
    backend.diagnosis backend.gpu backend.random backend backend.threads
    compat compat.naming compat.validation compat.checks compat.arguments compat.constructors
    compat.configuration compat.targets compat.activation compat.initializer compat.weights
    compat.layer compat.optimizer
    utils.files utils.interrupt utils.progress utils.labels utils
    initializers activations regularizers layers losses metrics optimizers
    callbacks.base callbacks.history callbacks.monitors callbacks.backup callbacks
    saving.hdf5 saving.save saving saving.load
    engine engine.memory engine.data engine.tracker engine.rollback engine.parameters
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
""".splitlines()
    for name in group.split()
]

# The core is what a reader reads to understand training; these are not in it.
NOT_CORE = """
    backend.diagnosis backend.gpu utils.files utils.interrupt callbacks.backup
    engine.advice engine.device engine.memory engine.training_state
    inspection.worked_update inspection.trace_table inspection.trace inspection.gradient_report
    inspection.gradient_check inspection.dead_units
    saving datasets plotting web doctor
"""

# What a file imports from above it, when first asked for.
UPWARD = {("callbacks", "plotting.live")}  # LivePlot, which draws


def name_of(path):
    """The name by which other files import a file, without ``tinynet.``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(path):
    """The names of tinynet's files that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tinynet":
            module = node.module.removeprefix("tinynet").removeprefix(".")
            for alias in node.names:
                inner = f"{module}.{alias.name}".removeprefix(".")
                yield inner if inner in FILES else module or "__init__"
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "tinynet":
                    yield alias.name.removeprefix("tinynet").removeprefix(".") or "__init__"


def statements(path):
    """How many statements a file has, docstrings not counted; a wrapped line counts once."""
    source = path.read_text("utf-8")
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    count = sum(token.type == tokenize.NEWLINE for token in tokens)
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
            and isinstance(body[0].value.value, str)
        ):
            count -= 1
    return count


def test_a_file_is_a_page_and_a_folder_is_a_wing():
    assert {path.stem for path in PACKAGE.glob("*.py")} == PAGES.keys() | NO_PAGES
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name[0] != "_"}
    assert folders == WINGS.keys()


def lines(page):
    return len((PACKAGE / f"{page}.py").read_text("utf-8").splitlines())


@pytest.mark.parametrize("page", PAGES)
def test_a_page_keeps_to_its_lines(page):
    assert lines(page) <= PAGES[page] * 11 // 10


def test_all_pages_together_keep_to_theirs():
    total = sum(map(lines, PAGES))
    print(f"{total} lines in {len(PAGES)} pages")
    assert total <= ALL_PAGES


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_keeps_to_its_statements(wing):
    total = sum(map(statements, (PACKAGE / wing).rglob("*.py")))
    print(f"{wing}: {total} statements")
    assert total <= WINGS[wing]


def test_the_core_can_be_read_in_an_evening():
    left_out = set(NOT_CORE.split())
    core = [name for name in FILES if not {name, name.split(".")[0]} & left_out]
    total = sum(statements(FILES[name]) for name in core)
    print(f"{total} statements in {len(core)} files")
    assert total <= 3150


@pytest.mark.parametrize("name", FILES)
def test_imports_point_one_way(name):
    assert name in ORDER, f"say in ORDER where {name} belongs"
    above = ORDER[ORDER.index(name) :]
    upward = {(name, other) for other in imported(FILES[name]) if other in above}
    assert upward <= UPWARD


def test_order_and_upward_name_only_what_is_there():
    assert sorted(ORDER) == sorted(FILES)
    assert all(above in set(imported(FILES[name])) for name, above in UPWARD)


def test_pages_below_training_know_only_pages_and_what_is_below_them():
    below = {"config", "backend", "compat", *PAGES}
    for page in PAGES.keys() - {"training", "models"}:
        assert {name.split(".")[0] for name in imported(FILES[page])} <= below


def test_there_is_no_circle():
    edges = {name: set(imported(path)) - {name} for name, path in FILES.items()}
    for name, above in UPWARD:
        edges[name].discard(above)
    left = dict(edges)
    while left:
        free = {name for name, needs in left.items() if not needs & left.keys()}
        assert free, f"a circle among {sorted(left)}"
        left = {name: needs for name, needs in left.items() if name not in free}


@pytest.mark.parametrize("path", FILES.values(), ids=FILES)
def test_a_file_tells_one_story_and_says_which(path):
    source = path.read_text("utf-8")
    assert len(source.splitlines()) <= 350
    assert ast.get_docstring(ast.parse(source)), f"{path.name} opens without saying what it is"


def loaded_by(program):
    """The packages in memory after a program of its own."""
    program += "; import sys; print(*{name.split('.')[0] for name in sys.modules})"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(run.stdout.split())


def test_importing_tinynet_loads_nothing_until_it_is_named():
    assert "numpy" not in loaded_by("import tinynet")
    loaded = loaded_by("import tinynet; tinynet.Sequential().add(tinynet.layers.Dense(1))")
    lazy = {"rich", "matplotlib", "h5py", "cupy", "tensorflow_datasets", "keras", "jax", "PIL"}
    assert "numpy" in loaded
    assert not loaded & (lazy | {"difflib", "shutil", "threadpoolctl"})


def test_every_public_name_is_there():
    import tinynet

    for name in tinynet.__all__:
        assert getattr(tinynet, name) is not None
        assert name in dir(tinynet)
    assert tinynet.training.train_step  # and so are the parts that are not listed
    assert not hasattr(tinynet, "foo.bar")


def test_lazy_modules_can_be_reached_from_the_package():
    program = "import tinynet; tinynet.datasets.digits.load_data(); tinynet.plotting.plot_network"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_unknown_attribute_is_an_attribute_error():
    import tinynet

    with pytest.raises(AttributeError, match="no attribute 'sequentail'"):
        tinynet.sequentail  # noqa: B018


def test_what_a_part_needs_and_does_not_find_is_named():
    program = (
        "import sys; sys.modules['numpy'] = None\nimport tinynet\n"
        "try: tinynet.Sequential\nexcept ModuleNotFoundError as error: print(error.name)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "numpy"
