"""JSON Schemas of inputs, outputs and tools: compiled once, and asked what they admit.

`checks` compiles a schema and checks values, `reach` says which paths its instances can have, and
`instance` makes a small value that fits.
"""

from talea.schema.checks import JsonSchema, Schema, SchemaError, compile_schema
from talea.schema.instance import minimal_instance
from talea.schema.reach import can_have

__all__ = [
    "JsonSchema",
    "Schema",
    "SchemaError",
    "can_have",
    "compile_schema",
    "minimal_instance",
]
