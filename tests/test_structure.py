"""The house: imports point one way, files stay readable, and `import tinynet` stays light."""

import ast
import io
import pathlib
import subprocess
import sys
import tokenize

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parent.parent / "tinynet"

# Each file may import those before it. Files about the same thing stand together.
ORDER = [
    name
    for group in """
    config diagnosis gpu backend threads naming validation
    initializers activations regularizers
    layer dropout inputs layers
    loss losses objective metrics
    optimizer optimizers
    files weightfile saving
    memory data progress callback backup watching callbacks
    tracker evaluation advice interrupt course training working tracetable tracing
    network summary moving models loading
    verdicts checking dead
    utils plotting datasets web doctor
    __init__
""".splitlines()
    for name in group.split()
]

# What a file imports from above it, when first asked for.
UPWARD = {
    "callbacks": {"plotting"},  # LivePlot, which draws
    "models": {"loading"},  # load_model, which makes a model of a file
}

# The core is what a reader reads to understand training.
NOT_CORE = {
    "advice",
    "plotting",
    "datasets",
    "diagnosis",
    "gpu",
    "doctor",
    "checking",
    "dead",
    "verdicts",
    "tracing",
    "tracetable",
    "working",
    "backup",
    "course",
    "files",
    "interrupt",
    "loading",
    "memory",
    "moving",
    "saving",
    "weightfile",
}


def modules():
    return sorted(PACKAGE.glob("*.py"))


def imported(path):
    """The names of tinynet's modules that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tinynet":
            parts = node.module.split(".")
            yield from parts[1:2] or (alias.name for alias in node.names)
        if isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("tinynet."))


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


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.stem)
def test_imports_point_one_way(path):
    assert path.stem in ORDER, f"say in ORDER where {path.name} belongs"
    allowed = set(ORDER[: ORDER.index(path.stem)]) | UPWARD.get(path.stem, set())
    assert set(imported(path)) - allowed <= set()


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_a_file_tells_one_story_and_says_which(path):
    source = path.read_text("utf-8")
    assert len(source.splitlines()) <= 350
    assert ast.get_docstring(ast.parse(source)), f"{path.name} opens without saying what it is"


def test_the_core_can_be_read_in_an_evening():
    core = [path for path in modules() if path.stem not in NOT_CORE]
    total = sum(map(statements, core))
    print(f"{total} statements in {len(core)} files")
    assert total <= 3150


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
