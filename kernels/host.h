// Lets a host's C++ compiler read the kernels, so that their arithmetic, indices and sums are tested where there is no
// card: CUDA's words, and a launch that walks the grid, block after block. One thread of a block at a time, or all of them
// side by side with a barrier between them.
//
// Not part of any build but the tests'. Compile without contraction (-ffp-contract=off).

#include <atomic>
#include <barrier>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#define __device__
#define __global__
#define __forceinline__ inline
#define __shared__ static
#define __align__(n) alignas(n)

struct Dim3 {
    unsigned x = 1, y = 1, z = 1;
};
static thread_local Dim3 threadIdx, blockIdx;
static Dim3 blockDim, gridDim;
static std::unique_ptr<std::barrier<>> host_barrier;

static inline void __syncthreads() {
    if (host_barrier) host_barrier->arrive_and_wait();
}

template <typename To, typename From> static inline To host_bits(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}
static inline unsigned __float_as_uint(float x) { return host_bits<unsigned>(x); }
static inline float __uint_as_float(unsigned x) { return host_bits<float>(x); }
static inline long long __double_as_longlong(double x) { return host_bits<long long>(x); }
static inline double __longlong_as_double(long long x) { return host_bits<double>(x); }

template <typename T> static inline T atomicAdd(T *at, T by) {
    return std::atomic_ref<T>(*at).fetch_add(by, std::memory_order_relaxed);
}
template <typename T> static inline T atomicOr(T *at, T by) {
    return std::atomic_ref<T>(*at).fetch_or(by, std::memory_order_relaxed);
}

// Runs a kernel over a grid; `kernel` is called once for each thread of each block.
template <typename Kernel> static void host_launch(unsigned blocks, unsigned threads, Kernel kernel) {
    gridDim.x = blocks;
    blockDim.x = threads;
    auto run = [&](unsigned thread) {
        threadIdx.x = thread;
        for (unsigned block = 0; block < blocks; ++block) {
            blockIdx.x = block;
            kernel();
            __syncthreads(); // memory of a block is the next one's too
        }
    };
    if (threads == 1) {
        host_barrier.reset();
        return run(0);
    }
    host_barrier = std::make_unique<std::barrier<>>((std::ptrdiff_t)threads);
    std::vector<std::thread> all;
    for (unsigned thread = 0; thread < threads; ++thread) all.emplace_back(run, thread);
    for (auto &one : all) one.join();
    host_barrier.reset();
}
