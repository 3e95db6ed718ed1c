"""The APIs that the gateway speaks, by the ends of their paths: how each is read and answered."""

from __future__ import annotations

from collections.abc import Iterator

from talea.gateway.chat import RESPONSES, ChatRequest, read_chat
from talea.gateway.reply import Reply
from talea.gateway.responses import ResponsesRequest, make_events, make_response, read_responses


def read_request(form: str, body: bytes) -> ChatRequest:
    """Read the body of a request; raises Rejection, of status 400, for what is none."""
    return read_responses(body) if form == RESPONSES else read_chat(body)


def make_body(request: ChatRequest, reply: Reply) -> bytes:
    """Give a whole answer."""
    if isinstance(request, ResponsesRequest):
        return make_response(request, reply)
    return reply.completion()


def make_stream(request: ChatRequest, reply: Reply) -> Iterator[bytes]:
    """Give an answer as server-sent events, without the mark by which a stream says its end."""
    if isinstance(request, ResponsesRequest):
        yield from make_events(request, reply)
        return
    for chunk in reply.chunks(with_usage=request.include_usage):
        yield b"data: %b\n\n" % chunk


def end_mark(request: ChatRequest) -> tuple[bytes, ...]:
    """Give the events that end a stream, beyond its answer."""
    return () if isinstance(request, ResponsesRequest) else (b"data: [DONE]\n\n",)
