"""Times of PyTorch's causal scaled dot product attention by each of its kernels."""
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from timing import SHAPES, attention_times, name_of

BACKENDS = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION,
            "efficient": SDPBackend.EFFICIENT_ATTENTION}
for dtype, names in [(torch.bfloat16, ["flash", "cudnn", "efficient"]), (torch.float32, ["efficient"])]:
    print(f"{str(dtype)[6:]}: ms forward, ms forward and backward of " + ", ".join(names))
    for shape in SHAPES:
        if dtype == torch.float32 and shape[2] > 16384:
            continue  # seconds
        print(f"{name_of(shape):20}", end="")
        for name in names:
            def forward(q, k, v, backend=BACKENDS[name]):
                with sdpa_kernel(backend):
                    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)

            print("  " + attention_times(
                shape, dtype, lambda: [torch.randn(shape, device="cuda", dtype=dtype) for _ in range(4)], forward),
                end="", flush=True)
        print(flush=True)
