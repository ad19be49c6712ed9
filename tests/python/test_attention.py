"""The operator against its formula, its gradient, torch.compile, autocast and bad input."""

import math

import pytest
import torch

import cosdt
from cosdt.attention import Cosformer, cosformer


def reference(q, k, v, reweight_length, feature_map, key_mask=None):
    """Equation 10 of arXiv 2202.08791 in float64."""
    q, k, v = q.double(), k.double(), v.double()
    phi = torch.relu if feature_map == "relu" else lambda x: torch.nn.functional.elu(x) + 1
    at = torch.arange(q.shape[2], dtype=torch.float64)
    distance = at[:, None] - at
    scores = phi(q) @ phi(k).mT * torch.tril(torch.ones_like(distance))
    if reweight_length:
        scores = scores * torch.cos(math.pi / 2 * distance / reweight_length)
    if key_mask is not None:
        scores = scores * key_mask[:, None, None, :]
    return scores @ v / scores.sum(-1, keepdim=True).clamp_min(1e-6)


def example(length=50, d=8, d_v=12, dtype=torch.float64, seed=0):
    torch.manual_seed(seed)
    return [torch.randn(2, 3, length, size, dtype=dtype) for size in (d, d, d_v)]


@pytest.mark.parametrize("feature_map", ["relu", "elu"])
@pytest.mark.parametrize("reweight_length", [0, 300])
def test_is_the_papers_formula(feature_map, reweight_length):
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 3e-2)):
        for length in (1, 50, 300):
            q, k, v = example(length, dtype=dtype)
            mask = torch.rand(2, length) > 0.3
            mask[:, 0] = True
            for key_mask in (None, mask):
                out = cosformer(
                    q, k, v, reweight_length=reweight_length, feature_map=feature_map, key_mask=key_mask
                )
                assert out.dtype == dtype
                expected = reference(q, k, v, reweight_length, feature_map, key_mask)
                torch.testing.assert_close(out.double(), expected, rtol=tolerance, atol=tolerance)


def test_gradcheck():
    inputs = [x.requires_grad_() for x in example(7, 3, 4)]
    for feature_map in ("relu", "elu"):
        module = Cosformer(14, feature_map)
        assert torch.autograd.gradcheck(module, inputs)
        mask = torch.tensor([[False] * 2 + [True] * 5, [True] * 7])
        # a padded query's output means nothing
        assert torch.autograd.gradcheck(lambda q, k, v: module(q, k, v, mask)[:, :, 2:], inputs)


def test_strides_do_not_matter():
    q, k, v = example(20, 8, 8)
    expected = cosformer(q, k, v, reweight_length=40)
    strided = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v)]
    last = [x.mT.contiguous().mT for x in (q, k, v)]
    for inputs in (strided, last, [q[:, :, ::1], k.flip(0).flip(0), v]):
        torch.testing.assert_close(cosformer(*inputs, reweight_length=40), expected, rtol=0, atol=0)
    wide = q.repeat(1, 1, 1, 2)[..., ::2].requires_grad_()
    cosformer(wide, k, v, reweight_length=40).sum().backward()
    same = wide.detach().clone().requires_grad_()
    cosformer(same, k, v, reweight_length=40).sum().backward()
    torch.testing.assert_close(wide.grad, same.grad, rtol=0, atol=0)


def test_passes_torchs_check_of_operators():
    q, k, v = (x.requires_grad_() for x in example(9, 4, 4, torch.float32))
    mask = torch.ones(2, 9, dtype=torch.bool)
    for key_mask in (None, mask):
        torch.library.opcheck(torch.ops.cosdt.causal_attention, (q, k, v, key_mask, 2, 18))


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out = torch.nn.Linear(16, 48), torch.nn.Linear(16, 16)
        self.attend = Cosformer(64)

    def forward(self, x):
        heads = self.qkv(x).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
        return self.out(self.attend(*heads).transpose(1, 2).flatten(2))


@pytest.mark.filterwarnings("ignore")
def test_torch_compile_takes_a_module_with_it():
    torch.manual_seed(0)
    block = Block()
    compiled = torch.compile(block, fullgraph=True, dynamic=True, backend="aot_eager")
    for length in (10, 33):
        x = torch.randn(4, length, 16)
        torch.testing.assert_close(compiled(x), block(x))
        block.zero_grad()
        compiled(x).square().sum().backward()
        grads = [p.grad.clone() for p in block.parameters()]
        block.zero_grad()
        block(x).square().sum().backward()
        for grad, p in zip(grads, block.parameters()):
            torch.testing.assert_close(grad, p.grad)
    inductor = torch.compile(block, fullgraph=True)
    torch.testing.assert_close(inductor(x), block(x))


def test_autocast():
    block, x = Block(), torch.randn(4, 20, 16)
    q, k, v = example(20, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert cosformer(q, k, v, reweight_length=40).dtype == torch.bfloat16
        block(x).float().sum().backward()
    torch.testing.assert_close(
        cosformer(q, k, v, reweight_length=40),
        cosformer(*(x.bfloat16() for x in (q, k, v)), reweight_length=40).float(), rtol=0.05, atol=0.05,
    )
    assert all(p.grad.dtype == torch.float32 for p in block.parameters())


def test_wrong_inputs_are_refused():
    q, k, v = example(10)
    cases = [
        ((q[0], k[0], v[0]), "q: expected 4 dimensions"),
        ((q, k[:, :, :9], v), "attention"),
        ((q, k, v[:1]), "attention"),
        ((q.float(), k, v), "attention"),
        ((q.half(), k.half(), v.half()), "attention"),
        ((q[..., :0], k[..., :0], v), "attention"),
    ]
    for inputs, message in cases:
        with pytest.raises((ValueError, TypeError, RuntimeError), match=message):
            cosformer(*inputs, reweight_length=20)
    with pytest.raises(ValueError, match="at most reweight_length = 9 tokens, found 10"):
        cosformer(q, k, v, reweight_length=9)
    with pytest.raises(ValueError, match="feature_map: expected relu or elu, found 'gelu'"):
        cosformer(q, k, v, reweight_length=20, feature_map="gelu")
    with pytest.raises(ValueError, match="reweight_length: expected 0 or more"):
        cosformer(q, k, v, reweight_length=-1)
    with pytest.raises((ValueError, TypeError, RuntimeError), match="key_mask"):
        cosformer(q, k, v, reweight_length=20, key_mask=torch.ones(2, 10))
    assert cosdt.attention.cosformer is cosformer
