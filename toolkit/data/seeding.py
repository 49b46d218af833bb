"""Random states derived from keys, so that a resumed run draws what an undisturbed one draws."""

import hashlib
import random

import numpy as np
import torch


def derive_seed(*key: object) -> int:
    """A 63-bit seed that depends on every part of the key and on nothing else."""
    digest = hashlib.sha256("\x1f".join(map(str, key)).encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seed_all(*key: object) -> None:
    """Seed torch (all devices), numpy and random from a key."""
    seed = derive_seed(*key)
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
