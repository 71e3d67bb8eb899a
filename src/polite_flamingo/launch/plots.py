"""DVC's plots on a page that draws them without a network."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from polite_flamingo.errors import ConfigError

DVC = (sys.executable, "-m", "dvc")
VEGA_LITE = "5.8"  # the oldest that vl-convert brings; DVC's own pages load 5.2
PAGE = """\
<!DOCTYPE html>
<html>
<head><meta charset="utf-8"><title>Plots of DVC</title>{refresh_tag}<script>%s</script></head>
<body>{plot_divs}</body>
</html>
"""


def plots_command(revisions: Sequence[str], page: Path, out: Path) -> list[str]:
    """What draws the plots of the workspace, or of revisions beside each other.

    Args:
        revisions: Of git, or names of experiments; none: the workspace alone.
        page: HTML template.
        out: Folder that gets ``index.html``.
    """
    words = ["diff", *revisions] if revisions else ["show"]
    return [*DVC, "plots", *words, "--html-template", str(page), "--out", str(out)]


def offline_page() -> str:
    """An HTML template for `dvc plots` that brings its libraries along; DVC's own loads them from a CDN.

    Raises:
        ConfigError: vl-convert is not installed.
    """
    try:
        from vl_convert import javascript_bundle
    except ImportError:
        raise ConfigError("vl-convert is not installed", next_step="pip install 'polite-flamingo[plots]'") from None
    return PAGE % javascript_bundle(vl_version=VEGA_LITE).replace("</script", "<\\/script")
