"""Numbers of a step that the host reads a step later, when the device has long made them: within a step it never waits
for one."""

import torch
from torch import Tensor


class Reading:
    """Some () numbers of a device, by name, on their way to the host."""

    def __init__(self, numbers: dict[str, Tensor]):
        self.names = list(numbers)
        packed = torch.stack([one.detach().float() for one in numbers.values()])
        self.host = packed.to("cpu", non_blocking=True)
        self.made = torch.cuda.current_stream(packed.device).record_event() if packed.is_cuda else None

    def read(self) -> dict[str, float]:
        """The numbers; waits until the device has come so far."""
        if self.made is not None:
            self.made.synchronize()
        return dict(zip(self.names, self.host.tolist(), strict=True))
