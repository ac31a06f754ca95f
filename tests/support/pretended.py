"""A CUDA device that is not there: tensors that say `cuda`, while their numbers lie on the CPU.

What CUDA refuses is refused: an operation on tensors of two places, values that NumPy or a list
takes without `.cpu()`, noise drawn there by a generator of the CPU. All else is computed, loops
that depend on values too, so that the result is the CPU's. What a real device does otherwise is not
seen: kernels that are missing, bfloat16, memory, the order of sums.
"""

import contextlib
import warnings
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
MEMORY = 80 * 2**30
aten, Tensor = torch.ops.aten, torch.Tensor

_INDEXED = {
    aten.index.Tensor, aten.index_put.default, aten.index_put_.default,
    aten._index_put_impl_.default, aten._unsafe_index.Tensor,
}  # fmt: skip
"""What takes indices on the CPU for a tensor elsewhere."""
_BETWEEN = {aten.copy_.default, aten.fill_.Tensor}
_TO_HOST = {Tensor.numpy: "numpy", Tensor.__array__: "an array of NumPy"}
_MOVES = {Tensor.to, Tensor.cpu, Tensor.cuda}


class WrongPlace(RuntimeError):
    """What CUDA would refuse."""


def is_there(t):
    """Return whether a tensor is on the device that is pretended."""
    return getattr(_storage(t), "there", False)


def _storage(t):
    # A storage is the same object of Python as long as a tensor has it: views are where it is.
    return (t.values() if t.layout == torch.sparse_csr else t).untyped_storage()


def _put(t, there):
    for part in (t.crow_indices(), t.col_indices()) if t.layout == torch.sparse_csr else ():
        part.untyped_storage().there = there
    _storage(t).there = there
    return t


def _tensors(*trees):
    return [leaf for leaf in tree_leaves(trees) if isinstance(leaf, Tensor)]


class _Refusing(TorchDispatchMode):
    """Follows where the results of operations are, and refuses those on tensors of two places.

    Attributes:
        asked: Whether what is called makes its tensors on the device, where none tells it.
    """

    asked = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given = _tensors(args, kwargs)
        known = {id(_storage(t)) for t in given}
        there = any(map(is_there, given)) if given else self.asked
        _check(func, args, kwargs, given, there)
        out = func(*args, **kwargs)
        for t in _tensors(out):
            if id(_storage(t)) not in known:
                _put(t, there)
        return out


def _check(func, args, kwargs, given, there):
    """Raise WrongPlace if CUDA would refuse an operation."""
    if there and kwargs.get("generator") is not None:
        raise WrongPlace(f"{func}: a generator of the CPU draws on {CUDA}")
    if func in _BETWEEN:
        return
    if func in _INDEXED and is_there(args[0]):
        given = [args[0], *(a for a in _tensors(args[2:3]) if a.ndim)]
    elif torch.Tag.pointwise in func.tags:  # a number goes anywhere, but nothing into one
        changed = args[0] if func._schema.is_mutable else None
        given = [t for t in given if t.ndim or is_there(t) or t is changed]
    if len({is_there(t) for t in given}) > 1:
        places = ", ".join(f"{tuple(t.shape)} {'there' if is_there(t) else 'here'}" for t in given)
        raise WrongPlace(f"{func}: tensors of two places: {places}")


class _Naming(TorchFunctionMode):
    """Says `cuda` of tensors that are there, and lets nothing but `.to` and `.cpu` move them."""

    def __init__(self, refusing):
        super().__init__()
        self._refusing = refusing

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        given = _tensors(args[:1])
        there = bool(given) and is_there(given[0])
        if func == Tensor.device.__get__:
            return CUDA if there else CPU
        if func in (Tensor.is_cuda.__get__, Tensor.is_cpu.__get__):
            return there == (func == Tensor.is_cuda.__get__)
        if there and func in _TO_HOST:
            raise WrongPlace(f"{_TO_HOST[func]} of a tensor on {CUDA}; expected `.cpu()` before it")
        if func in _MOVES:
            return _moved(func, args, kwargs)
        if (place := kwargs.get("device")) is not None:
            kwargs["device"] = CPU
            return self._call(torch.device(place).type == CUDA.type, func, args, kwargs)
        return self._call(there, func, args, kwargs)

    def _call(self, there, func, args, kwargs):
        before, self._refusing.asked = self._refusing.asked, there
        try:
            out = func(*args, **kwargs)
        finally:
            self._refusing.asked = before
        # What `tensor` and `new_tensor` make goes through no operation.
        if func in (torch.tensor, torch.as_tensor, Tensor.new_tensor) and there != is_there(out):
            return _moved(Tensor.to, (out, CUDA if there else CPU), {})
        return out


def _moved(func, args, kwargs):
    """Return `args[0]` where `to`, `cpu` or `cuda` are asked to bring it, and of that type."""
    t, place = args[0], {Tensor.cpu: CPU, Tensor.cuda: CUDA}.get(func)
    kept = []
    for a in (*args[1:], *kwargs.values()) if func is Tensor.to else ():
        if isinstance(a, Tensor):
            place = CUDA if is_there(a) else CPU
            kept.append(a.dtype)
        elif isinstance(a, str | torch.device):
            place = torch.device(a)
        elif isinstance(a, torch.dtype | torch.memory_format):
            kept.append(a)
    there = is_there(t) if place is None else place.type == CUDA.type
    out = t
    for a in kept:
        out = out.to(a) if isinstance(a, torch.dtype) else out.contiguous(memory_format=a)
    if there != is_there(out):
        out = _put(out.clone(), there)
    return out


def _grouped(lists, with_indices=False, *, group=torch._C._group_tensors_by_device_and_dtype):
    """Group tensors, all of one place, by device and type: what asks below Python is told wrong."""
    place = CUDA if is_there(lists[0][0]) else CPU
    return {(place, kind): of for (_, kind), of in group(lists, with_indices).items()}


def _backward(self, *args, **kwargs):
    torch.autograd.backward(self, *args, **kwargs)


@contextlib.contextmanager
def pretended():
    """Pretend that there is a CUDA device.

    Yields:
        The device.
    """
    refusing = _Refusing()
    memory = {  # of which diffct asks
        "get_allocator_backend": lambda: "native",
        "get_per_process_memory_fraction": lambda device=None: 1.0,
        "mem_get_info": lambda device=None: (MEMORY, MEMORY),
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.multiple("torch.cuda", **memory))
        stack.enter_context(mock.patch("torch._C._group_tensors_by_device_and_dtype", _grouped))
        # Both would hide what runs in them, as a function that somebody else may take over.
        stack.enter_context(mock.patch("torch.autograd.has_torch_function", return_value=False))
        stack.enter_context(mock.patch.object(Tensor, "backward", _backward))
        # Autocast is for a device that this torch knows of: sums there are of float32.
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", message=".*CUDA is not available")
        stack.enter_context(refusing)
        stack.enter_context(_Naming(refusing))
        yield CUDA
