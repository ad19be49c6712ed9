// The CUDA kernels on a device, without LibTorch: against the CPU kernels in float64. Also the
// runs for compute-sanitizer (Small) and Nsight Compute (Profile).
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "attention/cuda_kernels.h"
#include "attention/cuda_warp.cuh"

namespace cosdt::attention::kernels {
namespace {

using cuda::BFloat16;

void Check(cudaError_t error) { ASSERT_EQ(error, cudaSuccess) << cudaGetErrorString(error); }

class CudaKernelsTest : public testing::Test {
 protected:
  void SetUp() override {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
      GTEST_SKIP() << "needs a GPU, of which none is here";
    }
  }
};

struct Shape {
  int64_t batch, heads, length, width;
  Features features = Features::kEluPlusOne;
  bool reweight = true, masked = false;

  std::string Name() const {
    return "B " + std::to_string(batch) + ", H " + std::to_string(heads) + ", L " +
           std::to_string(length) + ", d " + std::to_string(width) +
           (reweight ? "" : ", no weights") + (masked ? ", masked" : "");
  }
};

double ToNumber(float x) { return x; }
double ToNumber(BFloat16 x) { return cuda::ToFloat(x); }
void Set(double x, float& to) { to = static_cast<float>(x); }
void Set(double x, BFloat16& to) { cuda::Round(static_cast<float>(x), to); }

// Device memory with a copy on the host.
template <class T>
class Values {
 public:
  explicit Values(size_t n) : host(n) { Check(cudaMalloc(&device_, n * sizeof(T))); }
  ~Values() { cudaFree(device_); }
  Values(const Values&) = delete;
  void Upload() {
    Check(cudaMemcpy(device_, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice));
  }
  void Download() {
    Check(cudaMemcpy(host.data(), device_, host.size() * sizeof(T), cudaMemcpyDeviceToHost));
  }
  void* device() const { return device_; }
  std::vector<T> host;

 private:
  void* device_ = nullptr;
};

// [batch, length, heads, width], as a transformer has them.
Array ToArray(void* data, const Shape& s) {
  return {data, static_cast<ptrdiff_t>(s.length * s.heads * s.width),
          static_cast<ptrdiff_t>(s.width), static_cast<ptrdiff_t>(s.heads * s.width)};
}

size_t SizeOf(const Shape& s) {
  return static_cast<size_t>(s.batch * s.heads * s.length * s.width);
}

Problem MakeProblem(const Shape& s, Type type) {
  Problem p;
  p.type = type;
  p.features = s.features;
  p.batch = s.batch;
  p.heads = s.heads;
  p.length = s.length;
  p.width = p.value_width = s.width;
  p.reweight_length = s.reweight ? 2 * s.length : 0;
  return p;
}

// Inputs drawn once, rounded to T; results of the device and, in float64, of the CPU kernels.
template <class T>
class DeviceRun {
 public:
  static constexpr const char* kNames[] = {"output", "gradient of q", "gradient of k",
                                           "gradient of v", "normaliser"};

  explicit DeviceRun(const Shape& s)
      : shape_(s), normalizer_(SizeOf(s) / s.width), mask_(s.batch * s.length) {
    std::mt19937 engine(5);
    std::normal_distribution<double> normal;
    for (size_t i = 0; i < 8; ++i) {
      arrays_.push_back(std::make_unique<Values<T>>(SizeOf(s)));
      if (i >= 4) continue;
      for (T& x : arrays_[i]->host) Set(normal(engine), x);
      arrays_[i]->Upload();
    }
    for (size_t i = 0; i < mask_.host.size(); ++i) {
      mask_.host[i] = static_cast<int64_t>(i) % s.length >= s.length / 3;
    }
    mask_.Upload();
    problem_ = MakeProblem(s, sizeof(T) == 2 ? Type::kBFloat16 : Type::kFloat32);
    Array* const places[] = {&problem_.q,   &problem_.k,      &problem_.v,      &problem_.grad_out,
                             &problem_.out, &problem_.grad_q, &problem_.grad_k, &problem_.grad_v};
    for (size_t i = 0; i < 8; ++i) *places[i] = ToArray(arrays_[i]->device(), s);
    problem_.normalizer = normalizer_.device();
    if (s.masked) problem_.mask = static_cast<const bool*>(mask_.device());
    workspace_ = std::make_unique<Values<char>>(
        std::max<size_t>(16, std::max(CudaWorkspaceSize(problem_, Pass::kForward),
                                      CudaWorkspaceSize(problem_, Pass::kBackward))));
  }

