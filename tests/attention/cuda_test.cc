// The kinds on a device, and the promises of cosformer's and linear's kernels there.
#include <gtest/gtest.h>

#include "attention/attention.h"
#include "attention/linear_op.h"
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
      GTEST_SKIP()
          << "needs a CUDA device and a build with COSDT_CUDA=ON, of which one is not here";
    }
  }
};

// The kernels' widths, around the borders of chunks and in segments.
std::vector<Case> KernelCases(const std::string& kind) {
  std::vector<Case> cases;
  for (const int64_t width : {16, 32, 64, 128}) {
    for (const int64_t length : {1, 31, 60, 65, 90, 300}) {
      cases.push_back({CaseOptions(kind, length), 3, 2, length, width, width});
    }
  }
  cases.push_back({CaseOptions(kind, 1000), 1, 2, 1000, 64, 64});
  cases.push_back({CaseOptions(kind, 3000), 1, 1, 3000, 128, 128});
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

TEST_F(CudaAttentionTest, KernelsPassTheirCheck_CUDA) {
  EXPECT_EQ(CausalLinearPath(torch::kCUDA), "kernels");
}

TEST_F(CudaAttentionTest, KernelsMatchTheNaiveReference_CUDA) {
  for (const char* kind : {"cosformer", "linear"}) {
    for (Case c : KernelCases(kind)) {
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

TEST_F(CudaAttentionTest, KernelsReadPackedInputs_CUDA) {
  for (const int64_t length : {60, 1000}) {
    const Case c{CaseOptions("cosformer", length), 2, 3, length, 64, 64};
    Attention attention(c.options, c.width);
    // one element further on in memory, nothing can be read four at a time
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

TEST_F(CudaAttentionTest, KernelsRepeatTheirBits_CUDA) {
  for (const int64_t length : {60, 4096}) {
    const Case c{CaseOptions("cosformer", length), 1, 2, length, 64, 64};
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

TEST_F(CudaAttentionTest, KernelsLetNoLaterTokenChangeABit_CUDA) {
  for (const int64_t length : {60, 1000}) {
    const Case c{CaseOptions("cosformer", length), 2, 2, length, 32, 32};
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

TEST_F(CudaAttentionTest, OtherWidthsAndTypesAreComposed_CUDA) {
  const auto device = torch::TensorOptions(torch::kCUDA);
  EXPECT_FALSE(HasCausalLinearKernel(torch::empty({1, 1, 10, 30}, device), 30, {}));
  EXPECT_FALSE(
      HasCausalLinearKernel(torch::empty({1, 1, 10, 32}, device.dtype(torch::kFloat64)), 32, {}));
  for (const auto type : {torch::kFloat32, torch::kFloat64}) {
    const Case c{CaseOptions("cosformer", 70), 2, 2, 70, 30, 30};
    ExpectMatchesReference(c, MakeExample(c, type, true), Tolerance(type), torch::kCUDA);
  }
}

}  // namespace
}  // namespace cosdt::attention
