"""Times of flash-linear-attention's chunk_simple_gla: linear attention with a decay a head, the nearest that it
has to cosFormer's weights.

usage: simple_gla.py | simple_gla.py compile (its kernels for these shapes, without times)
"""
import sys

import torch
from fla.ops.simple_gla import chunk_simple_gla

from timing import SHAPES, attention_times, name_of

if sys.argv[1:] != ["compile"]:
    print("bfloat16: ms forward, ms forward and backward")
for shape in SHAPES:
    batch, heads, length, width = shape
    decay = torch.full((heads,), -0.01, device="cuda")

    def forward(q, k, v, decay=decay):
        return chunk_simple_gla(q, k, v, g_gamma=decay)[0]

    def tensors(size=(batch, length, heads, width)):
        return [torch.randn(size, device="cuda", dtype=torch.bfloat16) for _ in range(4)]

    if sys.argv[1:] == ["compile"]:
        q, k, v, grad = tensors()
        inputs = [x.requires_grad_() for x in (q, k, v)]
        torch.autograd.grad(forward(*inputs), inputs, grad)
    else:
        print(f"{name_of(shape):20}  " + attention_times(shape, torch.bfloat16, tensors, forward), flush=True)
