"""The YAML file: parsed once, with the line of every key, so that a finding says where to look.

What YAML allows and a configuration must not have is found here: duplicate keys, aliases that grow without bound,
several documents, keys that are no text. Values are never quoted in a message, because any of them may be a secret that
somebody wrote in the wrong place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from exporter.errors import ConfigurationError, Finding

#: A configuration of 1,000 tenants is about 200 kB; more than this is not a configuration.
MAX_FILE_BYTES = 10_000_000
#: Nodes after all aliases are followed. Bounds "billion laughs" (aliases of aliases).
MAX_NODES = 1_000_000

DocumentPath = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """YAML 1.1 without timestamps: ``start: 2026-01-01T00:00:00Z`` is text for us, not a datetime."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class Document:
    """A parsed file. ``data`` is plain Python; :meth:`line_of` finds the line of a finding's path."""

    def __init__(self, data: dict[Any, Any], root: yaml.Node) -> None:
        self.data = data
        self._root = root

    def line_of(self, path: str) -> int:
        """Return the line (from 1) of a dotted path's key, or of the nearest enclosing one that is written in the file; 0
        when nothing of it is. Keys may hold dots themselves.
        """
        node, line, rest = self._root, 0, path
        while rest:
            candidates = ((_child(node, step), after) for step, after in _steps(rest))
            (found, rest) = next(((child, after) for child, after in candidates if child is not None), (None, ""))
            if found is not None:
                line, node = found
        return line


def dotted(path: Sequence[str | int]) -> str:
    """Render a path as findings show it: ``tenants.acme.targets[1]``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step or '(empty)'}" for step in path)
    return text.removeprefix(".")


def read_document(path: Path) -> tuple[Document, list[Finding]]:
    """Read a file. Returns it with findings that leave it usable (duplicate keys, keys that are no text).

    Raises ConfigurationError when it cannot be read or parsed at all.
    """
    text = _read_text(path)
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            raise _refused(str(path), "the file is empty", "Start with `loki-siem init`.")
        findings = list(_check_nodes(node, str(path)))
        data = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(path, error) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _refused(
            str(path), "the file holds a control character", "Remove it; YAML is plain text.", line
        ) from None
    except RecursionError:
        raise _refused(str(path), "the file is nested too deeply", "A configuration has at most five levels.") from None
    except (ValueError, OverflowError):  # a number beyond what Python converts
        raise _refused(str(path), "a value cannot be read", "Put values that are no numbers into quotes.") from None
    finally:
        if loader is not None:
            loader.dispose()
    if not isinstance(data, dict):
        raise _refused(str(path), "the file is not a mapping", "Write `key: value` lines; see `loki-siem init`.")
    return Document(data, node), findings


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        reason = f"the file cannot be read ({error.strerror})"
        raise _refused(
            str(path), reason, "Name an existing, readable file, or write one with `loki-siem init`."
        ) from None
    if len(raw) > MAX_FILE_BYTES:
        raise _refused(str(path), f"the file is larger than {MAX_FILE_BYTES} bytes", "Is this the configuration?")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _refused(str(path), "the file is not UTF-8", "Save it as UTF-8.", line) from None


def _refused(path: str, reason: str, cure: str, line: int = 0) -> ConfigurationError:
    return ConfigurationError([Finding(path, reason, cure, line)])


def _syntax_error(path: Path, error: yaml.MarkedYAMLError) -> ConfigurationError:
    mark = error.problem_mark or error.context_mark
    # The parser quotes names of aliases and tags: `password: *hunter2` would show half a password.
    problem = re.sub(r"(['\"])(?!<)[^'\"]{2,}\1", "…", error.problem or "not readable")
    place = f" at {mark.line + 1}:{mark.column + 1} (line:column)" if mark else ""
    cure = "Indent with spaces, and put values with any of : # * & ! % @ { [ into quotes."
    return _refused(str(path), f"YAML syntax{place}: {problem}", cure, mark.line + 1 if mark else 0)


def _check_nodes(root: yaml.Node, file: str) -> Iterator[Finding]:
    """Walk every node once and yield what is wrong. Raises ConfigurationError when aliases loop or grow."""
    sizes: dict[int, int] = {}
    paths: dict[int, DocumentPath] = {id(root): ()}
    open_: set[int] = set()
    stack: list[tuple[yaml.Node, bool]] = [(root, False)]
    while stack:
        node, leaving = stack.pop()
        children = _children(node, paths[id(node)])
        if leaving:
            open_.discard(id(node))
            sizes[id(node)] = 1 + sum(sizes[id(child)] for _, child in children)
            if sizes[id(node)] > MAX_NODES:
                raise _refused(file, "aliases expand to too much", "Write the values out.", node.start_mark.line + 1)
            continue
        if id(node) in sizes:
            continue
        open_.add(id(node))
        if isinstance(node, yaml.MappingNode):
            yield from _check_keys(node, paths[id(node)])
        stack.append((node, True))
        for path, child in children:
            if id(child) in open_:
                raise _refused(file, "an alias holds itself", "Write the value out.", child.start_mark.line + 1)
            paths.setdefault(id(child), path)
            stack.append((child, False))


def _children(node: yaml.Node, path: DocumentPath) -> list[tuple[DocumentPath, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        return [((*path, str(key.value)), value) for key, value in node.value]
    if isinstance(node, yaml.SequenceNode):
        return [((*path, index), child) for index, child in enumerate(node.value)]
    return []


def _check_keys(node: yaml.MappingNode, path: DocumentPath) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if key.tag == "tag:yaml.org,2002:merge":
            continue
        if key.tag != "tag:yaml.org,2002:str":
            name = (key.value if isinstance(key, yaml.ScalarNode) else "") or "(key)"
            reason = "the key is not text (YAML reads it as a number, a truth value or nothing)"
            yield Finding(dotted((*path, name)), reason, "Put it into quotes.", line)
        elif key.value in seen:
            reason = f"the key stands twice, first in line {seen[key.value]}"
            yield Finding(dotted((*path, key.value)), reason, "Keep one of them.", line)
        else:
            seen[key.value] = line


def _child(node: yaml.Node, step: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        child = node.value[step]
        return child.start_mark.line + 1, child
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == str(step):
                return key.start_mark.line + 1, value
    return None


def _steps(dotted_path: str) -> Iterator[tuple[str | int, str]]:
    """Yield the ways to cut the first step off a dotted path, longest key first."""
    if index := re.match(r"\[(\d+)\]\.?", dotted_path):
        yield int(index[1]), dotted_path[index.end() :]
        return
    cuts = [len(dotted_path), *(m.start() for m in re.finditer(r"[.\[]", dotted_path))]
    for cut in sorted(cuts, reverse=True):
        yield dotted_path[:cut], dotted_path[cut:].removeprefix(".")
