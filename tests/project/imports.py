"""The import rule of design section 2, as a function from source text to complaints.

It reads the syntax tree, so imports inside functions count too, as do `importlib.import_module("name")` and
`__import__("name")` with a literal name.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

SERVICES = ("teelog.cli", "teelog.log_server", "teelog.witness")
TOP_LEVEL_FOLDERS = ("cli", "log_server", "witness", "tests")

PURE = ("teelog.tlog", "teelog.statement", "teelog.evidence", "teelog.index", "teelog.measure", "teelog.appraisal")
PURE_MODULES = (
    *PURE,
    "teelog.errors",
    "teelog.strict",
    "teelog.strict_cbor",
    "teelog.cbor",
    "teelog.keys",
    "teelog.verdict",
    "teelog.trust",
    "teelog.bundle",
)

# Sockets, files, clocks, randomness, logging, and libraries that bring them: arguments in a pure module.
IMPURE = frozenset(
    {
        "aiohttp", "asyncio", "click", "concurrent", "fcntl", "ftplib", "getpass", "glob", "http", "httpx", "logging",
        "mmap", "multiprocessing", "os", "pathlib", "prometheus_client", "random", "requests", "resource", "rich",
        "secrets", "select", "selectors", "shutil", "signal", "socket", "socketserver", "sqlite3", "sqlite_utils",
        "ssl", "stamina", "structlog", "subprocess", "syslog", "tempfile", "threading", "time", "uuid", "uvloop",
        "urllib.request", "urllib.error", "importlib.resources", "importlib.metadata",
    }
)
# Calls that reach the world without an import of their own.
IMPURE_CALLS = frozenset({"open", "input", "print", "breakpoint"})
IMPURE_ATTRIBUTES = frozenset({"now", "utcnow", "today", "token_bytes", "generate", "generate_key"})

# What the offline commands must not pay for when a command module is loaded.
HEAVY = ("aiohttp", "sqlite3", "sqlite_utils", "uvloop", "rich", "structlog", "prometheus_client", "stamina")

# Layers inside the core: a package may import these others and no more.
MAY_IMPORT = {
    "teelog.errors": (),
    "teelog.strict": ("teelog.errors",),
    "teelog.keys": ("teelog.errors", "teelog.strict"),
    "teelog.tlog": ("teelog.errors", "teelog.strict", "teelog.keys", "teelog.tlog"),
    "teelog.cbor": ("teelog.errors",),
    "teelog.evidence": (
        "teelog.errors",
        "teelog.strict",
        "teelog.cbor",
        "teelog.keys",
        "teelog.verdict",
        "teelog.evidence",
    ),
}


@dataclass(frozen=True, slots=True)
class Import:
    name: str  # dotted, absolute; for `from a import b` both a and a.b are given
    line: int
    when_loaded: bool  # runs as soon as the module is imported


def within(name: str, packages: tuple[str, ...] | frozenset[str]) -> bool:
    """Whether ``name`` is one of ``packages`` or lies inside one."""
    return any(name == package or name.startswith(package + ".") for package in packages)


def imports(source: str, module: str, is_package: bool = False) -> Iterator[Import]:
    yield from _imports(ast.parse(source), module if is_package else module.rpartition(".")[0], True)


def _imports(node: ast.AST, package: str, when_loaded: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, node.lineno, when_loaded)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parents = package.split(".")
            base = ".".join([*parents[: len(parents) - node.level + 1], *([base] if base else [])])
        yield Import(base, node.lineno, when_loaded)
        for alias in node.names:
            yield Import(f"{base}.{alias.name}", node.lineno, when_loaded)
    elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
        for argument in node.args[:1]:
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield Import(argument.value, node.lineno, when_loaded)
    if isinstance(node, ast.If) and _is_type_checking(node.test):
        for child in node.body:
            yield from _imports(child, package, False)
        for child in node.orelse:
            yield from _imports(child, package, when_loaded)
        return
    inner = when_loaded and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, package, inner)


def _called(call: ast.Call) -> str:
    if isinstance(call.func, ast.Name):
        return call.func.id
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def complaints(source: str, module: str, is_package: bool = False) -> list[str]:
    """One line for each breach of the rule, empty if there is none."""
    found = [
        f"line {each.line}: {module} imports {each.name}: {reason}"
        for each in imports(source, module, is_package)
        if (reason := _breach(each, module))
    ]
    if within(module, PURE_MODULES):
        found += [f"line {line}: {module} calls {name}: the world is an argument" for name, line in _calls(source)]
    return list(dict.fromkeys(found))


def _breach(each: Import, module: str) -> str | None:
    if within(each.name, TOP_LEVEL_FOLDERS):
        return "the folders are imported as teelog.cli, teelog.log_server, teelog.witness"
    own = next((service for service in SERVICES if within(module, (service,))), None)
    if within(each.name, SERVICES) and (own is None or not within(each.name, (own,))):
        if own != "teelog.cli":
            return "only the command line knows the services"
        if each.when_loaded:
            return "the command line loads services inside the commands that need them"
    if own == "teelog.cli" and each.when_loaded and within(each.name, HEAVY):
        return "slow to load: import it inside the function that needs it"
    if within(module, PURE_MODULES) and within(each.name, IMPURE):
        return "a pure module imports no socket, file, clock, randomness or logging"
    if within(module, PURE_MODULES) and within(each.name, ("teelog.client",)):
        return "a pure module does no I/O"
    for layer, allowed in MAY_IMPORT.items():
        if within(module, (layer,)) and each.name.startswith("teelog.") and not within(each.name, allowed):
            return f"{layer} may import only " + (", ".join(allowed) or "nothing of teelog")
    return None


def _calls(source: str) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
            yield node.func.id, node.lineno
        if isinstance(node.func, ast.Attribute) and node.func.attr in IMPURE_ATTRIBUTES:
            yield node.func.attr, node.lineno
