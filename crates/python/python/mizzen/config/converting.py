"""Functions that describe configurations by plain Python: `autoconvert`. And `dryrun_fn`, which shows one.

```text
source of the function ── _Rewriter ──→ the same with its calls handed to a _Tracer ── run ──→ Configs instead of objects
```

The function's own control flow simply runs: conditions, loops, arithmetic and formatted text see real values. A call becomes a
Config where its result may end up in the configuration: where it is returned, assigned, given as an argument, or stands in a list,
tuple, set or dict. In a condition, as an operand, or under an index it is made at once. Whether such a call becomes a Config is
decided by what is called:

- a class, or a function found at the top level of a module: a Config;
- `functools.partial(f, …)`: a Partial;
- classes and functions of the standard library, exceptions, enums, methods of objects, lambdas and nested functions, functions
  that return a Config themselves (other autoconverted ones too): called at once.
"""

from __future__ import annotations

import ast
import enum
import functools
import inspect
import sys
import types
import typing
from typing import Any, Callable, ParamSpec, TypeVar, overload

from mizzen.config.buildable import Buildable, Config, Partial, _make, dataclass_to_config, is_fiddle
from mizzen.config.building import build as build_config
from mizzen.config.script import Script
from mizzen.config.signature import signature_of
from mizzen.config.target import Target, display_name
from mizzen.errors import ConfigError, ConfigTypeError

__all__ = ["autoconvert", "default_autoconfig_buildable", "dryrun_fn"]

P = ParamSpec("P")
R = TypeVar("R")

_CALL = "__mizzen_call__"
_TEST = "__mizzen_test__"

# Their arguments are reckoned with at once.
_COMPUTING = frozenset(
    "abs all any ascii bin bool bytes chr complex divmod float format getattr hasattr hash hex id int isinstance issubclass len max "
    "min oct ord pow print range repr round sorted str sum type".split()
)
_DISPLAYS = (ast.List, ast.Tuple, ast.Set, ast.Dict, ast.ListComp, ast.SetComp, ast.DictComp)

ToBuildable = Callable[..., Any]


@overload
def autoconvert(fn: Callable[P, R], *, partial: bool = False, to_buildable_fn: ToBuildable | None = None) -> Callable[P, Config[R]]: ...
@overload
def autoconvert(
    fn: None = None, *, partial: bool = False, to_buildable_fn: ToBuildable | None = None
) -> Callable[[Callable[P, R]], Callable[P, Config[R]]]: ...
def autoconvert(fn: Any = None, *, partial: bool = False, to_buildable_fn: ToBuildable | None = None) -> Any:
    """Makes a function return the Config of what it would return.

    Args:
        fn: the function. Its source must be there to be read; without it, only dataclass objects and Configs may be returned.
        partial: whether calls give a Partial instead of a Config.
        to_buildable_fn: makes the Config instead, called as ``to_buildable_fn(fn, Config or Partial, *args, **kwargs)``.

    Returns:
        a function of the same arguments. Its attribute ``wrapped`` is the original.

    Raises:
        ConfigError: when called: the function returns something that is no configuration.

    >>> @autoconvert
    ... def model(size: int = 3) -> Model:
    ...     return Model(size=size, optimizer=Adam(lr=0.1))
    >>> model(4)
    Config(Model, size=4, optimizer=Config(Adam, lr=0.1))
    """
    if fn is None:
        return functools.partial(autoconvert, partial=partial, to_buildable_fn=to_buildable_fn)
    if getattr(fn, "__auto_config__", False):
        fn = fn.wrapped
    if inspect.isgeneratorfunction(fn) or inspect.iscoroutinefunction(fn) or inspect.isasyncgenfunction(fn):
        raise ConfigError(f"`{display_name(fn)}` is a generator or coroutine, which can't describe a configuration")
    kind: type[Buildable[Any]] = Partial if partial else Config
    convert = to_buildable_fn or default_autoconfig_buildable

    @functools.wraps(fn)
    def converted(*args: Any, **kwargs: Any) -> Any:
        return convert(fn, kind, *args, **kwargs)

    converted.wrapped = fn  # type: ignore[attr-defined]
    converted.__auto_config__ = True  # type: ignore[attr-defined]
    return converted


