"""Priors on the Hugging Face hub, each named by its commit: `owner/name@COMMIT`.

A commit does not move, so that a name means the same weights today and in ten years; branches and
tags do, and are refused. What was fetched once stays in the cache of the hub's client, and needs no
network.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from diffusionblend.errors import DiffusionBlendError, PriorError, UsageError
from diffusionblend.io.files import PathLike
from diffusionblend.machine.packages import install
from diffusionblend.machine.quiet import quiet_families
from diffusionblend.prior.store import CARD, CONFIG, WEIGHTS, from_pretrained

FILES = (CONFIG, WEIGHTS, CARD)
TIMEOUT = 10.0  # seconds
_REPOSITORY = re.compile(r"\w[\w.-]{0,95}/\w[\w.-]{0,95}", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_WHERE = "copy all 40 digits of a commit from the history of its files on the hub"


def is_name(name: str) -> bool:
    """Return whether a name can be one of the hub, with a revision or without."""
    return _REPOSITORY.fullmatch(name.partition("@")[0]) is not None


def fetch(name: str) -> Path:
    """Return the folder of a prior of the hub, in the client's cache.

    Args:
        name: `owner/name@COMMIT`, with all 40 hexadecimal digits of the commit.
    """
    repository, commit = _pinned(name)
    with _explained(name):
        folders = {_download(repository, commit, file).parent for file in FILES}
    if {folder.name for folder in folders} != {commit}:  # a branch may look like a commit
        raise PriorError(f"{name}: is not a commit there; {_WHERE}")
    return folders.pop()


def push(folder: PathLike, name: str, *, private: bool = False) -> str:
    """Put a prior on the hub, for others to use.

    Args:
        folder: A prior's folder, as training writes it. Nothing else in it leaves the machine.
        name: `owner/name`, made if it is not there.
        private: Whether only its owner may see it.

    Returns:
        `owner/name@COMMIT`, the name that others use.

    Raises:
        PriorError: The prior cannot be used, or the hub does not take it.
        UsageError: The name cannot be one of the hub, or is public already and must not be.
    """
    folder = Path(folder)
    if not _REPOSITORY.fullmatch(name):
        raise UsageError(f"{name}: cannot be a name on the hub; expected owner/name")
    _check(folder)
    with _explained(name):
        from huggingface_hub import HfApi

        api = HfApi(token=True)  # fails at once where there is no token
        # Without `private` the owner's own setting decides.
        api.create_repo(name, private=private or None, exist_ok=True)
        if private and not api.model_info(name).private:
            raise UsageError(f"`private=True`: {name} exists and is public; choose another name")
        commit = api.upload_folder(
            repo_id=name,
            folder_path=folder,
            allow_patterns=list(FILES),
            commit_message="A prior of diffusionblend",
        )
    return f"{name}@{commit.oid}"


def _pinned(name: str) -> tuple[str, str]:
    repository, _, revision = name.partition("@")
    if not revision:
        raise PriorError(
            f"{name}: no such folder, and no revision for the hub; "
            f"expected {repository}@COMMIT, {_WHERE}"
        )
    if not _COMMIT.fullmatch(revision):
        raise PriorError(
            f"{name}: {revision} is not a whole commit, and branches and tags move; "
            f"expected {repository}@COMMIT, {_WHERE}"
        )
    return repository, revision


def _check(folder: Path) -> None:
    """Refuse a prior that is damaged, or that has no card to say what it is."""
    from_pretrained(str(folder.absolute()))  # never a name of the package or of the hub
    if not (folder / CARD).is_file():
        raise PriorError(f"{folder / CARD}: no such file; write what the prior was trained on")


def _download(repository: str, commit: str, file: str) -> Path:
    from huggingface_hub import (
        get_hf_file_metadata,
        hf_hub_download,
        hf_hub_url,
        try_to_load_from_cache,
    )

    cached = try_to_load_from_cache(repository, file, revision=commit)
    if isinstance(cached, str):
        return Path(cached)
    # Where there is no network, the download would try for minutes without a word.
    get_hf_file_metadata(hf_hub_url(repository, file, revision=commit), timeout=TIMEOUT)
    return Path(hf_hub_download(repository, file, revision=commit))


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn a failure of the client into one line, and keep its own remarks off the terminal."""
    try:
        with quiet_families():
            yield
    except DiffusionBlendError:
        raise
    except ImportError as error:
        raise PriorError(
            f"{name}: the hub needs huggingface_hub, which is not installed; run `{install('hub')}`"
        ) from error
    except Exception as error:  # errors of the client and of its libraries have no common base
        raise PriorError(f"{name}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Say why the hub failed, and what to do."""
    from huggingface_hub import errors

    known = {  # the special before the general
        errors.LocalTokenNotFoundError: "there is no hub token here; run `hf auth login`",
        errors.GatedRepoError: "is gated; accept its terms on the hub, then run `hf auth login`",
        errors.RepositoryNotFoundError: "no such repository on the hub, or a private one; "
        "check the name, or run `hf auth login`",
        errors.RevisionNotFoundError: f"no such commit there; {_WHERE}",
        errors.RemoteEntryNotFoundError: f"lacks one of {', '.join(FILES)}; it is not a "
        "prior of this program; choose another",
    }
    for kind, reason in known.items():
        if isinstance(error, kind):
            return reason
    text = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    if isinstance(error, errors.HfHubHTTPError) and error.response.status_code in (401, 403):
        return f"the hub refused ({text}); run `hf auth login` with a token that has the right"
    if isinstance(error, OSError) and error.errno:
        return f"cannot be kept in the hub's cache ({text}); set HF_HOME to a place with room"
    return f"the hub cannot be used ({text}); check the network and try again"
