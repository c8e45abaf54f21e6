"""A hash of the source code of a custom feature, for the fingerprint of a model's inputs.

It covers the class, and what its code names in the same package: functions, classes, and constants (numbers, texts,
bytes, None, and tuples, lists, sets and dicts of these). Comments, docstrings, layout and the place in a file do not
change it. It is the same in every version of Python: it is computed from the syntax tree, without empty fields.
"""

import ast
import hashlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from functools import cache
from types import FunctionType, ModuleType

from surgetank.errors import TopologyError

Code = type | FunctionType

_ENGINE = "surgetank.features"
_CONSTANTS = (bool, int, float, complex, str, bytes, type(None))


def is_custom(kind: type) -> bool:
    """Return whether a class of features is not one of the engine."""
    return kind.__module__ != _ENGINE and not kind.__module__.startswith(f"{_ENGINE}.")


@cache
def code_hash(kind: type) -> str:
    """Return the SHA-256 of the code of a class, as hex.

    Raises TopologyError if source code cannot be read, as for a class that was typed into an interpreter.
    """
    parts: dict[str, str] = {}
    _collect(kind, kind.__module__.partition(".")[0], parts)
    digest = hashlib.sha256()
    for name in sorted(parts):
        digest.update(f"{name}\0{parts[name]}\0".encode())
    return digest.hexdigest()


def _collect(code: Code, package: str, parts: dict[str, str]) -> None:
    """Add the code of a class or function, and of what it names in the package, to ``parts`` by name."""
    name = f"{code.__module__}.{code.__qualname__}"
    if name in parts:
        return
    tree = _tree(code)
    parts[name] = _text(tree)
    module = sys.modules.get(code.__module__)
    names = dict(vars(module)) if module is not None else {}
    for used, value in _named(tree, names, package):
        if isinstance(value, Code):
            if value.__module__.partition(".")[0] == package and not _is_engine(value):
                _collect(value, package, parts)
        elif (constant := _constant(value)) is not None:
            parts[f"{code.__module__}:{used}"] = constant


def _is_engine(code: Code) -> bool:
    return not is_custom(code) if isinstance(code, type) else code.__module__.startswith(_ENGINE)


def _tree(code: Code) -> ast.AST:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(code))).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        raise TopologyError(
            f"the source code of {code.__qualname__!r} in {code.__module__!r} cannot be read, and it belongs to the "
            "fingerprint of the features: define it with class or def in a .py file that is deployed with the pipeline"
        ) from None


def _named(tree: ast.AST, names: dict[str, object], package: str) -> Iterator[tuple[str, object]]:
    """Yield the values of the global names that code uses, and of the attributes of the package's modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in names:
            yield node.id, _unwrapped(names[node.id])
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = names.get(node.value.id)
            if isinstance(module, ModuleType) and module.__name__.partition(".")[0] == package:
                yield f"{node.value.id}.{node.attr}", _unwrapped(getattr(module, node.attr, None))


def _unwrapped(value: object) -> object:
    """Return the function that a decorator wraps, as of a cached function; any other value as it is."""
    wrapped: object = inspect.unwrap(value) if isinstance(value, Callable) else value  # type: ignore[arg-type]
    return wrapped


def _constant(value: object) -> str | None:
    """Return a text for a constant, None for any other value."""
    if isinstance(value, _CONSTANTS):
        return repr(value)
    if not isinstance(value, tuple | list | set | frozenset | dict):
        return None
    items = list(value.items()) if isinstance(value, dict) else list(value)
    texts = [text for each in items if (text := _constant(each)) is not None]
    if len(texts) < len(items):
        return None
    return f"{type(value).__name__}({','.join(sorted(texts) if isinstance(value, set | frozenset) else texts)})"


def _text(node: object) -> str:
    """Return a text for a part of a syntax tree, the same for equal code."""
    if isinstance(node, list):
        return "[" + ",".join(map(_text, node)) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: value for name, value in ast.iter_fields(node) if value not in (None, []) or name == "value"}
    if isinstance(node, ast.Constant):
        fields.pop("kind", None)  # whether a text was written with u in front
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        fields["body"] = [each for number, each in enumerate(node.body) if number or not _is_docstring(each)]
    return f"{type(node).__name__}({','.join(f'{name}={_text(fields[name])}' for name in sorted(fields))})"


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