def default_autoconfig_buildable(fn: Callable[..., Any], cls: type[Buildable[Any]], /, *args: Any, **kwargs: Any) -> Any:
    """Runs a function with its calls turned into Configs.

    Args:
        fn: the function.
        cls: `Config` or `Partial`: what the outermost one becomes.
        args: its positional arguments.
        kwargs: its arguments by name.
    """
    original = inspect.unwrap(fn)
    code = _traced_code(original)
    if code is None:
        result = fn(*args, **kwargs)
    else:
        tracer = _Tracer()
        cells = dict(zip(original.__code__.co_freevars, original.__closure__ or ()))
        cells[_CALL] = types.CellType(tracer.call)
        cells[_TEST] = types.CellType(tracer.test)
        # A name that the original has no cell for can only be the function's own, not yet assigned.
        closure = tuple(cells.get(name) or types.CellType() for name in code.co_freevars)
        traced = types.FunctionType(code, original.__globals__, original.__name__, original.__defaults__, closure)
        traced.__kwdefaults__ = original.__kwdefaults__
        result = traced(*args, **kwargs)
    return _converted(result, cls, fn, code is not None)


def _converted(result: Any, cls: type[Buildable[Any]], fn: Any, traced: bool) -> Any:
    if isinstance(result, Buildable):
        return result if type(result) is cls else _make(cls, result.__target__, dict(vars(result)), list(result.__positional__))
    if isinstance(result, list):
        return [_converted(item, cls, fn, traced) for item in result]
    if hasattr(type(result), "__dataclass_fields__"):
        found = dataclass_to_config(result)
        return _converted(found, cls, fn, traced) if isinstance(found, Buildable) else found
    hint = "return what a class or a function of a module returns" if traced else "its source can't be read, so calls can't be followed; return a run.Config"
    raise ConfigError(f"`{display_name(fn)}` returned {result!r} ({type(result).__qualname__}), which is no configuration\nhint: {hint}")


# -- what runs instead of the calls ------------------------------------------------------------------------------------------


