"""``python -m fleetd`` is ``fleetd``."""

from fleetd.cli.app import main

if __name__ == "__main__":
    main()
