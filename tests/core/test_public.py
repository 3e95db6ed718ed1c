"""The public names: all of them can be had, and they keep meaning what they mean."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import talea


def declared() -> dict[str, str]:
    """Give the names that type checkers see, each with its module."""
    tree = ast.parse(Path(talea.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.name: node.module or ""
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_what_type_checkers_see_is_what_can_be_imported() -> None:
    assert set(declared()) == set(talea.__all__)
    assert talea.__all__ == sorted(talea.__all__)


@pytest.mark.parametrize("name", talea.__all__)
def test_each_name_comes_from_the_module_that_is_declared(name: str) -> None:
    module = declared()[name]
    __import__(module)
    assert getattr(talea, name) is getattr(sys.modules[module], name)
    assert name in dir(talea)


@pytest.mark.parametrize("name", ["run", "load"])
@pytest.mark.parametrize("first", ["from talea.{} import {}", "import talea.{}", "import talea"])
def test_a_function_is_not_hidden_by_its_module(name: str, first: str) -> None:
    code = f"{first.format(name, name)}\nimport talea\nassert callable(talea.{name}), talea.{name}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        talea.no_such_name  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]
    assert inspect.ismodule(talea)
