"""`python -m diffusionblend` is the command line."""

import sys

from diffusionblend.cli.main import main

sys.exit(main())
