"""Arguments that several commands have."""

from pathlib import Path
from typing import Annotated

import tyro

Output = Annotated[Path, tyro.conf.arg(aliases=["-o"])]
Input = tyro.conf.Positional[Path]
