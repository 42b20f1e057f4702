"""Where to compute."""

import torch


def check_device(device):
    """Return a torch device; ``"auto"`` is the GPU where there is one, else the CPU.

    Parameters
    ----------
    device : str or torch.device

    Raises
    ------
    ValueError
        If torch knows no such device or cannot use it here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device {device!r} is not usable here: {error}") from error
    return device
