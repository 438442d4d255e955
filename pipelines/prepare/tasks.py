"""Tasks made when it is their turn: what is known of a million images is not in memory as tasks at once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import index
from typing import Any, Generic, TypeVar

Key = TypeVar("Key")
Task = TypeVar("Task")


class Made(Mapping[str, Task], Generic[Key, Task]):
    """Tasks by name, each made anew by `make` whenever it is asked for."""

    def __init__(self, make: Callable[[Key], Task], of: Mapping[str, Key]) -> None:
        self._make, self._of = make, of

    def __getitem__(self, name: str) -> Task:
        return self._make(self._of[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._of)

    def __len__(self) -> int:
        return len(self._of)


class Tasks(Sequence[Any]):
    """Some `names` of a mapping, in order."""

    def __init__(self, tasks: Mapping[str, Any], names: Sequence[str]) -> None:
        self._tasks, self._names = tasks, names

    def __getitem__(self, position: Any) -> Any:
        return self._tasks[self._names[index(position)]]

    def __len__(self) -> int:
        return len(self._names)