  void Launch(cudaStream_t stream = nullptr) const {
    for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
      RunOnCuda(problem_, pass, workspace_->device(), stream);
    }
  }

  std::vector<std::vector<T>> Results() {
    Check(cudaDeviceSynchronize());
    std::vector<std::vector<T>> results;
    for (size_t i = 4; i < 8; ++i) {
      arrays_[i]->Download();
      results.push_back(arrays_[i]->host);
    }
    return results;
  }

  // The largest error over the largest value, at least 1, of every result.
  std::vector<double> Errors() {
    const auto results = Results();
    std::vector<std::vector<double>> values;
    for (size_t i = 0; i < 8; ++i) {
      values.emplace_back(SizeOf(shape_));
      if (i >= 4) continue;
      std::ranges::transform(arrays_[i]->host, values[i].begin(), [](T x) { return ToNumber(x); });
    }
    std::vector<double> normalizer(normalizer_.host.size());
    Problem p = MakeProblem(shape_, Type::kFloat64);
    Array* const places[] = {&p.q,   &p.k,      &p.v,      &p.grad_out,
                             &p.out, &p.grad_q, &p.grad_k, &p.grad_v};
    for (size_t i = 0; i < 8; ++i) *places[i] = ToArray(values[i].data(), shape_);
    p.normalizer = normalizer.data();
    if (shape_.masked) p.mask = reinterpret_cast<const bool*>(mask_.host.data());
    for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
      Plan(p, pass).RunHeads(0, shape_.batch * shape_.heads);
    }
    std::vector<double> errors;
    for (size_t i = 0; i < 4; ++i) errors.push_back(Error(results[i], values[i + 4]));
    normalizer_.Download();
    errors.push_back(Error(normalizer_.host, normalizer));
    return errors;
  }

 private:
  template <class U>
  static double Error(const std::vector<U>& found, const std::vector<double>& expected) {
    double error = 0, scale = 1;
    for (size_t i = 0; i < found.size(); ++i) {
      const double difference = std::abs(ToNumber(found[i]) - expected[i]);
      error = difference <= error ? error : difference;  // a NaN stays
      scale = std::max(scale, std::abs(expected[i]));
    }
    return error / scale;
  }

  Shape shape_;
  std::vector<std::unique_ptr<Values<T>>> arrays_;
  Values<float> normalizer_;
  Values<char> mask_;
  std::unique_ptr<Values<char>> workspace_;
  Problem problem_;
};

template <class T>
void ExpectMatches(const Shape& s, std::vector<double>& worst) {
  SCOPED_TRACE(s.Name() + (sizeof(T) == 2 ? ", bfloat16" : ", float32"));
  DeviceRun<T> run(s);
  run.Launch();
  const std::vector<double> errors = run.Errors();
  worst.resize(errors.size());
  for (size_t i = 0; i < errors.size(); ++i) {
    EXPECT_LT(errors[i], sizeof(T) == 2 ? 2e-2 : 2e-5) << DeviceRun<T>::kNames[i];
    worst[i] = errors[i] <= worst[i] ? worst[i] : errors[i];
  }
}

