"""Write files atomically, and read archives that may be damaged or hostile.

A file is written under a temporary name in the same folder, flushed to the disk, and renamed, so
that at any moment either the old or the new file is there. An archive is a ZIP of a few parts. Its
checksums reveal damage, and the unpacked size of its parts is checked before they are read.
"""

import contextlib
import glob
import io
import os
import pathlib
import time
from collections.abc import Iterable, Mapping

PathLike = str | os.PathLike[str]

# Weights hardly compress. An archive that expands by more than this factor is refused.
MAX_RATIO = 32
SLACK_BYTES = 1_000_000  # bytes that an archive of any size may expand to
DRAFT_SECONDS = 3600  # seconds after which a draft counts as abandoned


def check_path(path: PathLike, *suffixes: str) -> pathlib.Path:
    """Return `path` as a `pathlib.Path` if it ends in one of `suffixes`.

    Raises:
        ValueError: if it does not; the message proposes a name.
    """
    if not isinstance(path, str | bytes | os.PathLike):
        raise ValueError(
            f"Expected a file's name, received: {path!r} (of type {type(path).__name__}). "
            f'Write: "model{suffixes[0]}"'
        )
    given = os.fsdecode(path)
    if given.endswith(suffixes) and os.path.basename(given) not in suffixes:
        return pathlib.Path(given)
    stem = given.rstrip("/\\")
    for known in (
        ".weights.json",
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
        hint = " (for weights alone: save_weights, load_weights, save_weights_only=True)"
    elif given.endswith(".weights.json"):
        hint = " (to join sharded files with Keras: load_weights(old), save_weights(new))"
    elif given.endswith((".h5", ".hdf5")):
        hint = " (to convert an old file with Keras: keras.models.load_model(old).save('m.keras'))"
    elif given.endswith(".keras"):
        hint = " (for a whole model and its optimizer: model.save, tinynet.models.load_model)"
    raise ValueError(
        f"The filename must end in `{'` or `'.join(suffixes)}`. Received: {given!r}. "
        f'Write: "{stem or "model"}{suffixes[0]}"{hint}'
    )


def write_atomically(path: pathlib.Path, data: bytes, overwrite: bool = True) -> None:
    """Write `data` to the file at `path` atomically, and create missing folders.

    Raises:
        FileExistsError: if the file exists and `overwrite` is False.
        OSError: if it cannot be written; an existing file stays as it was.
    """
    if not overwrite and path.exists():
        raise FileExistsError(
            f"Expected a new file, but {path} exists. Write: overwrite=True, or another name"
        )
    path = pathlib.Path(os.path.realpath(path))  # write through a symbolic link
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_drafts(path, DRAFT_SECONDS)
    draft = path.with_name(f".{path.name[:100]}.{os.urandom(4).hex()}.draft")
    try:
        with draft.open("xb") as file:
            with contextlib.suppress(OSError):  # keep the old file's permissions
                os.chmod(draft, path.stat().st_mode & 0o777)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not every system can open or flush a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def remove_drafts(path: pathlib.Path, seconds: float = 0) -> None:
    """Remove drafts of `path`, left by killed programs, that are at least `seconds` old."""
    for draft in path.parent.glob(f".{glob.escape(path.name[:100])}.*.draft"):
        with contextlib.suppress(OSError):
            if time.time() - draft.stat().st_mtime >= seconds:
                draft.unlink()


def pack(parts: Mapping[str, bytes]) -> bytes:
    """Return an archive of `parts`, by name, as Keras writes it: uncompressed, without times."""
    import zipfile  # not at the top: it is slow to import, and `tinynet.models` imports this file

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in parts.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return file.getvalue()


def unpack(
    path: PathLike,
    names: Iterable[str],
    required: Iterable[str] = (),
    max_bytes: float = float("inf"),
) -> dict[str, bytes]:
    """Return those parts of `names` that the archive at `path` has, with checksums verified.

    Arguments:
        path: the archive.
        names: the parts to read if they are there.
        required: those of `names` that have to be there.
        max_bytes: the most that all of them may take.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is not an archive, is damaged, lacks a required part, or would expand too
            much. Nothing is unpacked to disk, so the names of its parts cannot do harm.
    """
    import zipfile

    parts, expected = {}, set(names)
    with open(path, "rb") as file:
        max_bytes = min(max_bytes, os.fstat(file.fileno()).st_size * MAX_RATIO + SLACK_BYTES)
        try:
            with zipfile.ZipFile(file) as archive:
                listed = [info for info in archive.infolist() if info.filename in expected]
                present = {info.filename for info in listed}
                if len(present) < len(listed):
                    raise ValueError("it has a part twice")
                if not present.issuperset(required):
                    raise ValueError(f"it has no {min(set(required) - present)}")
                size = sum(info.file_size for info in listed)
                if size > max_bytes:
                    raise ValueError(f"unpacked, it would take {size:,} bytes, far too many")
                for info in listed:
                    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                        raise ValueError(f"{info.filename} is packed as Keras never does")
                    # The declared size can be false. Given a limit, `read` never unpacks more than
                    # that, and the checksum then fails.
                    with archive.open(info) as part:
                        parts[info.filename] = part.read(info.file_size + 1)
        except MemoryError:
            raise
        except Exception as error:  # `zipfile` raises many types for damaged bytes
            raise damaged(path, error) from error
    return parts


class DamagedError(ValueError):
    """Raised for a file that is damaged or does not fit the model; `why` is the bare reason."""

    def __init__(self, path: PathLike, why: str) -> None:
        self.why = why
        super().__init__(
            f"Expected a whole file of a model like this, received {os.fspath(path)}: {why}. "
            "Nothing was loaded. Save it again, or load it into a model that it fits"
        )


def damaged(path: PathLike, why: object) -> DamagedError:
    """Return the error for the file at `path`, with the reason `why`."""
    if isinstance(why, Exception):
        why = getattr(why, "why", None) or str(why) or type(why).__name__
    return DamagedError(path, str(why))