class _Tracer:
    """Takes the calls of one run of a function."""

    def __init__(self) -> None:
        # Configs that stand for functions' results, whose truth is not known; kept, so that ids stay theirs.
        self.results: dict[int, Buildable[Any]] = {}

    def call(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        if fn is functools.partial:
            return Partial(*args, **kwargs)
        if not _becomes_config(fn):
            return fn(*args, **kwargs)
        bind_args = kwargs.pop("bind_args", _ABSENT)
        config: Config[Any] = Config(fn, *args, **kwargs)
        if bind_args is not _ABSENT:
            config.bind_args = bind_args
        if not isinstance(fn, type):
            self.results[id(config)] = config
        return config

    def test(self, value: Any) -> Any:
        config = self.results.get(id(value))
        if config is not None:
            name = display_name(config.__target__)
            raise ConfigError(
                f"a condition asks for the result of `{name}`, which is only called when the configuration is built\n"
                f"hint: call `{name}` in the condition itself, where it is called at once"
            )
        return value


_ABSENT: Any = object()


def _becomes_config(fn: Any) -> bool:
    if isinstance(fn, Target):
        return True
    if getattr(fn, "__auto_config__", False) or isinstance(fn, Buildable):
        return False
    if isinstance(fn, type):
        return not _is_ours_or_standard(fn) and not issubclass(fn, (BaseException, enum.Enum, Buildable, Script))
    origin = typing.get_origin(fn)
    if origin is not None:
        return _becomes_config(origin)
    owner = getattr(fn, "__self__", None)
    if owner is not None:
        return isinstance(fn, types.MethodType) and isinstance(owner, type) and not _is_ours_or_standard(owner)
    qualname = getattr(fn, "__qualname__", None)
    if not isinstance(qualname, str) or "<" in qualname or _is_ours_or_standard(fn):
        return False
    inner = inspect.unwrap(fn)
    if not isinstance(inner, types.FunctionType) or inner.__code__.co_flags & (inspect.CO_GENERATOR | inspect.CO_COROUTINE):
        return False
    returned = signature_of(fn).returns
    returned = typing.get_origin(returned) or returned
    return not (isinstance(returned, type) and issubclass(returned, Buildable))


def _is_ours_or_standard(thing: Any) -> bool:
    module = getattr(thing, "__module__", None) or "builtins"
    if module.startswith("mizzen."):
        # Executors and the like are configured as users' own classes are.
        return not isinstance(thing, type) or module.startswith("mizzen.config")
    return module != "__main__" and module.partition(".")[0] in sys.stdlib_module_names


# -- rewriting ---------------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1024)
def _code_by_original(code: types.CodeType) -> types.CodeType | None:
    source = _source_of(code)
    if source is None:
        return None
    text, first_line = source
    indented = text[:1] in " \t"
    try:
        # Indented source is put into a block: taking the indentation off would change texts of several lines.
        module = ast.parse("if 1:\n" + text if indented else text)
    except SyntaxError:
        return None
    body = module.body[0].body if indented and isinstance(module.body[0], ast.If) else module.body
    function = next((node for node in body if isinstance(node, ast.FunctionDef) and node.name == code.co_name), None)
    if function is None:
        return None
    ast.increment_lineno(function, first_line - 1 - indented)
    function.decorator_list = []
    if sys.version_info >= (3, 12):
        function.type_params = []
    _strip_signature(function)
    rewritten = _Rewriter().function(function)
    # Inside an outer function what the original closes over, and the tracer, become free names.
    outer = ast.FunctionDef(
        name="__mizzen_outer__",
        args=ast.arguments(
            posonlyargs=[], args=[ast.arg(arg=name) for name in (*code.co_freevars, _CALL, _TEST)], kwonlyargs=[], kw_defaults=[], defaults=[]
        ),
        body=[rewritten],
        decorator_list=[],
    )
    if sys.version_info >= (3, 12):
        outer.type_params = []
    tree = ast.fix_missing_locations(ast.Module(body=[outer], type_ignores=[]))
    compiled = compile(tree, code.co_filename, "exec", dont_inherit=True, flags=code.co_flags & _FUTURES)
    outer_code = next(constant for constant in compiled.co_consts if isinstance(constant, types.CodeType))
    return next(constant for constant in outer_code.co_consts if isinstance(constant, types.CodeType) and constant.co_name == code.co_name)


_FUTURES = __import__("__future__").annotations.compiler_flag


def _traced_code(fn: Any) -> types.CodeType | None:
    code = getattr(fn, "__code__", None)
    return _code_by_original(code) if isinstance(code, types.CodeType) else None


def _source_of(code: types.CodeType) -> tuple[str, int] | None:
    """A function's text from its first decorator on, and the number of that line."""
    try:
        lines, first = inspect.getsourcelines(code)
        return "".join(lines), first
    except (OSError, TypeError, SyntaxError, IndexError):
        pass
    # `python -c` keeps its text among the arguments.
    arguments = getattr(sys, "orig_argv", [])
    if code.co_filename == "<string>" and "-c" in arguments[:-1]:
        lines = (arguments[arguments.index("-c") + 1] + "\n").splitlines(keepends=True)
        if code.co_firstlineno <= len(lines):
            return "".join(inspect.getblock(lines[code.co_firstlineno - 1 :])), code.co_firstlineno
    return None


def _strip_signature(function: ast.FunctionDef) -> None:
    """Defaults and annotations come from the original: they are not evaluated again."""
    arguments = function.args
    for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg):
        if argument is not None:
            argument.annotation = None
    function.returns = None
    none = ast.Constant(value=None)
    arguments.defaults = [none for _ in arguments.defaults]
    arguments.kw_defaults = [none if default is not None else None for default in arguments.kw_defaults]


