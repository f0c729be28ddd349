"""``python -m gamengen.bench``."""

import sys

from gamengen.bench.run import main, parse

sys.exit(main(parse(sys.argv[1:])))
