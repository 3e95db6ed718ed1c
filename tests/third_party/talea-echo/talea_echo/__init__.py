"""A framework whose agents say their prompt again."""

from talea.hookspecs import AdapterSpec, hookimpl


@hookimpl
def talea_adapters():
    return [AdapterSpec("echo", "talea_echo.adapter:EchoAdapter", "Says it again.")]
