"""The defaults of every method: results, pages and records of others rest on them.

`UPDATE_GOLDEN=1 pytest tests/methods/test_options.py` writes the file anew.
"""

import json
import math
import os
from pathlib import Path

import pytest

from diffusionblend.errors import UsageError
from diffusionblend.methods import DiffusionBlendFast, methods
from diffusionblend.methods.options import make_method, option_defaults

GOLDEN = Path(__file__).parents[1] / "golden" / "options.json"


def test_defaults_are_those_that_results_rest_on():
    found = {name: option_defaults(method) for name, method in methods().items()}
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    kept = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert found == kept, "UPDATE_GOLDEN=1 keeps what is there now"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_bound_of_the_estimate_is_a_finite_number(value):
    bounds = [(name, option) for name, cls in methods().items()
              for option in ("lowest", "highest") if option in option_defaults(cls)]  # fmt: skip
    assert ("sirt", "lowest") in bounds
    for name, option in bounds:
        with pytest.raises(UsageError, match=f"`{option}={value}`: expected"):
            make_method(name, **{option: value})


@pytest.mark.parametrize(("lower", "upper"), [("lowest", "highest"), ("sigma_min", "sigma_max")])
def test_a_lower_bound_is_not_above_the_upper_one(lower, upper):
    with_both = [n for n, cls in methods().items() if {lower, upper} <= option_defaults(cls).keys()]
    assert "diffusionblend-fast" in with_both
    for name in with_both:
        assert make_method(name, **{lower: 2, upper: 2})
        with pytest.raises(UsageError, match=f"`{lower}=3.0`: expected at most `{upper}=2.0`"):
            make_method(name, **{lower: 3, upper: 2})
    with pytest.raises(UsageError, match="expected at most"):
        DiffusionBlendFast(lowest=1.0, highest=-1.0)


def test_a_folder_of_weights_may_be_a_path():
    assert make_method("fbp-unet", weights=Path("runs/network")).weights == "runs/network"
