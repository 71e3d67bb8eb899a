"""``serve``: rewriters and assistants behind an OpenAI-compatible server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from polite_flamingo.cli.command import CommonOptions, SeveralValues, positive, rate, verb
from polite_flamingo.cli.options import FILE

MODELS = ("rewriter", "stage3")


@verb(
    "serve",
    "",
    "--model stage3 --port 8001",
    "--model laptop models/tiny/stage1 hf:FOLDER",
    "--host 0.0.0.0 --name gpu.example.org --api-key-file keys.txt",
)
@click.option(
    "--model",
    "models",
    cls=SeveralValues,
    metavar="NAME",
    help="rewriter, stage1 … stage3, raw (of the profile), laptop, a folder, hf:<folder or id@revision>, "
    f"models:/<name>@<alias> (default: {' '.join(MODELS)})",
)
@click.option("--base", type=FILE, metavar="DIR", help="the Flamingo that a folder was trained from, if not beside it")
@click.option("--host", metavar="ADDRESS", help="where to listen (default: 127.0.0.1); elsewhere a key is required")
@click.option("--port", type=int, metavar="N", help="default: 8000; 0: any that is free")
@click.option("--name", "names", cls=SeveralValues, metavar="HOST", help="names that clients may call it by (Host)")
@click.option("--origin", "origins", cls=SeveralValues, metavar="URL", help="pages that may call it from a browser")
@click.option(
    "--api-key-file",
    type=FILE,
    metavar="FILE",
    help="API keys, one a line, readable by you alone (default: the variable POLITE_FLAMINGO_API_KEY)",
)
@click.option("--slots", type=positive, metavar="N", help="requests decoded together, per model (default: 32)")
@click.option("--queue", type=positive, metavar="N", help="requests that wait, per model (default: 256)")
@click.option("--seconds", type=rate, metavar="S", help="that a request may take, waiting included (default: 120)")
@click.option("--dtype", type=click.Choice(("float32", "bfloat16", "float16")), help="default: the profile's")
@click.pass_obj
def serve(
    options: CommonOptions,
    models: tuple[str, ...],
    base: Path | None,
    api_key_file: Path | None,
    dtype: str | None,
    **given: Any,
) -> int:
    """Serve rewriters and assistants: OpenAI's chat completions, and rewriting with the filters' verdicts.

    /v1/models, /v1/chat/completions, /v1/rewrite, /health and /metrics (docs/serving.md). Requests join the batch
    that runs. Ctrl-C or SIGTERM: what runs ends first.
    """
    from polite_flamingo.serving.run import serve_models
    from polite_flamingo.serving.settings import ServingSettings

    settings = ServingSettings(**{name: value for name, value in given.items() if value not in (None, ())})
    return serve_models(
        models or MODELS,
        settings,
        base=base,
        profile=options.profile,
        params=options.params_file,
        device=options.device or "auto",
        dtype=dtype,
        key_file=api_key_file,
        ready=lambda address, names: print(f"{', '.join(names)}: {address}/v1  (Ctrl-C stops)", flush=True),
    )
