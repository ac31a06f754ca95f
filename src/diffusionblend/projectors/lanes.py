"""Several slices in one instruction, which numba does not make from so short a loop itself.

Raises:
    UsageError: On import: numba is not installed.
"""

# ruff: noqa: ANN401 (types of numba's and of LLVM's, which are known to neither)

from typing import Any

from diffusionblend.projectors.compiled import compiled_inline

FEW, MANY = (0,) * 4, (0,) * 16
"""Lanes for slices that go through together: `MANY` are a line of the cache, of float32.

They are tuples, whose lengths numba knows when it compiles.
"""


def lanes_of(count: int) -> list[tuple[int, ...]]:
    """Return the lanes through which this many slices go, one after the other."""
    whole, rest = divmod(count, len(MANY))
    return whole * [MANY] + [FEW if rest <= len(FEW) else MANY] * (rest > 0)


def _add_scaled(_: Any, to: Any, i: Any, values: Any, j: Any, factor: Any, lanes: Any) -> Any:
    """Make `to[i : i + n] += factor * values[j : j + n]`, of flat arrays of one type; n lanes."""
    from llvmlite import ir
    from numba.core import types

    count = lanes.count

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = context.get_data_type(signature.args[0].dtype)
        vector = ir.VectorType(number, count)
        nothing, first = ir.Constant(vector, ir.Undefined), ir.Constant(ir.IntType(32), 0)

        def place(index: int) -> Any:
            array = context.make_array(signature.args[index])(context, builder, arguments[index])
            at = builder.gep(array.data, [arguments[index + 1]])
            return builder.bitcast(at, vector.as_pointer())

        of_the_first = ir.Constant(ir.VectorType(ir.IntType(32), count), None)
        one = builder.insert_element(nothing, arguments[4], first)
        factors = builder.shuffle_vector(one, nothing, of_the_first)
        bytes_each = context.get_abi_sizeof(number)
        target = place(0)
        added = builder.fmul(factors, builder.load(place(2), align=bytes_each))
        total = builder.fadd(builder.load(target, align=bytes_each), added)
        builder.store(total, target, align=bytes_each)
        return context.get_dummy_value()

    return types.void(to, i, values, j, factor, lanes), generate


add_scaled = compiled_inline(_add_scaled)
