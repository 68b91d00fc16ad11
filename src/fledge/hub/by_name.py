"""A model by its name on the Hugging Face Hub, `owner/name` or `owner/name@revision`: a folder in
the cache of the hub's own library.

https://huggingface.co/docs/huggingface_hub/guides/download. HF_HOME, HF_TOKEN and HF_HUB_OFFLINE
count as they do everywhere.
"""

from __future__ import annotations

import re
from pathlib import Path

from fledge.errors import UserError

_NAME = re.compile(r"([\w.-]+/[\w.-]+?)(?:@([\w./-]+))?")
# What a model is read from; a repository may hold the same weights in five other formats.
_FILES = ["*.json", "*.safetensors", "*.jinja"]
_TWICE = ["consolidated*", "original/*", "onnx/*"]


def is_name(path: Path) -> bool:
    """Whether a path that is not there may be a name on the hub.

    Where its first part is a folder here, it is a file name with a mistake in it.
    """
    if path.exists() or not _NAME.fullmatch(str(path)):
        return False
    return not Path(path.parts[0]).exists() and path.parts[0] not in ("..", ".")


def fetch_by_name(path: Path) -> Path:
    """The folder of a snapshot, fetched if it is not there yet: its last part is the revision.

    Raises UserError where it can be neither found nor fetched.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    match = _NAME.fullmatch(str(path))
    assert match is not None
    name, revision = match[1], match[2]
    try:
        return Path(
            snapshot_download(
                name, revision=revision, allow_patterns=_FILES, ignore_patterns=_TWICE
            )
        )
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, OSError, ValueError) as error:
        at = f" at revision {revision}" if revision else ""
        raise UserError(
            f"{path} is no file or folder here, and the model {name}{at} is neither in the cache "
            f"of the Hugging Face Hub nor could be fetched ({_reason(error)}): check the name, "
            "connect to the network once, or give a folder."
        ) from None


def _reason(error: Exception) -> str:
    if isinstance(error, ValueError):
        return "it is no name that the hub allows"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return "it is not public, or needs a token: set HF_TOKEN"
    if status == 404:
        return "there is no such model"
    return "the network did not answer" if status is None else f"the hub answered {status}"
