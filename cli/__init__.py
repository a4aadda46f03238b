"""The `teelog` command. `main` holds the tree, `output` prints, one module per command group does the work."""

import sys


def run() -> int:
    """The console script: `main.main`, or how to install what it needs."""
    try:
        from teelog.cli.main import main
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.stderr.write("error: the command line is not installed\nnext: pip install 'teelog[cli]'\n")
        return 6
    return main()
