"""The help: what a signature, its annotations and its docstring say."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal, Optional

import pytest

import mizzen as run
from mizzen.cli import RunContext, entrypoint, factory
from mizzen.cli.entrypoints import entrypoint_of
from mizzen.cli.help import docstring_parts, help_text


class Speed(enum.Enum):
    FAST = 1
    SLOW = 2


@dataclass
class Model:
    hidden: int = 8


@dataclass
class Data:
    path: str
    shards: int = 1


@factory
def tiny(hidden: int = 2) -> run.Config[Model]:
    return run.Config(Model, hidden=hidden)


@entrypoint
def train(
    model: Model,
    data: Optional[Data] = None,
    lr: float = 0.1,
    mode: Literal["a", "b"] = "a",
    speed: Speed = Speed.FAST,
    *rest: int,
    **extra: str,
) -> None:
    """Trains a model on some data, for as long as it takes, which may be long indeed if the data is large.

    A second paragraph:

        an example   that keeps its shape

    Args:
        model: the model
            over two lines.
        lr (float): the learning rate: small.
        *rest: numbers.

    Returns:
        nothing: at all.
    """


@factory(target=train)
def recipe() -> run.Partial[None]:
    """The usual one."""
    return run.Partial(train)


def test_the_help_of_an_entry_point() -> None:
    text = help_text(entrypoint_of(train), "train.py", width=80)
    assert text.splitlines()[:8] == [
        "usage: train.py [flags] model=… [argument=value …]",
        "",
        "Trains a model on some data, for as long as it takes, which may be long indeed",
        "if the data is large.",
        "",
        "A second paragraph:",
        "",
        "    an example   that keeps its shape",
    ]
    lines = [" ".join(line.split()) for line in text.splitlines()]
    for line in (
        "model: Model the model over two lines.",
        "required",
        "factories: tiny(hidden)",
        "data: Data | None = None Data(path, shards)",
        "lr: float = 0.1 the learning rate: small.",
        "mode: 'a' | 'b' = 'a'",
        "speed: Speed = Speed.FAST one of: FAST, SLOW",
        "*rest: int numbers.",
        "**extra: str any other name=value",
        "recipe The usual one.",
        "--yes, -y, --no-confirm don't ask before running",
    ):
        assert line in lines
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "nothing: at all" not in text


def test_an_experiments_context_is_not_the_users_to_give() -> None:
    @entrypoint(type="experiment", help="Something else.", enable_executor=False)
    def compare(ctx: RunContext, number: int = 1) -> None:
        """Not this.

        Args:
            number: how many.
        """

    text = help_text(entrypoint_of(compare), "x", width=80)
    assert "ctx" not in text and "executor=NAME" not in text
    assert "Something else." in text and "Not this" not in text and "how many." in text


@pytest.mark.parametrize(
    "text",
    [
        "Does it.\n\nArgs:\n    a: first\n        one.\n    b (int, optional): second.\n\nRaises:\n    c: no.",
        "Does it.\n\nParameters\n----------\na : int\n    first\n    one.\nb\n    second.\n\nReturns\n-------\nc : no",
        "Does it.\n\n:param a: first\n    one.\n:param int b: second.\n:returns: c: no",
    ],
)
def test_styles_of_docstrings(text: str) -> None:
    assert docstring_parts(text) == ("Does it.", {"a": "first one.", "b": "second."})


def test_no_docstring() -> None:
    assert docstring_parts(None) == ("", {})
