"""Known vulnerabilities of the locked versions, by pip-audit; says so where nobody can be asked."""

from __future__ import annotations

import json
import subprocess
import sys

COMMAND = [sys.executable, "-m", "pip_audit", "--requirement", "requirements.lock", "--no-deps", "--disable-pip"]
OPTIONS = ["--progress-spinner", "off", "--format", "json", "--timeout", "30"]


def told(answer: str, error: str) -> tuple[str, int]:
    """What pip-audit found, in lines, and a status: 1 where a version is vulnerable.

    Args:
        answer: Its JSON; nothing where it could not ask.
        error: What it said beside.
    """
    try:
        packages = json.loads(answer)["dependencies"]
    except (ValueError, KeyError):
        return f"nothing was audited, for no index answers: {error.strip().splitlines()[-1:] or ['-']}", 0
    asked = [package for package in packages if "vulns" in package]
    if not asked:
        return f"nothing was audited, for the index knows none of the {len(packages)} packages", 0
    lines = [
        f"{package['name']} {package['version']}: {found['id']}, mended in {', '.join(found['fix_versions']) or '-'}"
        for package in asked
        for found in package["vulns"]
    ]
    counted = f"{len(asked)} of {len(packages)} packages audited, {len(lines)} findings"
    return "\n".join([*lines, counted]), int(bool(lines))


def main() -> int:
    """Ask, and print the answer."""
    done = subprocess.run([*COMMAND, *OPTIONS], capture_output=True, text=True, check=False)
    text, status = told(done.stdout, done.stderr)
    print(text)
    return status


if __name__ == "__main__":
    sys.exit(main())
