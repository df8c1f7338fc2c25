"""The ``fleetd`` program; ``python -m fleetd`` is the same."""

import sys

from fleetd.ops.hangup import keep_hangups


def main() -> None:
    """Run the command line. The imports take a while, and Ctrl-C ends them as it ends everything else."""
    if sys.argv[1:2] == ["run"]:  # systemctl reload, or a person, may be quicker than the imports
        keep_hangups()
    try:
        from fleetd.cli.app import run  # noqa: PLC0415 - see above
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    sys.exit(run())


if __name__ == "__main__":
    main()
