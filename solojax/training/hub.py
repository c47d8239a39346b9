"""Runs of the Hugging Face Hub: the one file that knows its client, which is the extra ``hub``."""

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from solojax import processes
from solojax.convert import safetensors
from solojax.convert.containers import ENDINGS
from solojax.models import detector
from solojax.training import checkpoint, shared
from solojax.types import InputError

CARD, PICTURE = "README.md", "example.png"  # in a folder that is shared, for people
_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(@[\w-][\w./-]*)?")
_NEEDED = (checkpoint.CONFIG, shared.SUMS, shared.WEIGHTS)


def folder_of(run: str | Path) -> Path:
    """The folder of a run, or of a file: what is here, or else what is fetched from the Hub.

    ``owner/name``, or ``owner/name@revision``, is of the Hub where nothing of that name is here
    and no folder ``owner``. Process 0 alone fetches.

    Raises:
      InputError: there is no such model, it was not pushed by solojax or is damaged, or the Hub
        cannot be reached and nothing was fetched before.
    """
    path = Path(run)
    is_name = _NAME.fullmatch(str(run)) and path.suffix not in ENDINGS
    if not is_name or path.exists() or path.parent.exists() or not processes.is_first():
        return path
    return _fetch(str(run))


def push(folder: Path, name: str, private: bool = False) -> str:
    """Puts a shared folder on the Hub; returns where it is to be seen.

    Raises:
      InputError: the Hub refuses it, or cannot be reached.
    """
    if not _NAME.fullmatch(name) or "@" in name:
        raise InputError(f"{name} is no name of the Hub; give one as in owner/name")
    client = _client(name)
    files = [*_NEEDED, shared.THRESHOLDS, CARD, PICTURE]
    with _told(client, name):
        api = client.HfApi()
        api.create_repo(name, private=private or None, exist_ok=True)
        done = api.upload_folder(
            repo_id=name,
            folder_path=folder,
            allow_patterns=files,
            commit_message="Pushed by solojax",
        )
    return str(done)


def _fetch(run: str) -> Path:
    name, _, revision = run.partition("@")
    client = _client(run)
    with _told(client, run):
        try:
            about = client.HfApi().model_info(name, revision=revision or None, files_metadata=True)
        except (client.errors.HfHubHTTPError, ValueError):
            raise
        except Exception:  # no network, for which every version of the client has another class
            return _kept(client, name, revision)
        here = {file.rfilename: file for file in about.siblings or ()}

        def get(file: str, most: int, anew: bool = False) -> Path:
            if not 0 <= (here[file].size or 0) <= most:
                raise InputError(
                    f"{run} of the Hub has a {file} of {here[file].size:,} bytes, and {most:,} are "
                    "the most that there can be"
                )
            path = client.hf_hub_download(
                name, file, revision=revision or None, force_download=anew
            )
            return Path(path).parent

        if missing := [file for file in _NEEDED if file not in here]:
            raise InputError(
                f"{run} of the Hub has no {missing[0]}, and so is none that solojax push wrote"
            )
        folders = {get(checkpoint.CONFIG, checkpoint.MOST_CONFIG)}
        (folder,) = folders
        # Weights of another size than the network's are not even fetched.
        like = detector.variable_shapes(checkpoint.config_in(folder).model)
        most = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(like))
        folders.add(get(shared.SUMS, shared.MOST_SUMS))
        known = getattr(here[shared.WEIGHTS].lfs, "sha256", None)
        if known and known != shared.sum_in(folder):
            raise InputError(
                f"{run}: the Hub has other weights than {shared.SUMS} there says; they must be "
                "pushed again"
            )
        most += safetensors.MOST_HEAD
        folders.add(get(shared.WEIGHTS, most))
        if shared.sum_of(folder) != shared.sum_in(folder):  # damaged where it is kept
            folders.add(get(shared.WEIGHTS, most, anew=True))
        if shared.THRESHOLDS in here:
            folders.add(get(shared.THRESHOLDS, shared.MOST_THRESHOLDS))
        if len(folders) > 1:
            raise InputError(f"{run} was changed while it was fetched; try again")
    return folder


def _kept(client: Any, name: str, revision: str) -> Path:
    """What was fetched before."""
    try:
        for file in _NEEDED:
            path = client.hf_hub_download(
                name, file, revision=revision or None, local_files_only=True
            )
    except client.errors.LocalEntryNotFoundError as error:
        raise InputError(
            f"{name} is no folder here, and the Hub cannot be reached: see to the network; what "
            "was fetched once is read without it"
        ) from error
    print(f"solojax: the Hub cannot be reached; {name} is as it was fetched last", file=sys.stderr)
    return Path(path).parent


def _client(run: str) -> Any:
    try:
        import huggingface_hub.errors
    except ImportError as error:
        raise InputError(
            f"{run}: there is no such folder here; if it is a model of the Hugging Face Hub, "
            "pip install 'solojax[hub]'"
        ) from error
    return huggingface_hub


@contextlib.contextmanager
def _told(client: Any, run: str) -> Iterator[None]:
    """Turns what the client has to complain of into a line."""
    errors = client.errors
    try:
        yield
    except InputError:
        raise
    except errors.GatedRepoError as error:
        raise InputError(
            f"{run} of the Hub is given to those alone who accept its terms: do so on its page, "
            "and log in by `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise InputError(f"{run}: the Hub has no such revision of it") from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f"{run} is no folder here, and the Hub has no such model; if it is private, log in by "
            "`hf auth login`"
        ) from error
    except Exception as error:  # of whatever library it asks the network by
        said = checkpoint.first_line_of(error)
        raise InputError(
            f"{run}: the Hub refuses or cannot be reached ({said}); see to the network, and log in "
            "by `hf auth login` to write"
        ) from error
