"""Reading of PyTorch's files of weights as data. Nothing in them is executed."""

import math
import pickletools
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, BinaryIO

import numpy as np

from zoobot3d_tf.files import PathLike

# Errors that a damaged program can cause.
_PARSING_ERRORS = (ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError)
# Types of numbers in files of PyTorch.
_STORAGES = {
    "torch.DoubleStorage": "<f8",
    "torch.FloatStorage": "<f4",
    "torch.HalfStorage": "<f2",
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
}


def read_torch_tensors(path: PathLike) -> dict[str, np.ndarray]:
    """Read the tensors of a file of weights that `torch.save` wrote.

    Nothing is unpickled: the few instructions that such files need are read as data, and all others are refused.

    Args:
        path: path of the file, a zip archive, as PyTorch has written it since version 1.6.

    Returns:
        The tensors by name.

    Raises:
        ValueError: the file is damaged, was written before PyTorch 1.6, or holds anything but tensors by name.
        OSError: the file cannot be opened.
    """
    with open(path, "rb") as file:
        try:
            return _read_archive(file)
        except (zipfile.BadZipFile, *_PARSING_ERRORS) as error:
            raise ValueError(
                f"{path}: is not a file of weights of PyTorch ({error}); use model.safetensors instead"
            ) from error


def _read_archive(file: BinaryIO) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        (program,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        folder = program.removesuffix("data.pkl")

        @cache
        def stored(name: str) -> bytes:
            if archive.getinfo(folder + name).compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{name} is compressed, unlike in files of PyTorch")
            return archive.read(folder + name)

        if f"{folder}byteorder" in archive.namelist() and stored("byteorder") != b"little":
            raise ValueError("its numbers are big-endian, and must be little-endian")
        return _run_torch_program(stored("data.pkl"), lambda key: stored(f"data/{key}"))


@dataclass(frozen=True)
class _Name:
    """Name of a class or function in a pickle. It is never imported."""

    text: str


def _run_torch_program(program: bytes, read_storage: Callable[[str], bytes]) -> dict[str, np.ndarray]:
    """Follow the instructions of a pickled `state_dict`, protocol 2, without any import or call."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    marks: list[int] = []
    argument: Any

    def pop(n: int) -> list[Any]:
        return [stack.pop() for _ in range(n)][::-1]

    def pop_to_mark() -> list[Any]:
        return pop(len(stack) - marks.pop())

    for opcode, argument, _ in pickletools.genops(program):
        match opcode.name:
            case "PROTO":
                pass
            case "MARK":
                marks.append(len(stack))
            case "GLOBAL":
                stack.append(_Name(argument.replace(" ", ".")))
            case "BINUNICODE" | "BININT" | "BININT1" | "BININT2" | "LONG1":
                stack.append(argument)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(opcode.name == "NEWTRUE")
            case "NONE":
                stack.append(None)
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(pop(int(opcode.name[-1]))))
            case "TUPLE":
                stack.append(tuple(pop_to_mark()))
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "BINPERSID":
                _, kind, key, _, _ = stack.pop()
                stack.append(np.frombuffer(read_storage(key), _STORAGES[kind.text]))
            case "REDUCE":
                function, arguments = pop(2)
                stack.append(_result_of(function.text, arguments))
            case "SETITEM" | "SETITEMS":
                items = pop(2) if opcode.name == "SETITEM" else pop_to_mark()
                if not all(isinstance(key, str) for key in items[::2]):
                    raise ValueError("it has a key that is not text")
                stack[-1].update(zip(items[::2], items[1::2], strict=True))
            case "BUILD":  # versions of PyTorch's modules
                stack.pop()
            case "STOP":
                break
            case other:
                raise ValueError(f"it has the instruction {other}, which weights do not need")
    (tensors,) = stack
    if not all(isinstance(value, np.ndarray) for value in tensors.values()):
        raise ValueError("it holds other objects than tensors")
    return tensors


def _result_of(function: str, arguments: tuple[Any, ...]) -> Any:
    """Result of a function that a `state_dict` names: a dict or a tensor."""
    if function == "collections.OrderedDict" and not arguments:
        return {}
    if function == "torch._utils._rebuild_parameter":
        return arguments[0]
    if function != "torch._utils._rebuild_tensor_v2":
        raise ValueError(f"it calls {function}, which weights do not need")
    storage, offset, shape, strides = arguments[:4]
    n_values = math.prod(shape)
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if min((offset, *shape, *strides)) < 0 or n_values > storage.size or (n_values and last >= storage.size):
        raise ValueError("a tensor extends beyond its stored numbers")
    strides = [stride * storage.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, strides, writeable=False)
