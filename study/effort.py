"""The arithmetic of training, counted: floating-point operations of a step, and of all steps together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Operations(TorchDispatchMode):
    """Adds up matrix products, convolutions and attention, forward and backward, while it is entered. A
    multiplication and an addition are two operations. Neither changes a number nor looks at modules, unlike
    torch's own FlopCounterMode, whose hooks cost several steps of a small network."""

    def __init__(self) -> None:
        super().__init__()
        from torch.utils.flop_counter import flop_registry  # slow to import: only where something is counted

        self.known = flop_registry
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        count = self.known.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **kwargs, out_val=out)
        return out


class Effort:
    """Counts one step of every kind: steps whose loss has the same terms cost the same.

    A kind that is new (regions that join later) is counted at its second step. Plain values only in `state`.
    """

    def __init__(self, compiled: bool = False) -> None:
        self.compiled = compiled
        self.flops: dict[str, int] = {}
        self.steps: dict[str, int] = {}
        self._due = True
        self._counted: int | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Around a step."""
        if not self._due:
            yield
            return
        with ExitStack() as stack:
            if self.compiled:  # compiled code cannot be watched
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            operations = stack.enter_context(Operations())
            yield
            self._counted = operations.total

    def took(self, kind: str) -> None:
        """After a step of this kind."""
        if self._counted is not None:
            self.flops[kind], self._counted = self._counted, None
        self.steps[kind] = self.steps.get(kind, 0) + 1
        self._due = kind not in self.flops

    @property
    def total(self) -> float:
        """Operations of all steps of this process."""
        known = max(self.flops.values(), default=0)
        return float(sum(count * self.flops.get(kind, known) for kind, count in self.steps.items()))

    @property
    def state(self) -> dict[str, dict[str, int]]:
        return {"flops": dict(self.flops), "steps": dict(self.steps)}

    def restore(self, state: dict[str, dict[str, int]]) -> None:
        """Go on counting from `state`."""
        self.flops, self.steps = dict(state["flops"]), dict(state["steps"])
        self._due, self._counted = not self.flops, None
