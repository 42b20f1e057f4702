"""Where to compute."""

import torch


def check_device(device):
    """Resolve ``"auto"`` to the first GPU or the CPU, and check any other device.

    Raises
    ------
    ValueError
        If the device is unknown or this machine does not have it.
    """
    if device == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:<n>', got {device!r}") from None
    if resolved.type not in ("cpu", "cuda"):
        raise ValueError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:<n>', got {device!r}")
    if resolved.type == "cuda":
        resolved = torch.device("cuda", resolved.index or 0)
        if resolved.index >= torch.cuda.device_count():
            raise ValueError(f"device={device!r}: this machine has {torch.cuda.device_count()} CUDA devices")
    return resolved
