"""Flags, overrides and positional values apart."""

from __future__ import annotations

import pytest

from mizzen.cli import ArgumentParsingError
from mizzen.cli.arguments import Assignment, Positional, parse_token, render_path, split


def test_flags_stand_anywhere_and_tokens_keep_their_order() -> None:
    line = split(["a=1", "--dryrun", "5", "--name", "x", "b.c[0]+=2", "--to-yaml=out.yaml:model", "-y", "a=3"])
    assert line.options == {"dryrun": True, "name": "x", "to_yaml": "out.yaml:model", "skip_confirmation": True}
    assert line.tokens == [
        Assignment("a=1", ("a",), "=", "1"),
        Positional("5", "5"),
        Assignment("b.c[0]+=2", ("b", "c", 0), "+=", "2"),
        Assignment("a=3", ("a",), "=", "3"),
    ]


def test_y_means_yes_and_yaml_has_no_letter() -> None:
    assert split(["-y"]).options == {"skip_confirmation": True}
    assert split(["--yaml", "a.yaml"]).options == {"yaml": "a.yaml"}
    assert split(["-yv"]).options == {"skip_confirmation": True, "verbose": True}
    assert split(["--tail-logs", "--no-tail-logs", "--no-direct"]).options == {"tail_logs": False, "direct": False}


def test_what_stands_behind_two_dashes_is_no_flag() -> None:
    assert split(["--", "--dryrun", "a=1"]).tokens == [Positional("--dryrun", "--dryrun"), Assignment("a=1", ("a",), "=", "1")]


@pytest.mark.parametrize("text", ["-5", "-.5", "-inf", "[1, 2]", "model(hidden=3)", "plain", "http://host/?a=b", "'a=b'", ""])
def test_values_without_a_name(text: str) -> None:
    assert split([text]).tokens == [Positional(text, text)]


@pytest.mark.parametrize(
    ("text", "path", "operator", "value"),
    [
        ("a=", ("a",), "=", ""),
        ("a-=1", ("a",), "-=", "1"),
        ("a/=2", ("a",), "/=", "2"),
        ("a|={1}", ("a",), "|=", "{1}"),
        ("a&={1}", ("a",), "&=", "{1}"),
        ("a==b", ("a",), "=", "=b"),
        ("run.executor=loc(a=1)", ("run", "executor"), "=", "loc(a=1)"),
        ('d["k.x"].y=1', ("d", "k.x", "y"), "=", "1"),
        ("runtime=3", ("runtime",), "=", "3"),
        ("lr-rate=3", ("lr-rate",), "=", "3"),
    ],
)
def test_overrides(text: str, path: tuple[str | int, ...], operator: str, value: str) -> None:
    assert parse_token(text) == Assignment(text, path, operator, value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dryrunn"], "did you mean `--dryrun`?"),
        (["--lr=3"], "arguments of the function are written without dashes: `lr=VALUE`"),
        (["--name"], "`--name` wants a value: --name NAME"),
        (["--dryrun=1"], "`--dryrun` takes no value"),
        (["--load", "x"], "hint: `--yaml FILE` loads a configuration"),
        (["a[x]=1"], "an index is a number"),
    ],
)
def test_errors(words: list[str], message: str) -> None:
    with pytest.raises(ArgumentParsingError) as raised:
        split(words)
    assert message in str(raised.value)
    assert raised.value.arg == words[0]


def test_paths_are_shown_as_they_are_written() -> None:
    assert render_path(("model", "layers", 2, "k x", "a")) == "model.layers[2]['k x'].a"
