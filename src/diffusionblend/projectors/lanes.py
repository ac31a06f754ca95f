"""Sixteen slices in one instruction: what numba does not make of so short a loop by itself.

Raises:
    UsageError: On import: numba is not installed.
"""

from typing import Any

from diffusionblend.projectors.compiled import compiled_inline

LANES = 16
"""Slices that go through together: a line of the cache, of float32."""


def _add_scaled(_: Any, to: Any, i: Any, values: Any, j: Any, factor: Any) -> Any:  # noqa: ANN401
    """Make `to[i : i + LANES] += factor * values[j : j + LANES]`, of flat arrays of one type."""
    from llvmlite import ir
    from numba.core import types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ANN401
        number = context.get_data_type(signature.args[0].dtype)
        vector = ir.VectorType(number, LANES)
        nothing, first = ir.Constant(vector, ir.Undefined), ir.Constant(ir.IntType(32), 0)

        def place(index: int) -> Any:  # noqa: ANN401
            array = context.make_array(signature.args[index])(context, builder, arguments[index])
            at = builder.gep(array.data, [arguments[index + 1]])
            return builder.bitcast(at, vector.as_pointer())

        lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), None)  # all of the first
        one = builder.insert_element(nothing, arguments[4], first)
        factors = builder.shuffle_vector(one, nothing, lanes)
        bytes_each = context.get_abi_sizeof(number)
        target = place(0)
        added = builder.fmul(factors, builder.load(place(2), align=bytes_each))
        total = builder.fadd(builder.load(target, align=bytes_each), added)
        builder.store(total, target, align=bytes_each)
        return context.get_dummy_value()

    return types.void(to, i, values, j, factor), generate


add_scaled = compiled_inline(_add_scaled)