class _Rewriter(ast.NodeTransformer):
    """Hands calls in value position to the tracer. Visiting an expression takes it as a value; `computed` as part of a reckoning."""

    def __init__(self) -> None:
        self.computing = False

    def function(self, function: ast.FunctionDef) -> ast.FunctionDef:
        function.body = [self.visit(statement) for statement in function.body]
        return function

    def computed(self, node: Any) -> Any:
        return self._visit_as(node, True)

    def value(self, node: Any) -> Any:
        return self._visit_as(node, False)

    def _visit_as(self, node: Any, computing: bool) -> Any:
        if node is None:
            return None
        before, self.computing = self.computing, computing
        try:
            return self.visit(node)
        finally:
            self.computing = before

    def operand(self, node: Any) -> Any:
        # `[Layer()] * 4`: what stands in a list written out ends up in the configuration.
        return self.value(node) if isinstance(node, _DISPLAYS) else self.computed(node)

    def condition(self, node: Any) -> Any:
        return ast.copy_location(ast.Call(func=ast.Name(id=_TEST, ctx=ast.Load()), args=[self.computed(node)], keywords=[]), node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if self.computing or name in _COMPUTING:
            node.func = self.computed(node.func)
            node.args = [self.computed(argument) for argument in node.args]
            node.keywords = [ast.keyword(arg=keyword.arg, value=self.computed(keyword.value)) for keyword in node.keywords]
            return node
        if name in ("super", "locals", "globals", "vars", "eval", "exec", "dir"):
            # They look at the frame of their caller.
            node.args = [self.visit(argument) for argument in node.args]
            return node
        arguments = [self.visit(argument) for argument in node.args]
        keywords = [
            ast.keyword(arg=keyword.arg, value=self.visit(keyword.value) if keyword.arg is not None else self.operand(keyword.value))
            for keyword in node.keywords
        ]
        call = ast.Call(func=ast.Name(id=_CALL, ctx=ast.Load()), args=[self.computed(node.func), *arguments], keywords=keywords)
        return ast.copy_location(call, node)

    def visit_Starred(self, node: ast.Starred) -> ast.AST:
        node.value = self.operand(node.value)
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        node.test, node.body, node.orelse = self.condition(node.test), self.visit(node.body), self.visit(node.orelse)
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        *first, last = node.values
        node.values = [*(self.computed(value) for value in first), self.visit(last)]
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        node.left, node.right = self.operand(node.left), self.operand(node.right)
        return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        node.operand = self.condition(node.operand) if isinstance(node.op, ast.Not) else self.computed(node.operand)
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        node.left = self.computed(node.left)
        node.comparators = [self.computed(value) for value in node.comparators]
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        node.value, node.slice = self.operand(node.value), self.computed(node.slice)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        node.value = self.computed(node.value)
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        node.values = [self.computed(value) for value in node.values] if not self.computing else [self.visit(value) for value in node.values]
        return node

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.AST:
        node.value = self.computed(node.value)
        return node

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        node.iter = self.operand(node.iter)
        node.ifs = [self.condition(test) for test in node.ifs]
        return node

    def visit_If(self, node: ast.If) -> ast.AST:
        node.test = self.condition(node.test)
        self._blocks(node)
        return node

    def visit_While(self, node: ast.While) -> ast.AST:
        node.test = self.condition(node.test)
        self._blocks(node)
        return node

    def visit_For(self, node: ast.For) -> ast.AST:
        node.iter = self.operand(node.iter)
        self._blocks(node)
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        node.test, node.msg = self.condition(node.test), self.computed(node.msg)
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        node.exc, node.cause = self.computed(node.exc), self.computed(node.cause)
        return node

    def visit_With(self, node: ast.With) -> ast.AST:
        for item in node.items:
            item.context_expr = self.computed(item.context_expr)
        self._blocks(node)
        return node

    def visit_Match(self, node: ast.Match) -> ast.AST:
        node.subject = self.computed(node.subject)
        for case in node.cases:
            case.guard = self.condition(case.guard) if case.guard is not None else None
            case.body = [self.visit(statement) for statement in case.body]
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.value = self.value(node.value)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        # A helper defined inside is called at once, and what it makes becomes Configs in the same way.
        return self.function(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return node

    def _blocks(self, node: ast.AST) -> None:
        for name in ("body", "orelse"):
            if hasattr(node, name):
                setattr(node, name, [self.visit(statement) for statement in getattr(node, name)])


# -- showing -----------------------------------------------------------------------------------------------------------------


def dryrun_fn(task: Any, executor: Any = None, build: bool = False) -> None:
    """Prints what would be called with which arguments, and where.

    Args:
        task: a Config or Partial.
        executor: where it would run; printed if given.
        build: whether the task is built as well, so that what can't be built is found now. A Config is called by that.

    Raises:
        ConfigTypeError: the task is neither.
    """
    if is_fiddle(task):
        from mizzen.config.fiddle import from_fiddle

        task = from_fiddle(task, {})
    if not isinstance(task, Buildable):
        raise ConfigTypeError(f"a dry run needs a Config or Partial, not {task!r} ({type(task).__qualname__})")
    from mizzen.config.display import arguments_table, source

    resolver = getattr(type(task), "__resolved__", None)
    if resolver is not None:
        task = resolver(task)
    lines = [f"dry run of {display_name(task.__target__)}:", *arguments_table(task)]
    if executor is not None:
        lines += ["", f"executor: {source(executor)}"]
    print("\n".join(lines))
    if build:
        build_config(task)
