"""What the card attains: bytes per second of a copy, operations per second of matrix products."""
import torch

from timing import milliseconds

half = torch.empty(2_000_000_000, dtype=torch.uint8, device="cuda")
other = torch.empty_like(half)
copy = milliseconds([lambda: other.copy_(half)], 0.5)
print(f"copy of 2 GB      {2 * half.numel() / copy / 1e6:8.0f} GB/s read and written")
del half, other
for name, dtype, precision in [("bf16", torch.bfloat16, "highest"), ("tf32", torch.float32, "high"),
                               ("fp32", torch.float32, "highest")]:
    torch.set_float32_matmul_precision(precision)
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=dtype) for _ in range(2))
    product = milliseconds([lambda a=a, b=b: a @ b], 0.5)
    print(f"product of 8192^3 {2 * 8192**3 / product / 1e9:8.1f} TFLOP/s {name}", flush=True)
