"""Check of the device on which torch computes."""


def check_device(device):
    """Return a torch device after checking that this machine has it.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda", "cuda:<n>"} or torch.device
        "auto" is the first GPU, or the CPU of a machine without GPU.

    Returns
    -------
    torch.device

    Raises
    ------
    ValueError
        If the device is unknown, or if this machine does not have it.
    """
    import torch  # slow to import

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
