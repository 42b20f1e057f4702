"""Random numbers of the network, from generators of its own.

A training has one generator for the CPU and one for its GPU, in the thread that trains. Torch's global
generators are neither used nor changed. Thus other threads do not disturb a training.
"""

import threading
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

_of_thread = threading.local()
_INITIAL_WEIGHTS = (nn.init.kaiming_uniform_, nn.init.uniform_, nn.init.kaiming_normal_, nn.init.normal_)


def own_generator(device):
    """Return the generator of the training in this thread for a device; None outside of a training.

    Torch's functions take None for the global generator of the device.
    """
    return getattr(_of_thread, "generators", {}).get(torch.device(device).type)


@contextmanager
def own_random_numbers(device):
    """Give this thread its own generators for the CPU and ``device``; `seed_generators` seeds them."""
    device = torch.device(device)
    outside = getattr(_of_thread, "generators", {})
    _of_thread.generators = {d.type: torch.Generator(d) for d in (torch.device("cpu"), device)}
    try:
        yield
    finally:
        _of_thread.generators = outside


def seed_generators(*entropy):
    """Seed the generators of this thread from integers."""
    seed = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]) >> 1
    for generator in _of_thread.generators.values():
        generator.manual_seed(seed)


class OwnInitialWeights(TorchFunctionMode):
    """Within this context, layers that are made get their random weights from the generator of the thread."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func in _INITIAL_WEIGHTS:
            kwargs["generator"] = own_generator("cpu")
        return func(*args, **kwargs)


def rand(*shape, like):
    """Return uniform random numbers from 0 to 1 as float32, on the device of a tensor."""
    return torch.rand(*shape, device=like.device, generator=own_generator(like.device))


def randn(*shape, like):
    """Return Gaussian random numbers of the type of a tensor, on its device."""
    return torch.randn(*shape, device=like.device, dtype=like.dtype, generator=own_generator(like.device))


def randperm(n, like=None):
    """Return a random permutation of n numbers, on the device of a tensor or on the CPU."""
    device = torch.device("cpu") if like is None else like.device
    return torch.randperm(n, device=device, generator=own_generator(device))


class Dropout(nn.Dropout):
    """Dropout of hidden units with the generator of the thread."""

    def forward(self, x):
        """Return ``x`` with random units set to 0 in training."""
        generator = own_generator(x.device)
        if generator is None or not self.training or not self.p:
            return super().forward(x)
        return x * torch.empty_like(x).bernoulli_(1 - self.p, generator=generator).div_(1 - self.p)
