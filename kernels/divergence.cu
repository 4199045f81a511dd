// For each row the divergence of Kullback and Leibler of the softmax of one value from that of another.
//
// words: 0 the divergences in f64, 1 elements, 2 elements in a row, 3 rows. Sums are in 32 lanes as in lines.cu; what a
// pass made of an element the next one makes again, which takes no memory.

#define LINES 4
#define LANES 32
#define EPSILON 1e-8

DEVICE Values values_at(const Args &args, u64 i) {
    Leaves leaves;
    Values values;
    read(args, i, leaves);
    compute(args, i, leaves, values);
    return values;
}

// The lanes of each of the block's lines, added up in place of the first.
DEVICE void add_up(double *sums) {
    __syncthreads();
    for (u32 half = LANES / 2; half > 0; half /= 2) {
        for (u32 slot = threadIdx.x; slot < LINES * LANES; slot += blockDim.x) {
            if (slot % LANES < half) sums[slot] += sums[slot + half];
        }
        __syncthreads();
    }
}

extern "C" __global__ void growmerge_kernel(const Args args) {
    __shared__ float tops[2][LINES * LANES];
    __shared__ double sums[2][LINES * LANES];
    __shared__ double shares[2][LINES];
    double *out = (double *)args.word[0];
    const u64 len = args.word[1], width = args.word[2], rows = args.word[3];
    for (u64 first = (u64)blockIdx.x * LINES; first < rows; first += (u64)gridDim.x * LINES) {
        for (u32 slot = threadIdx.x; slot < LINES * LANES; slot += blockDim.x) {
            u64 begin = (first + slot / LANES) * width;
            u64 end = begin + width < len ? begin + width : len;
            float top[2] = {-3.402823466e+38f, -3.402823466e+38f};
            for (u64 i = begin + slot % LANES; i < end; i += LANES) {
                Values x = values_at(args, i);
                for (int side = 0; side < 2; ++side) top[side] = x.of[side] > top[side] ? x.of[side] : top[side];
            }
            for (int side = 0; side < 2; ++side) tops[side][slot] = top[side];
        }
        __syncthreads();
        for (u32 half = LANES / 2; half > 0; half /= 2) {
            for (u32 slot = threadIdx.x; slot < LINES * LANES; slot += blockDim.x) {
                if (slot % LANES >= half) continue;
                for (int side = 0; side < 2; ++side) {
                    float other = tops[side][slot + half];
                    if (other > tops[side][slot]) tops[side][slot] = other;
                }
            }
            __syncthreads();
        }
        for (u32 slot = threadIdx.x; slot < LINES * LANES; slot += blockDim.x) {
            u64 begin = (first + slot / LANES) * width;
            u64 end = begin + width < len ? begin + width : len;
            u32 line = slot / LANES * LANES;
            double sum[2] = {0.0, 0.0};
            for (u64 i = begin + slot % LANES; i < end; i += LANES) {
                Values x = values_at(args, i);
                for (int side = 0; side < 2; ++side) sum[side] += exp_of((double)x.of[side] - (double)tops[side][line]);
            }
            for (int side = 0; side < 2; ++side) sums[side][slot] = sum[side];
        }
        for (int side = 0; side < 2; ++side) add_up(sums[side]);
        for (u32 line = threadIdx.x; line < LINES; line += blockDim.x) {
            for (int side = 0; side < 2; ++side) shares[side][line] = 1.0 / sums[side][line * LANES];
        }
        __syncthreads();
        for (u32 slot = threadIdx.x; slot < LINES * LANES; slot += blockDim.x) {
            u64 begin = (first + slot / LANES) * width;
            u64 end = begin + width < len ? begin + width : len;
            u32 line = slot / LANES;
            double sum = 0.0;
            for (u64 i = begin + slot % LANES; i < end; i += LANES) {
                Values x = values_at(args, i);
                double part[2];
                for (int side = 0; side < 2; ++side) {
                    double e = exp_of((double)x.of[side] - (double)tops[side][line * LANES]);
                    part[side] = e * shares[side][line] + EPSILON;
                }
                sum += part[0] * ln_of(part[0] / part[1]);
            }
            sums[0][slot] = sum;
        }
        add_up(sums[0]);
        for (u32 line = threadIdx.x; line < LINES; line += blockDim.x) {
            double sum = sums[0][line * LANES];
            // Rounding may leave less than nothing of two rows that are nearly the same.
            if (first + line < rows) out[first + line] = sum > 0.0 ? sum : 0.0;
        }
        __syncthreads();
    }
}
