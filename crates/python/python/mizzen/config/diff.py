"""What changed between two configurations: as a list, as text, as a picture."""

from __future__ import annotations

from typing import Any, Iterator, NamedTuple

from mizzen.config.buildable import Buildable, _equal, _same
from mizzen.config.display import Graph, source, visualize
from mizzen.config.signature import MISSING
from mizzen.config.target import display_name, find_import_path
from mizzen.errors import ConfigError

__all__ = ["Change", "Difference", "difference"]

_COLOURS = {"+": "#c8eec8", "-": "#f5c8c8", "~": "#f5e6b8"}


class Change(NamedTuple):
    """One change.

    Attributes:
        path: where, such as ``.optimizer.lr``; empty for the whole.
        kind: ``"+"`` added, ``"-"`` removed, ``"~"`` changed.
        old: the former value, or MISSING.
        new: the value now, or MISSING.
    """

    path: str
    kind: str
    old: Any
    new: Any

    def __str__(self) -> str:
        name = self.path.lstrip(".") or "(all)"
        if self.kind == "+":
            return f"+ {name} = {source(self.new)}"
        if self.kind == "-":
            return f"- {name} = {source(self.old)}"
        return f"~ {name}: {source(self.old)} → {source(self.new)}"


class Difference:
    """The changes from one configuration to another: true if there are any, printed one a line.

    Attributes:
        changes: the changes, in the order of the tree.
        old: the former configuration.
        new: the configuration now.
    """

    def __init__(self, old: Any, new: Any, changes: tuple[Change, ...], trim: bool) -> None:
        self.old = old
        self.new = new
        self.changes = changes
        self._trim = trim

    def __bool__(self) -> bool:
        return bool(self.changes)

    def __len__(self) -> int:
        return len(self.changes)

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes)

    def __str__(self) -> str:
        return "\n".join(map(str, self.changes)) if self.changes else "(no differences)"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from html import escape

        lines = "".join(
            f'<div style="background: {_COLOURS[change.kind]}; color: black">{escape(str(change))}</div>' for change in self.changes
        )
        return f'<div style="font-family: monospace">{lines or "(no differences)"}</div>'

    def visualize(self, **options: Any) -> Graph:
        """A picture of the new configuration with what changed in colour; what was removed stands in it too.

        Args:
            options: graphviz attributes of the graph.
        """
        marks = {change.path: _COLOURS[change.kind] for change in self.changes}
        return visualize(self._pictured(), marks=marks, **options)

    def _pictured(self) -> Any:
        if not isinstance(self.new, Buildable):
            return self.new
        shown = self.new.clone()
        for change in self.changes:
            if change.kind == "-":
                holder = _holder(shown, change.path)
                if isinstance(holder, Buildable) and change.path.rpartition(".")[2].isidentifier():
                    vars(holder)[change.path.rpartition(".")[2]] = change.old
        if self._trim:
            _trim(shown, "", {change.path for change in self.changes}, set())
        return shown

    def _repr_svg_(self) -> str | None:
        return self.visualize()._repr_svg_()

    def save(self, path: str) -> None:
        """Writes the picture: see `Graph.save`."""
        self.visualize().save(path)

    render = save


def _holder(root: Any, path: str) -> Any:
    from mizzen.config.paths import get_value

    parent = path.rpartition(".")[0]
    try:
        return get_value(root, parent) if parent else root
    except ConfigError:
        return None


def _trim(value: Any, path: str, changed: set[str], seen: set[int]) -> None:
    """Takes out of a copy what is the same in both."""
    if not isinstance(value, Buildable) or id(value) in seen:
        return
    seen.add(id(value))
    for name, item in list(vars(value).items()):
        place = f"{path}.{name}"
        if place in changed:
            continue
        if any(other.startswith((place + ".", place + "[")) for other in changed):
            _trim(item, place, changed, seen)
        else:
            del vars(value)[name]


def difference(old: Any, new: Any, *, trim: bool = True) -> Difference:
    """What changed from `old` to `new`.

    Args:
        old: a Config, Partial, container or value.
        new: the same.
        trim: whether a picture leaves out what is the same in both.
    """
    changes: list[Change] = []
    _compare(old, new, "", changes, set())
    return Difference(old, new, tuple(changes), trim)


def _compare(old: Any, new: Any, path: str, changes: list[Change], seen: set[tuple[int, int]]) -> None:
    if old is new or (id(old), id(new)) in seen:
        return
    if isinstance(old, Buildable) and isinstance(new, Buildable):
        seen.add((id(old), id(new)))
        same_target = old.__target__ is new.__target__ or (
            find_import_path(old.__target__) == find_import_path(new.__target__) is not None
        )
        if not same_target or type(old) is not type(new):
            changes.append(Change(path, "~", _Callable(old), _Callable(new)))
            # Arguments of the same name are compared all the same: one class was swapped for another.
        elif _equal(old, new):
            return
        _compare_items(_arguments(old), _arguments(new), path, changes, seen)
    elif isinstance(old, dict) and isinstance(new, dict):
        seen.add((id(old), id(new)))
        _compare_items({f"[{key!r}]": item for key, item in old.items()}, {f"[{key!r}]": item for key, item in new.items()}, path, changes, seen)
    elif isinstance(old, (list, tuple)) and type(old) is type(new):
        seen.add((id(old), id(new)))
        _compare_items(
            {f"[{index}]": item for index, item in enumerate(old)}, {f"[{index}]": item for index, item in enumerate(new)}, path, changes, seen
        )
    elif not _same(old, new) or type(old) is not type(new) and not isinstance(old, (int, float)):
        changes.append(Change(path, "~", old, new))


class _Callable:
    """Shows a Buildable without its arguments, whose changes have lines of their own."""

    def __init__(self, config: Buildable[Any]) -> None:
        self.config = config

    def __repr__(self) -> str:
        return f"{type(self.config).__name__}({display_name(self.config.__target__)})"


def _arguments(config: Buildable[Any]) -> dict[str, Any]:
    return {
        **{f"[{index}]": item for index, item in enumerate(config.__positional__)},
        **{f".{name}": item for name, item in vars(config).items()},
    }


def _compare_items(old: dict[str, Any], new: dict[str, Any], path: str, changes: list[Change], seen: set[tuple[int, int]]) -> None:
    for step, item in new.items():
        if step in old:
            _compare(old[step], item, path + step, changes, seen)
        else:
            changes.append(Change(path + step, "+", MISSING, item))
    for step, item in old.items():
        if step not in new:
            changes.append(Change(path + step, "-", item, MISSING))
