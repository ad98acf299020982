"""Keys and signatures as files; what is in them is `csa_games.guard.signing`'s."""

from pathlib import Path

from csa_games.errors import InputError
from csa_games.files import write_file, write_new
from csa_games.guard.bundle import MANIFEST, SIGNATURE, BundleError, integrity, read_files
from csa_games.guard.signing import SECRET, Key, key_file, new_keys, read_key, sign

SECRET_MODE, PUBLIC_MODE = 0o600, 0o644


def write_keys(folder: Path | str, name: str, kind: str, seed: bytes) -> tuple[Path, ...]:
    """Make keys of `seed`, 32 random bytes, and return their files: NAME.secret.json first.

    `folder` is made where there is none. Nobody but the owner may read the secret file, where the
    system knows owners. Raises `InputError` where a file is there already: nothing is ever
    overwritten, and no file is ever half written.
    """
    folder = Path(folder)
    keys = new_keys(name, kind, seed)
    paths = tuple(folder / f"{key.name}.{key.half}.json" for key in keys)
    for path in paths:
        if path.exists():
            raise _taken(path)
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    try:
        for key, path in zip(keys, paths, strict=True):
            mode = SECRET_MODE if key.half == SECRET else PUBLIC_MODE
            write_new(path, key_file(key), mode)
            written.append(path)
    except BaseException as error:  # half a pair is of no use
        for path in written:
            path.unlink(missing_ok=True)
        if isinstance(error, FileExistsError):
            raise _taken(Path(str(error.filename))) from None
        raise
    return paths


def _taken(path: Path) -> InputError:
    return InputError(f"{path}: is there already, and keys are never overwritten")


def sign_bundle(folder: Path | str, key: Path | str, *, replace: bool = False) -> Key:
    """Sign the bundle in `folder` with the secret key in the file `key`, and return that key.

    Signatures by other keys are kept, unless `replace`. Nothing but the signature changes: the
    revision stays. That the files are those that the manifest lists is checked, and nothing more:
    `verify` the bundle first. Raises `BundleError` for files that are not whole, `InputError` for a
    key that cannot sign, and for a signature that is there and of another bundle or unreadable,
    unless `replace`.
    """
    folder = Path(folder).resolve()
    signer = read_key(key)
    files = read_files(folder)
    faults = integrity(files)
    if faults:
        raise BundleError(*faults)
    envelope = sign(files[MANIFEST], signer, None if replace else files.get(SIGNATURE))
    # Written beside the bundle: a file that the manifest does not list makes readers refuse it.
    write_file(folder / SIGNATURE, envelope, beside=folder.parent)
    return signer
