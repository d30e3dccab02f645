"""Field policies: what is done with fields by name, after parsing, before encoding.

Names are canonical keys (``user.name``), ``labels.NAME``, ``metadata.NAME`` and ``unmapped.PATH``. Whatever else the event calls the same
thing has the same policy: the label ``user_id``, the second alias ``username`` under ``unmapped``, a member that no table maps but that
is called just so (``user.email``) have that of ``user.id``, ``user.name`` and ``user.email``. Which member has which action is decided once for a set of keys, so an event without such a field costs one
look-up.

What a field policy takes away is taken away everywhere in that event: in every other text the value is replaced where it stands as a word
of its own. The redacted line itself (``event.original``) is withheld as a whole when the value cannot be found in it: then it
is there in another spelling (an escape), and a guess would be a leak.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from exporter.pipeline.normalise.names import FIELD_ALIASES, LABEL_ALIASES
from exporter.pipeline.redact.actions import Action, DropEvent, DropField, Keep, is_mark
from exporter.pipeline.redact.engine import Learn, mend_surrogates
from exporter.pipeline.redact.policy import FieldActions

#: What every event has of ours, whatever an allow-list says.
OWN_KEYS = frozenset(("kind", "severity.number", "severity.text", "metadata.is_truncated", "unmapped"))
#: Sets of keys, and names below ``unmapped``, remembered; a larger set is looked at anew each time.
_MAX_SHAPES = 4096
_MAX_SHAPE_KEYS = 128
#: Values of one event that are looked for in its other texts; an event with more of them withholds its texts.
_MAX_REMOVED = 64
#: A removed text is looked for in at most this much of another one; a longer one is withheld.
_MAX_SEARCHED_CHARS = 262_144
#: Shorter texts are not looked for: they name nobody and stand in every line. The line itself is withheld then.
_MIN_SEARCHED_CHARS = 3
WITHHELD = "[redacted-text]"
_ADDRESSES = {"source.address": "source.ip", "destination.address": "destination.ip"}
#: A removed member.
_GONE = object()

Path = tuple[str, ...]
#: Members of an event that have a policy, and which; None asks below ``unmapped`` by name.
Plan = tuple[tuple[str, Action | None], ...]


class Verdict(NamedTuple):
    """What a member's name says: the action of a leaf, that of a container named itself, and whether all of it stays."""

    leaf: Action | None
    container: Action | None
    is_kept: bool


class EventDropped(Exception):
    """The policy drops the event."""


