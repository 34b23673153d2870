"""Files that are always whole, and archives that are checked before they are believed.

A file is written beside its place, flushed to the disk, and put in place in one step: whoever
looks, at whatever moment, finds the old file or the new one. An archive is a ZIP of a few parts.
Its checksums show damage, and what its parts would take unpacked is known before they are read.
"""

import io
import os
import pathlib
from collections.abc import Iterable, Mapping

PathLike = str | os.PathLike[str]

# Weights hardly get smaller by packing. What grows more than so many times is no honest archive.
MOST_PACKED = 32
SMALL = 1_000_000  # bytes that a part may have whatever the size of its archive


def check_path(path: PathLike, suffix: str) -> pathlib.Path:
    """`path` if it ends in `suffix`.

    Raises:
        ValueError: if it does not, with the name that it could have.
    """
    given = os.fspath(path)
    if str(given).endswith(suffix):
        return pathlib.Path(given)
    stem = str(given)
    for known in (".weights.h5", ".weights.npz", ".keras", ".h5", ".hdf5", ".npz", ".json"):
        stem = stem.removesuffix(known)
    hint = ""
    if suffix == ".weights.h5":
        hint = " (a model whole, with optimizer: model.save, tinynet.models.load_model, .keras)"
    if str(given).endswith(".weights.h5"):
        hint = " (weights alone: save_weights, load_weights, save_weights_only=True)"
    elif str(given).endswith((".h5", ".hdf5")):
        hint = " (Keras writes an old file anew: keras.models.load_model(old).save(new))"
    raise ValueError(
        f"The filename must end in `{suffix}`. Received: {str(given)!r}. "
        f'Write: "{stem}{suffix}"{hint}'
    )


def write_whole(path: pathlib.Path, data: bytes, overwrite: bool = True) -> None:
    """Make `data` the file at `path`, in one step; folders are made.

    Raises:
        FileExistsError: if there is a file, and it shall not be overwritten.
        OSError: if it cannot be written. Then what was there is there still.
    """
    if not overwrite and path.exists():
        raise FileExistsError(
            f"Expected a new file, but {path} is there. Write: overwrite=True, or another name"
        )
    path = pathlib.Path(os.path.realpath(path))  # a link goes on to point there
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.urandom(4).hex()}.draft")
    try:
        with draft.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    if os.name == "posix":  # elsewhere a folder cannot be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def drop_drafts(path: pathlib.Path) -> None:
    """Remove what programs that were killed have left of drafts of `path`."""
    for draft in path.parent.glob(f".{path.name}.*.draft"):
        draft.unlink(missing_ok=True)


def pack(parts: Mapping[str, bytes]) -> bytes:
    """An archive of `parts`, by name, as Keras writes it: not compressed, without times."""
    import zipfile  # here, as it takes a while and `import tinynet.models` wants none of it

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in parts.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return file.getvalue()


def unpack(path: PathLike, names: Iterable[str]) -> dict[str, bytes]:
    """Those of the parts `names` that the archive at `path` has, each as its checksum wants it.

    Raises:
        OSError: if there is no file to be read.
        ValueError: if it is no archive, is damaged, or would grow beyond measure; nothing is
            unpacked to disk, whatever its parts are called.
    """
    import zipfile

    found = {}
    with open(path, "rb") as file:
        room = os.fstat(file.fileno()).st_size * MOST_PACKED + SMALL
        try:
            with zipfile.ZipFile(file) as archive:
                listed = [info for info in archive.infolist() if info.filename in set(names)]
                if len({info.filename for info in listed}) < len(listed):
                    raise ValueError("it has a part twice")
                size = sum(info.file_size for info in listed)
                if size > room:
                    raise ValueError(f"unpacked, it would take {size:,} bytes, far too many")
                for info in listed:
                    found[info.filename] = archive.read(info)
        except MemoryError:
            raise
        except Exception as error:  # whatever `zipfile` makes of damaged bytes
            raise damaged(path, error) from error
    return found


def damaged(path: PathLike, why: object) -> ValueError:
    """The error for a file that is not what it should be."""
    if isinstance(why, Exception):
        why = str(why) or type(why).__name__
    return ValueError(
        f"Expected a whole file, and of such a model, received {os.fspath(path)}: {why}. "
        "Nothing was loaded. Save it anew, or load it into a model of its kind."
    )
