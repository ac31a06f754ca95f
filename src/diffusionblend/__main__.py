"""`python -m diffusionblend` is the command line."""

import sys

from diffusionblend.cli import main

sys.exit(main())