class FieldPolicy:
    """The field policies of one tenant. Not thread-safe."""

    def __init__(self, actions: FieldActions, learn: Learn | None) -> None:
        self._actions, self._learn = actions, learn
        self._shapes: dict[tuple[str, ...], Plan] = {}
        self._verdicts: dict[Path, Verdict] = {}
        self._heads = self._heads_below_unmapped()

    def plans(self, events: Sequence[dict[str, Any]]) -> list[Plan]:
        """Return which members of each event have a policy, and learn the pseudonyms of their canonical members in one round
        trip. Raises PseudonymsUnavailable.
        """
        shapes, plans = self._shapes, []
        for event in events:
            rest = event.get("unmapped")
            shape = (*event, "", *rest) if type(rest) is dict else tuple(event)
            plan = shapes.get(shape)
            plans.append(self._plan(shape, event) if plan is None else plan)
        if self._learn is not None and any(plans):
            wanted = {
                (action.kind, mend_surrogates(value).encode())
                for event, plan in zip(events, plans, strict=True)
                for key, action in plan
                if action is not None and action.kind is not None and type(value := event[key]) is str
            }
            self._learn(item for item in wanted if not is_mark(item[1]))
        return plans

    def apply(self, event: dict[str, Any], plan: Plan, removed: Mapping[str, str]) -> bool:
        """Change an event's own members; tell whether anything changed. ``removed``: what was taken from its labels and
        metadata, and what stands there now. Raises EventDropped, PseudonymsUnavailable.
        """
        rest = event.get("unmapped")
        work = _Work(self, "")
        for key, action in plan:
            if key == "unmapped":
                left = work.walk(rest, ("unmapped",), None)
                if left is _GONE or not left:
                    del event[key]
                else:
                    event[key] = left
            else:
                work.member(event, key, action, (key,))
        work.finish(event, removed)
        return work.changed

    def apply_map(self, members: Mapping[str, Any], root: str) -> tuple[dict[str, Any], dict[str, str]]:
        """Return labels or structured metadata after the policy (``root``: ``labels`` or ``metadata``), and what was taken
        from them. A policy to drop the event masks here, as labels belong to many events.
        """
        out, work = dict(members), _Work(self, root)
        for key in members:
            action = self.action_of((root, key))
            if action is not None:
                work.member(out, key, action, (root, key))
        work.finish(out, {})
        return out, work.removed

    def canonical(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return canonical members that labels or metadata tell, after the policy. What is dropped there is dropped here."""
        out, work = dict(fields), _Work(self, "labels")
        for key in fields:
            action = self.action_of((key,)) if key not in OWN_KEYS else None
            if action is not None:
                work.member(out, key, action, (key,))
        return out

    def _plan(self, shape: tuple[str, ...], event: dict[str, Any]) -> Plan:
        """Decide for a set of keys which members have a policy."""
        found: list[tuple[str, Action | None]] = [
            (key, action) for key in event if key not in OWN_KEYS and (action := self.action_of((key,))) is not None
        ]
        rest = event.get("unmapped")
        if type(rest) is dict and self._reaches_into(rest):
            found.append(("unmapped", None))
        if len(self._shapes) >= _MAX_SHAPES:
            self._shapes.clear()
        if len(shape) <= _MAX_SHAPE_KEYS:
            self._shapes[shape] = tuple(found)
        return tuple(found)

    def _heads_below_unmapped(self) -> frozenset[str] | None:
        """Return the first names below ``unmapped`` under which anything may have a policy; None: under any."""
        names = [*self._actions.exact, *(prefix for prefix, _ in self._actions.below)]
        if self._actions.others is not None or any(name in {"unmapped", "unmapped."} for name in names):
            return None
        aliases = [alias for alias, (_, target) in FIELD_ALIASES.items() if self.action_of((target,)) is not None]
        return frozenset(name.removeprefix("unmapped.").partition(".")[0] for name in [*names, *aliases])

    def _reaches_into(self, rest: Iterable[str]) -> bool:
        """Tell whether anything below ``unmapped`` may have a policy, by its first keys only."""
        return self._heads is None or any(key.partition(".")[0] in self._heads for key in rest)

    def action_of(self, path: Path) -> Action | None:
        """Return the action of a member; None leaves it alone."""
        for name in self._names(path):
            if (action := self._actions.exact.get(name)) is not None:
                return None if isinstance(action, Keep) else action
        for name in self._names(path):
            for prefix, action in self._actions.below:
                if name.startswith(prefix):
                    return None if isinstance(action, Keep) else action
        return self._actions.others

    def _names(self, path: Path) -> tuple[str, ...]:
        """Return what a member is called, most special first: by its place, by its own name, and canonically."""
        place = ".".join(path)
        if len(path) == 1:
            # What stands where an address should and is none, a host's name for one, falls under the address's policy.
            return (place, _ADDRESSES[place]) if place in _ADDRESSES else (place,)
        own = ".".join(path[1:])
        alias = FIELD_ALIASES.get(own)
        if path[0] != "unmapped":
            alias = LABEL_ALIASES.get(own) or alias
        return (place, own) if alias is None else (place, own, alias[1])

    def verdict(self, path: Path) -> Verdict:
        """Return what a path below ``unmapped`` says, remembered."""
        found = self._verdicts.get(path)
        if found is None:
            if len(self._verdicts) >= _MAX_SHAPES:
                self._verdicts.clear()
            named = next((a for name in self._names(path) if (a := self._actions.exact.get(name)) is not None), None)
            found = self._verdicts[path] = Verdict(self.action_of(path), named, isinstance(named, Keep))
        return found

    def replace(self, action: Action, text: str) -> str:
        """Return what stands in a text's place."""
        raw = mend_surrogates(text).encode()
        if action.kind is not None and self._learn is not None:
            self._learn([(action.kind, raw)])
        return (action.fixed or action.replace(raw)).decode("utf-8", "replace")


class _Work:
    """One event on its way through the policy."""

    def __init__(self, policy: FieldPolicy, root: str) -> None:
        self._policy, self._root = policy, root
        self.removed: dict[str, str] = {}
        self.changed = False

    def member(self, event: dict[str, Any], key: str, action: Action | None, path: Path) -> None:
        left = self.walk(event[key], path, action)
        if left is _GONE:
            del event[key]
        else:
            event[key] = left

    def walk(self, value: Any, path: Path, action: Action | None) -> Any:
        """Return what is left of a value. ``action``: of the whole of it, None to ask for the parts by name."""
        if type(value) is dict and not isinstance(action, DropField):
            return self._object(value, path, action)
        if type(value) is list and not isinstance(action, DropField):
            items = [self.walk(item, path, action) for item in value]
            return [item for item in items if item is not _GONE]
        if action is None and (path[0] != "unmapped" or (action := self._policy.verdict(path).leaf) is None):
            return value
        if isinstance(action, DropEvent) and not self._root:
            raise EventDropped
        return self._leaf(value, action)

    def _object(self, value: dict[str, Any], path: Path, action: Action | None) -> Any:
        out = {}
        for key, item in value.items():
            inner, own, drops_empty = (*path, key), action, False
            if own is None:
                verdict = self._policy.verdict(inner)
                if verdict.is_kept:
                    out[key] = item
                    continue
                # A container's own name wins over what is around it; its leaves are asked for by name otherwise.
                is_leaf = type(item) is not dict and type(item) is not list
                own = verdict.leaf if is_leaf else verdict.container
                if is_leaf and own is None:
                    out[key] = item
                    continue
                drops_empty = isinstance(verdict.leaf, DropField)
            left = self.walk(item, inner, own)
            if left is not _GONE and not (drops_empty and _is_hollow(left)):
                out[key] = left
        return out or (_GONE if value else value)

    def _leaf(self, value: Any, action: Action) -> Any:
        if value is None or type(value) is bool:
            return value if not isinstance(action, DropField) else self._drop()
        if type(value) is dict or type(value) is list:  # dropped as a whole; its texts are removed elsewhere, too
            for text in _texts_of(value):
                self._remember(text, action)
            return self._drop()
        text = value if type(value) is str else repr(value)
        if isinstance(action, DropField):
            self._remember(text, action)
            return self._drop()
        if not text or is_mark(text.encode("utf-8", "replace")):
            return value
        new = self._policy.replace(action, text)
        if new == text:
            return value
        self._remember(text, action, new)
        self.changed = True
        return new

    def _drop(self) -> Any:
        self.changed = True
        return _GONE

    def _remember(self, text: str, action: Action, new: str | None = None) -> None:
        if text.strip() and not is_mark(text.encode("utf-8", "replace")):
            self.removed[text] = self._policy.replace(action, text) if new is None else new

    def finish(self, event: dict[str, Any], removed: Mapping[str, str]) -> None:
        """Remove from the event's other texts what was taken away here and from its labels (``removed``)."""
        of_line = list(self.removed)
        self.removed |= removed
        if not self.removed:
            return
        replace, original = self._replacer(), event.get("event.original")
        if replace is None:
            for key, value in event.items():
                if type(value) is str and key not in OWN_KEYS and not is_mark(value.encode("utf-8", "replace")):
                    event[key] = WITHHELD
            event.pop("unmapped", None)
            return
        if type(original) is str:
            left = replace(original)
            # Every value of the line has to be found in it; those of labels need not be there.
            if any(not _occurs(text, original) for text in of_line):
                left = WITHHELD
            event["event.original"] = left
        for key, value in event.items():
            if key == "unmapped" or (key not in OWN_KEYS and key != "event.original"):
                event[key] = _in_all_texts(value, replace)

    def _replacer(self) -> Callable[[str], str] | None:
        """Return what replaces every removed value in a text; None when there are too many."""
        if len(self.removed) > _MAX_REMOVED:
            return None
        spellings = {form: new for text, new in self.removed.items() for form in _spellings(text)}
        if not spellings:
            return lambda text: text
        forms = sorted(spellings, key=len, reverse=True)

        def replace(text: str) -> str:
            if len(text) > _MAX_SEARCHED_CHARS:
                return WITHHELD
            there = tuple([form for form in forms if form in text])
            return _search(there).sub(lambda match: spellings.get(match[0], match[0]), text) if there else text

        return replace


@lru_cache(4096)
def _search(forms: tuple[str, ...]) -> re.Pattern[str]:
    """Return the expression for any of these as a word of its own, not inside a longer word or number, and for our marks, which
    stay as they are.
    """
    either = "|".join(map(re.escape, forms))
    return re.compile(rf"\[redacted-[a-z0-9-]+\]|(?<![^\W_])(?:{either})(?![^\W_])")


def _spellings(text: str) -> set[str]:
    """Return a text as it may stand in a line: plain, and with JSON's escapes. Nothing when it is too short to be looked for."""
    if len(text) < _MIN_SEARCHED_CHARS:
        return set()
    if text.isascii() and text.replace("-", "").isalnum():  # most names and ids
        return {text}
    escaped = text.encode("ascii", "backslashreplace").decode()
    return {text, text.replace("\\", "\\\\").replace('"', '\\"'), escaped.replace('"', '\\"'), text.replace("/", "\\/")}


def _occurs(text: str, original: str) -> bool:
    forms = tuple(sorted(form for form in _spellings(text) if form in original))
    return bool(forms) and any(match[0] in forms for match in _search(forms).finditer(original))


def _is_hollow(value: Any) -> bool:
    """Tell whether a value is nothing but empty containers."""
    if type(value) is dict:
        return all(map(_is_hollow, value.values()))
    return type(value) is list and all(map(_is_hollow, value))


def _in_all_texts(value: Any, replace: Callable[[str], str]) -> Any:
    if type(value) is str:
        return replace(value)
    if type(value) is dict:
        return {key: _in_all_texts(item, replace) for key, item in value.items()}
    if type(value) is list:
        return [_in_all_texts(item, replace) for item in value]
    return value


def _texts_of(value: Any) -> Iterable[str]:
    if type(value) is dict:
        for item in value.values():
            yield from _texts_of(item)
    elif type(value) is list:
        for item in value:
            yield from _texts_of(item)
    elif type(value) is str:
        yield value
    elif value is not None and type(value) is not bool:
        yield repr(value)
