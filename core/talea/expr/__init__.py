"""The expression language: conditions, and the holes of templates, over plain JSON data.

A strict subset of Python's expressions. `values` says what data is, `functions` holds the table of
functions, `lexer` bounds and masks a source, `compiler` makes closures of it (`paths` and
`operators` are what these do), and `template` finds the holes in text. Nothing here runs code that
a document names, or touches more than plain data.
"""

from talea.expr.compiler import LITERALS, ROOTS, Expression, compile_expression
from talea.expr.functions import FUNCTIONS, Function, Parameter
from talea.expr.paths import Name, Names, Path, suggest
from talea.expr.template import (
    Hole,
    Structure,
    Template,
    compile_structure,
    compile_template,
    walk_texts,
)
from talea.expr.values import parse_json, to_text, type_name

__all__ = [
    "FUNCTIONS",
    "LITERALS",
    "ROOTS",
    "Expression",
    "Function",
    "Hole",
    "Name",
    "Names",
    "Parameter",
    "Path",
    "Structure",
    "Template",
    "compile_expression",
    "compile_structure",
    "compile_template",
    "parse_json",
    "suggest",
    "to_text",
    "type_name",
    "walk_texts",
]
