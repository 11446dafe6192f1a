"""Search a space for networks that meet a budget: ``python launch.py --space spconv_layerwise --budget 2.5GFLOPs``."""

import sys

if __name__ == "__main__":  # a process that measures costs imports this file, and wants no more than it needs
    from nas.command_line import main

    sys.exit(main(sys.argv[1:]))
