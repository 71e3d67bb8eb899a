"""``export``: the kept records for other people's trainings."""

from __future__ import annotations

import json
from pathlib import Path

import click

from polite_flamingo import __version__
from polite_flamingo.cli.command import CommonOptions, verb
from polite_flamingo.cli.options import FILE


@verb("export", "messages", "llava --out llava")
@click.argument(
    "format", metavar="FORMAT", help="pf1m, llava, sharegpt, messages, webdataset, datajuicer, swift or axolotl"
)
@click.option("--out", type=FILE, metavar="DIR", help="default: data/PROFILE/exports/FORMAT")
@click.option("--permissive-only", is_flag=True, help="only annotations whose licence allows commercial use")
@click.option("--with-images", is_flag=True, help="copy the images too, where the format does not embed them")
@click.pass_obj
def export(options: CommonOptions, format: str, out: Path | None, permissive_only: bool, with_images: bool) -> None:
    """The kept records in a format people train on, with a dataset card."""
    from polite_flamingo.export.provenance import read_provenance
    from polite_flamingo.export.run import export

    params = options.load()
    summary = export(
        format,
        params.data / "pf1m",
        out or params.data / "exports" / format,
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
    print(json.dumps(summary, ensure_ascii=False))
