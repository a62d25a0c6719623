"""Reads a Python text: which of its statements make which names, what each of them needs, and how to cut some of them out.

::

    Text ─ statements ──→ Statement(makes, changes, needs) ─ chosen by source.py ─→ Text.cut ─→ pieces

A cut keeps every byte at its line and column, so that tracebacks and ``inspect`` are right. Only what a module's own level runs
counts: the compiler says which names a piece of code looks up there.

Pitfall: a compound statement is taken whole (an ``if`` with its ``else``), unless it launches jobs, is being executed, or is the
``if __name__ == "__main__"`` block. Of such a *closed* block only functions and classes are cut out; see :attr:`Text.closed`.
"""

from __future__ import annotations

import ast
from types import CodeType
from typing import Iterator

__all__ = ["Statement", "Text", "names_of_code"]

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_SCOPES = (*_DEFINITIONS, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_PACKAGES = ("mizzen", "nemo_run")
_LAUNCHING = frozenset(("run", "run_async", "Experiment", "cli"))
# What is called on an imported module is done again in a job if its name says that it configures, and not if it acts.
_CONFIGURING = (
    *("set", "seed", "manual_seed", "basicConfig", "dictConfig", "fileConfig", "config", "filterwarnings", "simplefilter"),
    *("register", "enable", "disable", "use", "allow", "insert", "append", "extend", "update", "add"),
)


class Statement:
    """A statement that can be cut out: one at a module's level, or a function or class in a closed block.

    Attributes:
        node: its syntax.
        above: for each block around it, the outermost first, its column and the line before what is in it.
        makes: the names that it binds.
        changes: the names whose objects it changes: ``X.a = 1``, ``X[0] = 1``, ``X.append(1)``.
        start: its first line, decorators included, counted from 1.
        end: its last line.
    """

    def __init__(self, node: ast.stmt, start: int, above: tuple[tuple[int, int], ...] = ()) -> None:
        self.node = node
        self.above = above
        self.makes = frozenset(_made_names(node))
        self.changes = frozenset() if isinstance(node, _DEFINITIONS) else frozenset(_changed_names(node))
        self.start = start
        self.end = node.end_lineno or node.lineno
        # Of `import mizzen, math`: what is blanked where only `math` is wanted, unless the other half is chosen too.
        self.blanks: list[tuple[int, int, int, int]] = []
        self.other: Statement | None = None
        self._needs: tuple[frozenset[str], frozenset[str]] | None = None

    @property
    def title(self) -> str:
        """What it is called in an error."""
        if isinstance(self.node, ast.ClassDef):
            return f"class `{self.node.name}`"
        if isinstance(self.node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return f"function `{self.node.name}`"
        return f"line {self.start}"

    def needs(self) -> tuple[frozenset[str], frozenset[str]]:
        """Returns the names that running it looks up at the module's level, and those that calling what it made looks up."""
        if self._needs is None:
            module = ast.Module(body=[self.node], type_ignores=[])
            now, later = names_of_code(compile(module, "<needs>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, True))
            self._needs = (now | frozenset(_annotation_names(self.node)), later)
        return self._needs


class Text:
    """One file, cell or command, parsed.

    Args:
        file: its name in tracebacks.
        text: what it says.
        running: the line that is being executed at its level; what is at or after it has not been done. ``None``: all has been.

    Attributes:
        statements: what can be cut out, in order.
        makers: for each name, the statements that bind it.
        closed: names that a closed block or a ``global`` declaration binds or changes, with the line, and whether that is certain
            to matter (a method that is called on an object may leave it as it was).
        future: the features of ``from __future__ import …``.
        stars: modules of ``from … import *``.
        launchers: names that stand for Mizzen, or for something of it.
    """

    def __init__(self, file: str, text: str, running: int | None = None) -> None:
        self.file = file
        self.text = text.replace("\r\n", "\n").replace("\r", "\n")
        self.lines = [line.encode() for line in self.text.split("\n")]
        self.tree = ast.parse(self.text, file)
        self.statements: list[Statement] = []
        self.makers: dict[str, list[Statement]] = {}
        self.closed: dict[str, tuple[int, bool]] = {}
        self.future: list[str] = []
        self.stars: list[tuple[str, Statement]] = []
        self._blanks: list[tuple[int, int, int, int]] = []
        self._running = running
        self._compiled: dict[tuple[int, str], CodeType] | None = None
        self._bodies: dict[str, list[ast.stmt]] = {}
        # Taken before anything is stripped: Python says where a function begins with its first decorator.
        self._starts: dict[ast.AST, int] = {
            node: min(node.lineno, *(decorator.lineno for decorator in node.decorator_list))
            for node in ast.walk(self.tree)
            if isinstance(node, _DEFINITIONS) and node.decorator_list
        }
        self.launchers = dict(self._find_launchers())
        self._modules: set[str] = set()
        for node in self.tree.body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                self._bodies.setdefault(node.name, []).extend(node.body)
            self._imported(node)
        for node in self.tree.body:
            self._take(node)
        self._find_globals()

    # -- reading --

    def _find_launchers(self) -> Iterator[tuple[str, str | None]]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name.split(".")[0] in _PACKAGES:
                        yield alias.asname or alias.name.split(".")[0], None
            elif isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] in _PACKAGES:
                for alias in node.names:
                    yield alias.asname or alias.name, alias.name

    def _imported(self, node: ast.stmt) -> None:
        for inner in _same_scope(node):
            if isinstance(inner, (ast.Import, ast.ImportFrom)):
                self._modules.update((alias.asname or alias.name).split(".")[0] for alias in inner.names)

    def _take(self, node: ast.stmt) -> None:
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            self.future += [alias.name for alias in node.names]
            return
        self._strip(node)
        statement = Statement(node, self._starts.get(node, node.lineno))
        running = self._running
        if running is not None and statement.start > running:
            return
        executing = running is not None and statement.end >= running
        if not isinstance(node, _DEFINITIONS) and (executing or _is_main_block(node) or self.launches(node)):
            self._close(node, ())
            return
        if executing:
            return
        for part in self._parted(node) or [statement]:
            self._add(part)
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            self.stars.append(("." * node.level + (node.module or ""), statement))

    def _parted(self, node: ast.stmt) -> list[Statement]:
        """The two halves of an import that brings Mizzen and something else."""
        if not isinstance(node, ast.Import):
            return []
        ours = [alias for alias in node.names if alias.name.split(".")[0] in _PACKAGES]
        others = [alias for alias in node.names if alias not in ours]
        if not ours or not others:
            return []
        launcher = Statement(ast.copy_location(ast.Import(names=ours), node), node.lineno)
        rest = Statement(ast.copy_location(ast.Import(names=others), node), node.lineno)
        rest.other = launcher
        for alias, following in zip(node.names, node.names[1:]):
            if alias in ours and node.names.index(alias) < node.names.index(others[-1]):
                rest.blanks.append((alias.lineno, alias.col_offset, following.lineno, following.col_offset))
        if node.names[-1] in ours:
            rest.blanks.append((*_end(others[-1]), *_end(node)))
        return [launcher, rest]

    def _add(self, statement: Statement) -> None:
        self.statements.append(statement)
        for name in statement.makes:
            self.makers.setdefault(name, []).append(statement)

    def _close(self, node: ast.stmt, above: tuple[tuple[int, int], ...]) -> None:
        if self._running is not None and node.lineno > self._running:
            return
        inner = list(_branches(node))
        if isinstance(node, _DEFINITIONS):
            statement = Statement(node, self._starts.get(node, node.lineno), above)
            if self._running is None or statement.end < self._running:
                self._add(statement)
        elif inner:
            for name in _own_names(node):
                self._changed(name, node.lineno, True)
            for branch in inner:
                first = branch[0]
                # An `elif` is an `if` where its own `if` stands, and brings its branches' heads.
                other = first.col_offset == node.col_offset
                head = (node.col_offset, self._starts.get(first, first.lineno) - 1)
                for child in branch:
                    self._close(child, above if other else (*above, head))
        else:
            for name in (*_made_names(node), *_changed_names(node)):
                self._changed(name, node.lineno, not isinstance(node, ast.Expr))

    def _changed(self, name: str, line: int, certain: bool) -> None:
        if certain or name not in self.closed:
            self.closed[name] = line, certain

    def _find_globals(self) -> None:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Global):
                for name in node.names:
                    self._changed(name, node.lineno, False)

    def launches(self, node: ast.AST, seen: frozenset[str] = frozenset()) -> bool:
        """Says whether executing ``node`` may launch jobs, by itself or through functions of this text."""
        for inner in _executed(node):
            if isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name):
                if inner.attr in _LAUNCHING and self.launchers.get(inner.value.id, "") is None:
                    return True
            elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Load):
                if self.launchers.get(inner.id) in _LAUNCHING:
                    return True
                if inner.id in self._bodies and inner.id not in seen:
                    if any(self.launches(line, seen | {inner.id}) for line in self._bodies[inner.id]):
                        return True
        return False

    def repeats(self, statement: Statement, names: set[str]) -> bool:
        """Says whether ``statement`` sets up one of these names further, and can be done again in a job."""
        if not statement.changes & names or isinstance(statement.node, _DEFINITIONS):
            return False
        if any(isinstance(inner, ast.Name) and inner.id in self.launchers for inner in ast.walk(statement.node)):
            return False
        node = statement.node
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Attribute):
            return not (statement.changes & self._modules) or node.value.func.attr.startswith(_CONFIGURING)
        return True

    def around(self, line: int) -> Statement | None:
        """Returns the statement that ``line`` is in."""
        return next((statement for statement in self.statements if statement.start <= line <= statement.end), None)

    def compiled_at(self, line: int, name: str) -> CodeType | None:
        """Returns the code that this text has for the function ``name`` that begins at ``line``."""
        if self._compiled is None:
            self._compiled = {}
            pending = [compile(self.text, self.file, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, True)]
            while pending:
                code = pending.pop()
                self._compiled[code.co_firstlineno, code.co_name] = code
                pending += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        return self._compiled.get((line, name))

    # -- what the job is to do without --

    def _strip(self, node: ast.stmt) -> None:
        """Takes Mizzen's decorators and annotations off functions: the job's machine has no Mizzen, nor use for them."""
        if not self.launchers:
            return
        for inner in ast.walk(node):
            if isinstance(inner, _DEFINITIONS):
                end = inner.lineno
                for decorator in reversed(inner.decorator_list):
                    if self._names_launcher(decorator):
                        self._blanks.append((decorator.lineno, 0, end, 0))
                    end = decorator.lineno
                inner.decorator_list = [item for item in inner.decorator_list if not self._names_launcher(item)]
            if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef)) and inner.returns is not None:
                if self._annotates_launcher(inner.returns):
                    self._blank_returns(inner.returns)
                    inner.returns = None
            elif isinstance(inner, ast.arg) and inner.annotation is not None and self._annotates_launcher(inner.annotation):
                self._blanks.append((inner.lineno, inner.col_offset + len(inner.arg.encode()), *_end(inner.annotation)))
                inner.annotation = None
            elif isinstance(inner, ast.AnnAssign) and inner.value is not None and self._annotates_launcher(inner.annotation):
                self._blanks.append((*_end(inner.target), *_end(inner.annotation)))
                inner.annotation = ast.copy_location(ast.Constant(value=None), inner.annotation)

    def _names_launcher(self, node: ast.expr) -> bool:
        return any(isinstance(inner, ast.Name) and inner.id in self.launchers for inner in ast.walk(node))

    def _annotates_launcher(self, annotation: ast.expr) -> bool:
        return any(name in self.launchers for name in _names_of_annotation(annotation))

    def _blank_returns(self, node: ast.expr) -> None:
        line, column = node.lineno, node.col_offset
        arrow = self.lines[line - 1].rfind(b"->", 0, column)
        while arrow < 0 and line > 1:
            line -= 1
            arrow = self.lines[line - 1].rfind(b"->")
        self._blanks.append((line, arrow, *_end(node)))

    # -- cutting --

    def cut(self, chosen: dict[Statement, str]) -> list[list[object]]:
        """Returns ``[line, text, of whom]`` for the chosen statements, each with whom it is for; together they compile."""
        kept = [bytearray() for _ in self.lines]
        owners: dict[int, str] = {}
        before: Statement | None = None
        for statement in sorted(chosen, key=lambda statement: (statement.node.lineno, statement.node.col_offset)):
            if statement.other in chosen:
                continue  # the other half brings the whole line
            self._open_blocks(statement, kept, owners)
            column = statement.node.col_offset
            if column and not statement.above:
                self._join(statement, before, kept)
            _copy(self.lines, kept, statement.start, column, statement.end, _end(statement.node)[1])
            for line in range(statement.start, statement.end + 1):
                owners.setdefault(line, chosen[statement])
            before = statement
        parted = [blank for statement in chosen if statement.other not in chosen for blank in statement.blanks]
        for start, start_column, end, end_column in (*self._blanks, *parted):
            for line in range(start, end + 1):
                row = kept[line - 1]
                first = start_column if line == start else 0
                last = min(end_column if line == end else len(row), len(row))
                if first < last:
                    row[first:last] = b" " * (last - first)
                if line != end and end_column:
                    row[first:] = b"\\"  # an annotation's lines still have to be one
        pieces: list[list[object]] = []
        group: list[str] = []
        for line in sorted(owners):
            if not group or owners[line] != pieces[-1][2] or line != int(str(pieces[-1][0])) + len(group):
                group = []
                pieces.append([line, "", owners[line]])
            group.append(kept[line - 1].decode())
            pieces[-1][1] = "\n".join(group)
        return pieces

    def _join(self, statement: Statement, before: Statement | None, kept: list[bytearray]) -> None:
        # `a; b` with only `b` wanted: something has to stand before the semicolon.
        row, column = kept[statement.start - 1], statement.node.col_offset
        semicolon = self.lines[statement.start - 1].rfind(b";", 0, column)
        if not (before is not None and before.end == statement.start):
            row[:] = b"0"
        _pad(row, semicolon)
        row += b";"

    def _open_blocks(self, statement: Statement, kept: list[bytearray], owners: dict[int, str]) -> None:
        # What is cut out of a block keeps its indentation, so each block around it gets a head that does nothing.
        for column, line in statement.above:
            if line not in owners:
                row = kept[line - 1]
                _pad(row, column)
                row += b"if 1:"
                owners[line] = ""


