// What every kernel begins with: words for types, floats as bits, and conversions of stored elements.
//
// No toolkit header is included, so NVRTC needs nothing but itself, and a host's C++ compiler understands the same text
// through host.h. Contraction is off and division exact (Source::OPTIONS): every operation rounds, as on the CPU.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#define DEVICE static __device__ __forceinline__

// Four neighbours, which one thread reads or writes at once.
template <typename T> struct __align__(4 * sizeof(T)) Four {
    T of[4];
};
// A vector has 16 bytes at most.
template <> struct __align__(16) Four<u64> {
    u64 of[4];
};

DEVICE u32 bits_of(float x) { return __float_as_uint(x); }
DEVICE float float_of(u32 bits) { return __uint_as_float(bits); }
DEVICE u64 bits_of(double x) { return (u64)__double_as_longlong(x); }
DEVICE double double_of(u64 bits) { return __longlong_as_double((i64)bits); }

// The bit pattern without the sign: non-negative floats order like these.
DEVICE u32 key_of(float x) { return bits_of(x) & 0x7fffffffu; }

// The words of a launch.
DEVICE float as_f32(u64 word) { return float_of((u32)word); }
DEVICE double as_f64(u64 word) { return double_of(word); }

// Where a thread begins, and how far it goes on: grids of any shape walk the same elements.
DEVICE u64 first_of_thread() { return (u64)blockIdx.x * blockDim.x + threadIdx.x; }
DEVICE u64 threads_of_grid() { return (u64)gridDim.x * blockDim.x; }

DEVICE float from_bf16(u16 x) { return float_of((u32)x << 16); }

// Shifting exponent and mantissa into place leaves the exponent 112 too small; multiplying by 2^112 mends it, for
// subnormal numbers too, and is exact.
DEVICE float from_f16(u16 x) {
    float scaled = float_of((u32)(x & 0x7fff) << 13) * float_of((127u + 112u) << 23);
    u32 special = (x & 0x7c00) == 0x7c00 ? 0x7f800000u : 0u; // infinity and NaN keep an exponent of all ones
    return float_of(bits_of(scaled) | special | (u32)(x & 0x8000) << 16);
}

DEVICE float from_f32(u32 x) { return float_of(x); }
DEVICE float from_f64(u64 x) { return (float)double_of(x); }

// To nearest, ties to even. There is one NaN, since processors make different ones.
DEVICE u16 to_bf16(float x) {
    u32 bits = bits_of(x);
    u32 rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (u16)(key_of(x) > 0x7f800000u ? 0x7fc0u : rounded);
}

DEVICE u16 to_f16(float x) {
    u32 bits = key_of(x);
    if (bits > 0x7f800000u) return 0x7e00;
    u32 odd = (bits >> 13) & 1u;
    // Exponent rebased from 127 to 15, then rounded at bit 13.
    u32 normal = (bits - (112u << 23) + 0xfffu + odd) >> 13;
    // Adding 0.5 aligns the last bit of a subnormal f16 with the last bit of the f32 sum.
    u32 magic = 126u << 23;
    u32 subnormal = bits_of(float_of(bits) + float_of(magic)) - magic;
    u32 magnitude = bits >= (127u + 16u) << 23 ? 0x7c00u : bits < 113u << 23 ? subnormal : normal;
    return (u16)(magnitude | (bits_of(x) & 0x80000000u) >> 16);
}

DEVICE u32 to_f32(float x) { return key_of(x) > 0x7f800000u ? 0x7fc00000u : bits_of(x); }
DEVICE u64 to_f64(float x) { return bits_of((double)float_of(to_f32(x))); }

// As it is, a NaN's bits too.
DEVICE u32 to_bits(float x) { return bits_of(x); }

// Exponents of all ones are NaN or infinity.
DEVICE bool no_number_bf16(u16 x) { return (x & 0x7fff) >= 0x7f80; }
DEVICE bool no_number_f16(u16 x) { return (x & 0x7fff) >= 0x7c00; }
DEVICE bool no_number_f32(u32 x) { return (x & 0x7fffffffu) >= 0x7f800000u; }
DEVICE bool no_number_f64(u64 x) { return (x & ~(1ull << 63)) >= 0x7ff0000000000000ull; }
DEVICE bool no_number_bits(u32) { return false; }
