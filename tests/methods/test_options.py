"""The defaults of every method: results, pages and records of others rest on them.

`UPDATE_GOLDEN=1 pytest tests/methods/test_options.py` writes the file anew.
"""

import json
import os
from pathlib import Path

from diffusionblend.methods import methods
from diffusionblend.methods.options import option_defaults

GOLDEN = Path(__file__).parents[1] / "golden" / "options.json"


def test_defaults_are_those_that_results_rest_on():
    found = {name: option_defaults(method) for name, method in methods().items()}
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    kept = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert found == kept, "UPDATE_GOLDEN=1 keeps what is there now"
