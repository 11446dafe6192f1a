"""Search a space for networks that meet a budget: ``python launch.py --space spconv_layerwise --budget 2.5GFLOPs``."""

import sys

from nas.command_line import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
