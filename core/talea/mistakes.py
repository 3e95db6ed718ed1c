from __future__ import annotations
from typing import TypeVar
from pydantic import BaseModel, ValidationError
from talea.errors import DocumentError
from talea.source import Source

M = TypeVar("M", bound=BaseModel)


def read_model(model: type[M], source: Source) -> M:
    try:
        return model.model_validate(source.data)
    except ValidationError as error:
        raise DocumentError(
            [
                source.issue(e["msg"], [p for p in e["loc"]])
                for e in error.errors(include_url=False)
            ]
        ) from None
