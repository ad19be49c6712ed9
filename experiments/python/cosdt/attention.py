"""Causal cosFormer attention as an operator of torch, with its gradient.

``torch.ops.cosdt.causal_attention`` runs on the CPU and, in a build with CUDA, on a GPU; under ``torch.compile`` and
autocast, too. Where a model calls ``scaled_dot_product_attention(q, k, v, is_causal=True)``, it calls
``cosformer(q, k, v, reweight_length=M)``.
"""

from __future__ import annotations

from typing import Any

import torch

from . import _cosdt  # noqa: F401  registers the operators

_FEATURES = {"relu": 1, "elu": 2}


def _sum_type(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _fake(q: Any, k: Any, v: Any, key_mask: Any, features: int, reweight_length: int) -> Any:
    batch, heads, length, _ = q.shape
    out = v.new_empty((batch, length, heads, v.shape[3])).transpose(1, 2)
    return out, q.new_empty((batch, heads, length), dtype=_sum_type(q.dtype))


def _fake_backward(
    grad: Any, q: Any, k: Any, v: Any, key_mask: Any, out: Any, normalizer: Any, features: int, reweight_length: int
) -> Any:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _setup(ctx: Any, inputs: Any, output: Any) -> None:
    q, k, v, key_mask, ctx.features, ctx.reweight_length = inputs
    ctx.save_for_backward(q, k, v, key_mask, *output)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, grad: Any, _: Any) -> Any:
    q, k, v, key_mask, out, normalizer = ctx.saved_tensors
    grads = torch.ops.cosdt.causal_attention_backward(
        grad, q, k, v, key_mask, out, normalizer, ctx.features, ctx.reweight_length
    )
    return (*grads, None, None, None)


torch.library.register_fake("cosdt::causal_attention", _fake)
torch.library.register_fake("cosdt::causal_attention_backward", _fake_backward)
torch.library.register_autograd("cosdt::causal_attention", _backward, setup_context=_setup)
for _device in ("cpu", "cuda"):
    torch.library.register_autocast("cosdt::causal_attention", _device, torch.bfloat16)


def cosformer(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    reweight_length: int,
    feature_map: str = "elu",
    key_mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Causal cosFormer attention (arXiv 2202.08791, equation 10), in time linear in L.

    o_i = sum_{j<=i} s_ij v_j / sum_{j<=i} s_ij with s_ij = cos(pi/2 (i - j) / M) (phi(q_i) . phi(k_j)). Its gradient has
    no gradient of its own.

    Parameters
    ----------
    q, k : [B, H, L, d]
        float32, float64 or bfloat16; of any strides.
    v : [B, H, L, d_v]
        In the same type, as the result is.
    reweight_length
        M, the distance at which the weight reaches 0: at least L. Twice the longest L is a good choice; it should not
        vary with the input. 0 is linear attention without weights.
    feature_map
        phi: ``"elu"`` (ELU + 1) or the paper's ``"relu"``.
    key_mask : bool [B, L]
        True at real tokens.

    Returns
    -------
    torch.Tensor
        [B, H, L, d_v]
    """
    if feature_map not in _FEATURES:
        raise ValueError(f"feature_map: expected relu or elu, found {feature_map!r}")
    if reweight_length < 0:
        raise ValueError(f"reweight_length: expected 0 or more, found {reweight_length}")
    out: torch.Tensor = torch.ops.cosdt.causal_attention(
        q, k, v, key_mask, _FEATURES[feature_map], reweight_length
    )[0]
    return out


class Cosformer(torch.nn.Module):
    """`cosformer` as a module without parameters."""

    def __init__(self, reweight_length: int, feature_map: str = "elu") -> None:
        super().__init__()
        self.reweight_length, self.feature_map = reweight_length, feature_map

    def extra_repr(self) -> str:
        return f"reweight_length={self.reweight_length}, feature_map={self.feature_map!r}"

    def forward(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, key_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Mixed values [B, H, L, d_v]; arguments are `cosformer`'s."""
        return cosformer(
            q, k, v, reweight_length=self.reweight_length, feature_map=self.feature_map, key_mask=key_mask
        )
