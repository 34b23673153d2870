"""Files that are always whole, and archives that are checked before they are believed.

A file is written beside its place, flushed to the disk, and put in place in one step: whoever
looks, at whatever moment, finds the old file or the new one. An archive is a ZIP of a few parts.
Its checksums show damage, and what its parts would take unpacked is known before they are read.
"""

import contextlib
import glob
import io
import os
import pathlib
import time
from collections.abc import Iterable, Mapping

PathLike = str | os.PathLike[str]

# Weights hardly get smaller by packing. What grows more than so many times is no honest archive.
MOST_PACKED = 32
SMALL = 1_000_000  # bytes that a part may have whatever the size of its archive
LONG_AGO = 3600  # seconds after which nobody is still writing a draft


def check_path(path: PathLike, suffix: str) -> pathlib.Path:
    """`path` if it ends in `suffix`.

    Raises:
        ValueError: if it does not, with the name that it could have.
    """
    if not isinstance(path, str | bytes | os.PathLike):
        raise ValueError(
            f"Expected a file's name, received: {path!r} (of type {type(path).__name__}). "
            f'Write: "model{suffix}"'
        )
    given = os.fsdecode(path)
    if given.endswith(suffix) and os.path.basename(given) != suffix:
        return pathlib.Path(given)
    stem = given.rstrip("/\\")
    for known in (
        ".weights.h5",
        ".weights.npz",
        ".weights",
        ".keras",
        ".h5",
        ".hdf5",
        ".npz",
        ".json",
    ):
        if stem.lower().endswith(known):
            stem = stem[: -len(known)]
    hint = ""
    if given.endswith(".weights.h5"):
        hint = " (weights alone: save_weights, load_weights, save_weights_only=True)"
    elif given.endswith((".h5", ".hdf5")):
        hint = " (Keras writes an old file anew: keras.models.load_model(old).save(new))"
    elif given.endswith(".keras"):
        hint = " (a model whole, with its optimizer: model.save, tinynet.models.load_model)"
    raise ValueError(
        f"The filename must end in `{suffix}`. Received: {given!r}. "
        f'Write: "{stem or "model"}{suffix}"{hint}'
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
    drop_drafts(path, LONG_AGO)
    draft = path.with_name(f".{path.name[:100]}.{os.urandom(4).hex()}.draft")
    try:
        with draft.open("xb") as file:
            with contextlib.suppress(OSError):  # who may read the old file may read the new one
                os.chmod(draft, path.stat().st_mode & 0o777)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not every system can open, or flush, a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def drop_drafts(path: pathlib.Path, seconds: float = 0) -> None:
    """Remove drafts of `path`, left by programs that were killed, if they are as old as that."""
    for draft in path.parent.glob(f".{glob.escape(path.name[:100])}.*.draft"):
        with contextlib.suppress(OSError):
            if time.time() - draft.stat().st_mtime >= seconds:
                draft.unlink()


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

    found, wanted = {}, set(names)
    with open(path, "rb") as file:
        room = os.fstat(file.fileno()).st_size * MOST_PACKED + SMALL
        try:
            with zipfile.ZipFile(file) as archive:
                listed = [info for info in archive.infolist() if info.filename in wanted]
                if len({info.filename for info in listed}) < len(listed):
                    raise ValueError("it has a part twice")
                size = sum(info.file_size for info in listed)
                if size > room:
                    raise ValueError(f"unpacked, it would take {size:,} bytes, far too many")
                for info in listed:
                    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                        raise ValueError(f"{info.filename} is packed in a way that Keras does not")
                    # The size that it says of itself can be a lie. With a number to `read`, no more
                    # than that is ever unpacked; the checksum then finds the lie.
                    with archive.open(info) as part:
                        found[info.filename] = part.read(info.file_size + 1)
        except MemoryError:
            raise
        except Exception as error:  # whatever `zipfile` makes of damaged bytes
            raise damaged(path, error) from error
    return found


class DamagedError(ValueError):
    """A file is not what it should be; `why` is the reason alone."""

    def __init__(self, path: PathLike, why: str) -> None:
        self.why = why
        super().__init__(
            f"Expected a whole file of a model like this, received {os.fspath(path)}: {why}. "
            "Nothing was loaded. Save it anew, or load it into a model of its kind"
        )


def damaged(path: PathLike, why: object) -> DamagedError:
    """The error for the file at `path`, and what was found."""
    if isinstance(why, Exception):
        why = getattr(why, "why", None) or str(why) or type(why).__name__
    return DamagedError(path, str(why))