def names_of_code(code: CodeType) -> tuple[frozenset[str], frozenset[str]]:
    """Returns the globals that running ``code`` looks up, and those that the functions which it makes look up."""
    now: set[str] = set()
    later: set[str] = set()
    _collect_names(code, now, later, True)
    return frozenset(now), frozenset(later - now)


def _collect_names(code: CodeType, now: set[str], later: set[str], immediate: bool) -> None:
    import dis

    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS") and instruction.argval is not None:
            (now if immediate else later).add(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            # Bodies of classes and comprehensions run at once, those of functions and lambdas when they are called.
            runs = not constant.co_flags & 1 or (constant.co_name.startswith("<") and constant.co_name != "<lambda>")
            _collect_names(constant, now, later, immediate and runs)


def _end(node: ast.expr | ast.stmt | ast.alias) -> tuple[int, int]:
    return node.end_lineno or node.lineno, node.end_col_offset or node.col_offset


def _pad(row: bytearray, length: int) -> None:
    row += b" " * (length - len(row))


def _copy(lines: list[bytes], kept: list[bytearray], start: int, start_column: int, end: int, end_column: int) -> None:
    for line in range(start, end + 1):
        source, row = lines[line - 1], kept[line - 1]
        first = start_column if line == start else 0
        _pad(row, first)
        row += source[first : end_column if line == end else len(source)]


def _branches(node: ast.AST) -> Iterator[list[ast.stmt]]:
    if isinstance(node, _DEFINITIONS):
        return
    for part in (node, *getattr(node, "handlers", ()), *getattr(node, "cases", ())):
        for field in ("body", "orelse", "finalbody"):
            if getattr(part, field, None):
                yield getattr(part, field)


def _own_names(node: ast.stmt) -> Iterator[str]:
    """The names that a compound statement binds itself, not through the statements in it."""
    inside = {id(child) for branch in _branches(node) for child in branch}
    pending: list[ast.AST] = [child for child in ast.iter_child_nodes(node) if id(child) not in inside]
    while pending:
        inner = pending.pop()
        if isinstance(inner, _SCOPES) or id(inner) in inside:
            continue
        yield from _bound_by(inner)
        pending += ast.iter_child_nodes(inner)


def _same_scope(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    if not isinstance(node, _SCOPES):
        for child in ast.iter_child_nodes(node):
            yield from _same_scope(child)


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """What executing ``node`` executes at once: all of it, except for the bodies of what it defines."""
    yield node
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return
    if isinstance(node, ast.ClassDef):
        for line in node.body:
            yield from _executed(line)
        return
    for child in ast.iter_child_nodes(node):
        yield from _executed(child)


def _bound_by(node: ast.AST) -> Iterator[str]:
    if isinstance(node, _DEFINITIONS):
        yield node.name
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        for alias in node.names:
            if alias.name != "*":
                yield alias.asname or alias.name.split(".")[0]
    elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
        if node.name:
            yield node.name
    elif isinstance(node, ast.MatchMapping):
        if node.rest:
            yield node.rest


def _made_names(node: ast.AST) -> Iterator[str]:
    for inner in _same_scope(node):
        yield from _bound_by(inner)


def _changed_names(node: ast.AST) -> Iterator[str]:
    for inner in _same_scope(node):
        if isinstance(inner, (ast.Attribute, ast.Subscript)) and isinstance(inner.ctx, (ast.Store, ast.Del)):
            yield from _root_name(inner)
        elif isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Call) and isinstance(inner.value.func, ast.Attribute):
            yield from _root_name(inner.value.func)


def _root_name(node: ast.expr) -> Iterator[str]:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    if isinstance(node, ast.Name):
        yield node.id


def _annotation_names(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        annotations = [inner.annotation] if isinstance(inner, (ast.arg, ast.AnnAssign)) else []
        if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef)):
            annotations = [inner.returns]
        for annotation in annotations:
            if annotation is not None:
                yield from _names_of_annotation(annotation)


def _names_of_annotation(annotation: ast.expr) -> Iterator[str]:
    """The names in an annotation, also where it, or a part of it, is written as a text."""
    for part in ast.walk(annotation):
        if isinstance(part, ast.Name):
            yield part.id
        elif isinstance(part, ast.Constant) and isinstance(part.value, str):
            try:
                yield from (name.id for name in ast.walk(ast.parse(part.value, mode="eval")) if isinstance(name, ast.Name))
            except SyntaxError:  # `Literal["some text"]`
                pass


def _is_main_block(node: ast.stmt) -> bool:
    if not isinstance(node, ast.If):
        return False
    return any(isinstance(inner, ast.Name) and inner.id == "__name__" for inner in ast.walk(node.test))
