"""The entry point: ``polite-flamingo``, and ``python -m polite_flamingo``."""

import sys

INTERRUPTED = 130


def main() -> int:
    """Run a verb. Ctrl-C while its libraries are being loaded leaves no traceback either."""
    try:
        from polite_flamingo.cli import main as run

        return run()
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped: nothing was begun\n")
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