template <class T>
void ExpectAllMatch(const std::vector<Shape>& shapes) {
  std::vector<double> worst;
  for (const Shape& s : shapes) {
    // linear_op.cc computes gradients of narrower heads in float32
    if (sizeof(T) == 4 || s.width >= 32) ExpectMatches<T>(s, worst);
  }
  std::printf("worst errors in %s:", sizeof(T) == 2 ? "bfloat16" : "float32");
  for (size_t i = 0; i < worst.size(); ++i)
    std::printf(" %s %.2g", DeviceRun<T>::kNames[i], worst[i]);
  std::printf("\n");
}

std::vector<Shape> ManyShapes() {
  std::vector<Shape> shapes;
  for (const int64_t width : {16, 24, 32, 64, 96, 128}) {
    for (const int64_t length : {1, 2, 16, 31, 60, 64, 65, 127, 130, 200}) {
      shapes.push_back({2, 2, length, width, Features::kEluPlusOne, true, length % 2 == 0});
      shapes.push_back({1, 3, length, width, Features::kRelu, length % 3 != 0, false});
    }
  }
  shapes.push_back({70'000, 1, 2, 32});  // more heads than a grid's second dimension holds
  for (const int64_t width : {32, 64, 128}) {
    shapes.push_back({1, 2, 1500, width, Features::kRelu, true, true});
    shapes.push_back({1, 1, 3000, width, Features::kEluPlusOne, false, false});
  }
  return shapes;
}

TEST_F(CudaKernelsTest, MatchTheCpuKernelsInFloat32_CUDA) { ExpectAllMatch<float>(ManyShapes()); }
TEST_F(CudaKernelsTest, MatchTheCpuKernelsInBFloat16_CUDA) {
  ExpectAllMatch<BFloat16>(ManyShapes());
}

TEST_F(CudaKernelsTest, SmallShapes_CUDA) {
  std::vector<Shape> shapes;
  for (const int64_t width : {16, 32, 128}) {
    for (const int64_t length : {1, 31, 60, 300, 1000}) {
      shapes.push_back({1, 2, length, width, Features::kEluPlusOne, true, length == 300});
    }
  }
  ExpectAllMatch<float>(shapes);
  ExpectAllMatch<BFloat16>(shapes);
}

TEST_F(CudaKernelsTest, RepeatTheirBits_CUDA) {
  for (const Shape& s : {Shape{64, 1, 60, 128}, Shape{1, 4, 5000, 64}, Shape{2, 2, 2000, 128}}) {
    DeviceRun<BFloat16> run(s);
    run.Launch();
    const auto first = run.Results();
    for (int i = 0; i < 20; ++i) {
      run.Launch();
      const auto again = run.Results();
      for (size_t j = 0; j < first.size(); ++j) {
        ASSERT_EQ(std::memcmp(first[j].data(), again[j].data(), first[j].size() * 2), 0)
            << s.Name() << ", " << DeviceRun<BFloat16>::kNames[j];
      }
    }
  }
}

TEST_F(CudaKernelsTest, AreReplayedInAGraph_CUDA) {
  for (const int64_t length : {60, 2000}) {
    DeviceRun<float> run({1, 2, length, 64});
    run.Launch();
    const auto expected = run.Results();
    cudaStream_t stream = nullptr;
    Check(cudaStreamCreate(&stream));
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    Check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    run.Launch(stream);
    Check(cudaStreamEndCapture(stream, &graph));
    Check(cudaGraphInstantiate(&executable, graph, 0));
    Check(cudaGraphLaunch(executable, stream));
    EXPECT_EQ(run.Results(), expected);
    Check(cudaGraphExecDestroy(executable));
    Check(cudaGraphDestroy(graph));
    Check(cudaStreamDestroy(stream));
  }
}

// Few launches, for a profiler.
TEST_F(CudaKernelsTest, ProfileLongAndShort_CUDA) {
  for (const Shape& s : {Shape{8, 8, 4096, 64}, Shape{64, 1, 60, 128}}) {
    DeviceRun<BFloat16> run(s);
    run.Launch();
    run.Launch();
    Check(cudaDeviceSynchronize());
  }
}

}  // namespace
}  // namespace cosdt::attention::kernels
