"""Reading of PyTorch's files of weights as data. Nothing in them is executed."""

import io
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
# Begin of files in the form before PyTorch 1.6: a pickled number, and the version of the form.
_MAGIC = 0x1950A86A20F9469CFC6C, 1001
_PICKLE = b"\x80"  # first byte of a pickle; an archive begins with PK


def read_torch_tensors(path: PathLike) -> dict[str, np.ndarray]:
    """Read the tensors of a file of weights that `torch.save` wrote.

    Nothing is unpickled: the few instructions that such files need are read as data, and all others are refused.

    Args:
        path: path of the file: a zip archive, as PyTorch writes it since version 1.6, or the older form.

    Returns:
        The tensors by name.

    Raises:
        ValueError: the file is damaged, or holds anything but tensors by name.
        OSError: the file cannot be opened.
    """
    with open(path, "rb") as file:
        try:
            is_older = file.read(1) == _PICKLE
            file.seek(0)
            return _read_older_form(file.read()) if is_older else _read_archive(file)
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

        if f"{folder}byteorder" in archive.namelist():
            _check_byte_order(stored("byteorder") == b"little")
        tensors = _run_program(io.BytesIO(stored("data.pkl")))
        return _with_numbers(tensors, lambda key: stored(f"data/{key}"))


def _read_older_form(content: bytes) -> dict[str, np.ndarray]:
    """Read five pickles (two marks of the form, the machine, tensors, keys of storages), and the numbers after them."""
    stream = io.BytesIO(content)
    magic, version, machine = (_run_program(stream) for _ in range(3))
    if (magic, version) != _MAGIC:
        raise ValueError("it begins like a pickle of something else")
    _check_byte_order(machine["little_endian"])
    tensors, keys = _run_program(stream), _run_program(stream)
    storages = {each.storage.key: each.storage for each in _checked_tensors(tensors).values()}
    numbers, end = {}, stream.tell()
    for key in keys:
        storage, start = storages[key], end + 8
        if int.from_bytes(content[end:start], "little") != storage.n_values:
            raise ValueError("the lengths of its numbers contradict each other")
        end = start + storage.n_values * np.dtype(storage.kind).itemsize
        numbers[key] = content[start:end]
    if end != len(content):
        raise ValueError(f"it must have {end} bytes; has {len(content)}")
    return _with_numbers(tensors, numbers.__getitem__)


def _check_byte_order(is_little: bool) -> None:
    if not is_little:
        raise ValueError("its numbers are big-endian, and must be little-endian")


@dataclass(frozen=True)
class _Name:
    """Name of a class or function in a pickle. It is never imported."""

    text: str


@dataclass(frozen=True)
class _Storage:
    """Numbers outside of the pickle, which several tensors may share."""

    kind: str
    key: str
    n_values: int


@dataclass(frozen=True)
class _Tensor:
    """Part of a storage, with strides in values."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _checked_tensors(tensors: Any) -> dict[str, _Tensor]:
    if not all(isinstance(value, _Tensor) for value in tensors.values()):
        raise ValueError("it holds other objects than tensors")
    return tensors


def _with_numbers(tensors: Any, read_storage: Callable[[str], bytes]) -> dict[str, np.ndarray]:
    return {
        name: _array(tensor, np.frombuffer(read_storage(tensor.storage.key), tensor.storage.kind))
        for name, tensor in _checked_tensors(tensors).items()
    }


def _array(tensor: _Tensor, storage: np.ndarray) -> np.ndarray:
    offset, shape, strides = tensor.offset, tensor.shape, tensor.strides
    n_values = math.prod(shape)
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if min((offset, *shape, *strides)) < 0 or n_values > storage.size or (n_values and last >= storage.size):
        raise ValueError("a tensor extends beyond its stored numbers")
    strides = tuple(stride * storage.itemsize for stride in strides)
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, strides, writeable=False)


def _run_program(program: io.BytesIO) -> Any:
    """Follow the instructions of a pickle up to its end, protocol 2, without any import or call."""
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
            case "EMPTY_LIST":
                stack.append([])
            case "APPENDS":
                items = pop_to_mark()
                stack[-1].extend(items)
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
                _, kind, key, _, n_values, *view = stack.pop()
                if any(view):
                    raise ValueError("it has a storage that is a part of another one, which weights do not need")
                stack.append(_Storage(_STORAGES[kind.text], key, n_values))
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
    (result,) = stack
    return result


def _result_of(function: str, arguments: tuple[Any, ...]) -> dict | _Tensor:
    """Result of a function that a `state_dict` names."""
    if function == "collections.OrderedDict" and not arguments:
        return {}
    if function == "torch._utils._rebuild_parameter":
        return arguments[0]
    if function != "torch._utils._rebuild_tensor_v2":
        raise ValueError(f"it calls {function}, which weights do not need")
    return _Tensor(*arguments[:4])
