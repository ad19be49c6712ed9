// The kinds on a device: every one as it runs by default, and the fused kernels.
#include <gtest/gtest.h>

#include "attention/attention.h"
#include "attention/registry.h"
#include "tests/attention/harness.h"
#include "tests/attention/reference.h"

namespace cosdt::attention {
namespace {

using torch::Tensor;

class CudaAttentionTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!torch::cuda::is_available()) {
      GTEST_SKIP() << "needs a CUDA device and a LibTorch with CUDA, of which one is not here";
    }
#ifndef COSDT_USE_CUDA
    GTEST_SKIP() << "needs a build with COSDT_CUDA=ON";
#endif
  }
};

// Cases of the table that the fused kernels take, and the Decision Transformer's shapes.
std::vector<Case> FusedCases(const std::string& kind) {
  std::vector<Case> cases = CheckedCases(kind);
  for (const int64_t width : {16, 32, 64, 128}) {
    for (const int64_t length : {1, 31, 33, 60, 90, 1000, 3000}) {
      cases.push_back({CaseOptions(kind, length), 3, 2, length, width, width});
    }
  }
  std::erase_if(cases, [](const Case& c) {
    return c.width != c.value_width || c.width < 16 || (c.width & (c.width - 1)) != 0;
  });
  for (Case& c : cases) c.options.fused_cuda = true;
  return cases;
}

TEST_F(CudaAttentionTest, EveryKindMatchesTheNaiveReference_CUDA) {
  for (const AttentionKind& kind : AttentionKinds()) {
    for (const Case& c : CheckedCases(kind.name)) {
      for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
        ExpectMatchesReference(c, MakeExample(c, type, true), Tolerance(type), torch::kCUDA);
      }
    }
  }
}

TEST_F(CudaAttentionTest, FusedKernelsMatchTheNaiveReference_CUDA) {
  for (const char* kind : {"cosformer", "linear"}) {
    for (Case c : FusedCases(kind)) {
      for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
        for (const bool padded : {false, true}) {
          ExpectMatchesReference(c, MakeExample(c, type, padded), Tolerance(type), torch::kCUDA);
        }
      }
      const auto expect_matches = [&] {
        ExpectMatchesReference(c, MakeExample(c, torch::kFloat32, true), Tolerance(torch::kFloat32),
                               torch::kCUDA);
      };
      c.options.feature_map = "elu";
      expect_matches();
      c.options.reweight = false;
      expect_matches();
    }
  }
}

TEST_F(CudaAttentionTest, FusedKernelsReadPackedInputs_CUDA) {
  for (const int64_t length : {60, 1000}) {
    const Case c{CaseOptions("cosformer", length), 2, 3, length, 64, 64};
    AttentionOptions options = c.options;
    options.fused_cuda = true;
    Attention attention(options, c.width);
    // one number further on in memory, nothing can be read four at a time
    const Tensor line = torch::randn({2 * length * 3 * 3 * 64 + 1}, torch::kCUDA);
    for (const int64_t shift : {0, 1}) {
      const Tensor packed =
          line.narrow(0, shift, line.numel() - 1).view({2, length, 3, 3, 64}).detach();
      packed.requires_grad_();
      const std::vector<Tensor> views = packed.permute({2, 0, 3, 1, 4}).unbind(0);
      const Tensor out = attention->forward(views[0], views[1], views[2]);
      const Tensor expected =
          attention->forward(views[0].contiguous(), views[1].contiguous(), views[2].contiguous());
      EXPECT_TRUE(SameBits(out, expected));
    }
  }
}

TEST_F(CudaAttentionTest, FusedKernelsRepeatTheirBits_CUDA) {
  for (const int64_t length : {60, 4096}) {
    Case c{CaseOptions("cosformer", length), 1, 2, length, 64, 64};
    c.options.fused_cuda = true;
    Attention attention(c.options, c.width);
    const Example e = MakeExample(c, torch::kFloat32, true);
    const Tensor mask = e.key_mask.to(torch::kCUDA);
    const auto run = [&] {
      return Differentiate(
          e, torch::kFloat32,
          [&](const Tensor& q, const Tensor& k, const Tensor& v) {
            return attention->forward(q, k, v, mask);
          },
          torch::kCUDA);
    };
    const std::vector<Tensor> once = run(), again = run();
    for (size_t i = 0; i < once.size(); ++i) EXPECT_TRUE(SameBits(once[i], again[i]));
  }
}

TEST_F(CudaAttentionTest, FusedKernelsLetNoLaterTokenChangeABit_CUDA) {
  for (const int64_t length : {60, 1000}) {
    Case c{CaseOptions("cosformer", length), 2, 2, length, 32, 32};
    c.options.fused_cuda = true;
    Attention attention(c.options, c.width);
    const Example e = MakeExample(c, torch::kFloat32, false);
    const auto run = [&] { return attention->forward(e.q.cuda(), e.k.cuda(), e.v.cuda()).cpu(); };
    const Tensor before = run();
    const int64_t token = length / 2;
    for (const Tensor& x : {e.q, e.k, e.v}) x.narrow(2, token, length - token).add_(1);
    const Tensor after = run();
    EXPECT_TRUE(SameBits(before.narrow(2, 0, token), after.narrow(2, 0, token)));
    EXPECT_FALSE(SameBits(before, after));
  }
}

TEST_F(CudaAttentionTest, FusedKernelsRefuseOtherWidthsAndTypes_CUDA) {
  AttentionOptions options = CaseOptions("cosformer", 10);
  options.fused_cuda = true;
  Attention attention(options, 24);
  const Tensor odd = torch::randn({1, 1, 10, 24}, torch::kCUDA);
  EXPECT_THROW(attention->forward(odd, odd, odd), c10::NotImplementedError);
  const Tensor wide = torch::randn({1, 1, 10, 32}, torch::kCUDA).to(torch::kFloat64);
  EXPECT_THROW(attention->forward(wide, wide, wide), c10::NotImplementedError);
}

#ifdef COSDT_USE_CUDA
// What can be seen of the binding without a device.
TEST(FusedCausalLinearTest, IsRegisteredForDevices) {
  const auto op = torch::Dispatcher::singleton().findSchema({"cosdt::causal_linear_attention", ""});
  ASSERT_TRUE(op);
  EXPECT_TRUE(op->hasKernelForDispatchKey(c10::DispatchKey::CUDA));
  EXPECT_TRUE(op->hasKernelForDispatchKey(c10::DispatchKey::AutogradCUDA));
}
#endif

}  // namespace
}  // namespace cosdt::attention
