"""``export``: the kept records for other people's trainings."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from polite_flamingo import __version__
from polite_flamingo.cli.command import CommonOptions, verb
from polite_flamingo.cli.options import FILE

if TYPE_CHECKING:
    from polite_flamingo.params.schema import Params


PERMISSIVE = click.option(
    "--permissive-only", is_flag=True, help="only annotations whose licence allows commercial use"
)


@verb("export", "messages", "llava --out llava")
@click.argument(
    "format",
    metavar="FORMAT",
    help="pf1m, llava, sharegpt, messages, webdataset, datajuicer, swift or axolotl",
)
@click.option("--out", type=FILE, metavar="DIR", help="default: data/PROFILE/exports/FORMAT")
@PERMISSIVE
@click.option("--with-images", is_flag=True, help="copy the images too, where the format does not embed them")
@click.pass_obj
def export(options: CommonOptions, format: str, out: Path | None, permissive_only: bool, with_images: bool) -> None:
    """The kept records in a format people train on, with a dataset card."""
    params = options.load()
    out = out or params.data / "exports" / format
    print(json.dumps(_export(params, format, out, permissive_only, with_images), ensure_ascii=False))


@verb("publish", "me/birds", "me/birds --public --permissive-only")
@click.argument("repository", metavar="OWNER/NAME", help="dataset on the Hugging Face hub; made if need be")
@click.option("--public", is_flag=True, help="a new repository is for everybody to see (default: private)")
@click.option("--dry-run", is_flag=True, help="write and print what would be sent (so without HF_TOKEN, too)")
@PERMISSIVE
@click.pass_obj
def publish(options: CommonOptions, repository: str, public: bool, dry_run: bool, permissive_only: bool) -> None:
    """The kept records to the Hugging Face hub: Parquet with embedded images, and the card."""
    from polite_flamingo.export import hub

    params = options.load()
    shipment = hub.Shipment(repository, params.data / "exports" / "hub", private=not public)
    _export(params, hub.FORMAT, shipment.folder, permissive_only, True)
    token = hub.token_of_environment()
    sent = None if dry_run or token is None else hub.publish(shipment, token, os.environ.get(hub.ENDPOINT))
    why = "asked for" if dry_run else f"no {hub.TOKEN} in the environment"
    outcome = {"dry_run": why} if sent is None else {"commit": sent}
    print(json.dumps({**shipment.summary(), **outcome}, indent=2, ensure_ascii=False))


def _export(params: Params, format: str, out: Path, permissive_only: bool, with_images: bool) -> dict[str, Any]:
    from polite_flamingo.export.provenance import read_provenance
    from polite_flamingo.export.run import export

    return export(
        format,
        params.data / "pf1m",
        out,
        image_root=params.image_root,
        filters=params.reports / "filter.json",
        provenance=read_provenance(
            params.reports,
            params.world is not None,
            software=f"polite-flamingo {__version__}",
            profile=params.profile,
            seed=params.seed,
        ),
        permissive_only=permissive_only,
        with_images=with_images,
    )
