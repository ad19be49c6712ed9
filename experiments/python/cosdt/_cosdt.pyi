"""The compiled binding, which the package's files wrap."""

from typing import Any

def __getattr__(name: str) -> Any: ...
