"""A value as it was written, and the place where it is to go, before anybody has looked at its annotation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mizzen.cli.errors import ParseError
from mizzen.errors import ArgumentError

__all__ = ["Mismatch", "Scope", "Tree", "Value", "written"]

Tree = tuple[Any, ...]


class Scope:
    """Where a value is to go: for messages, and for the names that are visible there.

    Attributes:
        function: the callable whose argument it is.
        argument: the argument's name.
        path: the value's place as the user would write it.
        text: the word of the command line (or the file) that it comes from.
        namespace: the names that are visible where the entry point is defined.
        transform: what is done to each text of a file (interpolation); ``None``: nothing.
    """

    __slots__ = ("argument", "function", "namespace", "path", "text", "transform")

    def __init__(
        self,
        function: object = None,
        argument: str = "",
        path: str = "",
        text: str = "",
        namespace: Mapping[str, object] | None = None,
        transform: Callable[[str], str] | None = None,
    ) -> None:
        self.function = function
        self.argument = argument
        self.path = path or argument
        self.text = text
        self.namespace: Mapping[str, object] = {} if namespace is None else namespace
        self.transform = transform

    def at(self, path: str) -> Scope:
        """The same at another place."""
        return Scope(self.function, self.argument, path, self.text, self.namespace, self.transform)

    def of(self, function: object, argument: str, path: str) -> Scope:
        """The place of another callable's argument."""
        return Scope(function, argument, path, self.text, self.namespace, self.transform)


class Value:
    """A value as it was written; its tree is made when it is first needed."""

    __slots__ = ("_tree", "text")

    def __init__(self, text: str | None, tree: Tree | None = None) -> None:
        self.text = text
        self._tree = tree

    @property
    def tree(self) -> Tree:
        """The tree that the grammar makes of it.

        Raises:
            ArgumentError: brackets or quotes don't match.
        """
        if self._tree is None:
            from mizzen import _core

            self._tree = tuple(_core.parse_value(self.text or "")) if self.text and self.text.strip() else ("text", "", False)
        return self._tree

    def tree_kind(self) -> str:
        """The tree's kind; empty if brackets or quotes don't match."""
        try:
            return str(self.tree[0])
        except ArgumentError:
            return ""

    def word(self) -> tuple[str, bool] | None:
        """The text and whether it was quoted; ``None`` if it is no single word."""
        if self.text is not None and not self.text.lstrip().startswith(('"', "'")):
            return (self.text.strip(), False)
        try:
            tree = self.tree
        except ArgumentError:
            return (self.text or "", False)
        if tree[0] == "text":
            return (str(tree[1]), bool(tree[2]))
        if tree[0] in ("number", "name"):
            return (str(tree[1]), False)
        return None if self.text is None else (self.text, False)

    def unquoted(self) -> str | None:
        """The word, if it was not quoted."""
        word = self.word()
        return word[0] if word is not None and not word[1] else None

    def written(self) -> str:
        """For messages."""
        return self.text if self.text is not None else written(self._tree or ("text", "", False))


def written(tree: Tree) -> str:
    kind = tree[0]
    if kind == "text":
        return repr(tree[1]) if tree[2] else str(tree[1])
    if kind in ("number", "name"):
        return str(tree[1])
    if kind == "call":
        given = ", ".join(written(item) if name is None else f"{name}={written(item)}" for name, item in tree[2])
        return f"{tree[1]}({given})"
    if kind == "dict":
        return "{" + ", ".join(f"{written(key)}: {written(item)}" for key, item in tree[1]) + "}"
    brackets = {"list": "[]", "tuple": "()", "set": "{}"}[kind]
    return brackets[0] + ", ".join(written(item) for item in tree[1]) + brackets[1]


class Mismatch(Exception):
    """A value is not what an annotation asks for: another member of a union may fit."""

    def __init__(self, reason: str, kind: type[ParseError] = ParseError) -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind = kind
