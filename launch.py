"""Search a space for networks that meet a budget: ``python launch.py --space spconv_layerwise --budget 2.5GFLOPs``."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))  # before the working folder and its packages
    from nas.command_line import main

    sys.exit(main(sys.argv[1:]))
