"""``polite-flamingo publish``: an export to the Hugging Face hub, with the hub's own client; or what would be sent."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polite_flamingo.errors import ConfigError, PoliteFlamingoError, keep_secret
from polite_flamingo.io.text import read_json

TOKEN = "HF_TOKEN"  # name of the variable; the token itself goes to the client alone
ENDPOINT = "HF_ENDPOINT"
FORMAT = "messages"  # embedded images, which the hub's viewer shows
OURS = ("README.md", "data/*.parquet", "left_out.jsonl")  # what a publication replaces in the repository
_NAME = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")
LOG = logging.getLogger(__name__)


class PublishError(PoliteFlamingoError):
    """The hub refused a publication, or could not be reached."""


@dataclass(frozen=True, slots=True)
class Shipment:
    """What is sent.

    Args:
        repository: ``owner/name`` on the hub.
        folder: The export.
        private: Whether a repository that is made is private.
    """

    repository: str
    folder: Path
    private: bool = True

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.repository):
            raise ConfigError("no name of a dataset on the hub", value=self.repository, next_step="write owner/name")

    def files(self) -> dict[str, int]:
        """Path in the repository -> bytes."""
        names = [path for pattern in OURS for path in sorted(self.folder.glob(pattern))]
        return {path.relative_to(self.folder).as_posix(): path.stat().st_size for path in names}

    def summary(self) -> dict[str, Any]:
        """What is sent, and what a person should know before it is public."""
        export, files = read_json(self.folder / "export.json"), self.files()
        licences = {(row["licence"], row["commercial_use"]) for row in export["contents"]}
        return {
            "repository": self.repository,
            "visibility": "private" if self.private else "public",
            "records": export["records"],
            "images": export["images"],
            "licences": [{"licence": text, "commercial_use": use} for text, use in sorted(licences)],
            "files": files,
            "bytes": sum(files.values()),
            "folder": str(self.folder),
        }


def publish(shipment: Shipment, token: str, endpoint: str | None = None) -> str:
    """Make the repository if need be and send everything in one commit; what the hub has already is not sent again.

    Args:
        shipment: What is sent.
        token: The hub's, with the right to write.
        endpoint: The hub; None: huggingface.co.

    Returns:
        Address of the commit.

    Raises:
        PublishError: the hub refuses, or cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    api = HfApi(endpoint=endpoint, token=token)
    where = f"{api.endpoint}/datasets/{shipment.repository}"
    records = read_json(shipment.folder / "export.json")["records"]
    try:
        api.create_repo(shipment.repository, repo_type="dataset", private=shipment.private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=shipment.repository,
            repo_type="dataset",
            folder_path=shipment.folder,
            allow_patterns=list(OURS),
            delete_patterns=["data/*.parquet"],
            commit_message=f"{records} records",
        )
    except OfflineModeIsEnabled:
        step = "unset HF_HUB_OFFLINE"
        raise PublishError("the Hugging Face hub is switched off", where=where, next_step=step) from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        step = f"{TOKEN} needs the right to write there" if status in (401, 403, 404) else "try again later"
        raise PublishError("the hub refused", value=f"HTTP {status}", where=where, next_step=step) from None
    except (OSError, ValueError, RuntimeError) as error:
        text = " ".join(str(error).split()).replace(token, "…")[:300]
        raise PublishError("not published", value=text, where=where, next_step="run it again") from None
    LOG.info("published %s", commit.commit_url)
    return str(commit.commit_url)


def token_of_environment() -> str | None:
    """The token; None: there is none."""
    token = os.environ.get(TOKEN) or None
    keep_secret(token)
    return token
