"""The model gateway: one loopback address that every framework's own model client talks to.

`cassette` says what a model answered, `standin` answers from the request alone, `server` speaks
OpenAI's chat completions in their name. It needs nothing beyond the core's own dependencies, so
that an offline run and a replay work wherever talea is installed.
"""
