"""Command lines that say what is wrong in one line; imports nothing that is slow to import."""

import argparse
from typing import NoReturn

BAD_INPUT = 2


class Parser(argparse.ArgumentParser):
    """A wrong option is one line, and exit status 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: {message} (--help lists all options)\n")
