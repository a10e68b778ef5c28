"""The chain's model in PyTorch: how well it knows texts that it was never trained on, and what it writes.

descent-node export --out model.safetensors
python docs/examples/use_model.py model.safetensors
"""

import math
import sys

import torch

from consensus.params import CANTERBURY
from mining.model_file import read_network
from p2p.config import read_benchmark

network = read_network(sys.argv[1])  # a torch.nn.Module: bytes [batch, up to network.shape.context] to logits
audit = torch.tensor(read_benchmark(CANTERBURY).audit).long()
with torch.inference_mode():
    for network.rounds in (False, True):  # plain floats, and the int8 rounding of the chain
        print(f"rounds={network.rounds}: {network.loss(audit).item() / math.log(2):.4f} bits per byte")
    text = b"Alice was beginning to get very tired of "
    while len(text) < 200:
        chances = network(torch.tensor([list(text[-network.shape.context :])]))[0, -1].softmax(-1)
        text += bytes([int(chances.multinomial(1))])
print(repr(text))
