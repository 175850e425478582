"""What the packed program runs: the command line, as `python -m vidconf.cli.main` does."""

import multiprocessing

from vidconf.cli.main import main

multiprocessing.freeze_support()  # its watcher of shared memory is this program too, started with words of its own
main()
