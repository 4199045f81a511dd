// A sum over each line, in 32 interleaved lanes that are then added halves onto halves: the order of src/device/mod.rs.
//
// words: 0 the sums, 1 elements, 2 elements in a line, 3 lines, 4 a key. SUM is the type of the sums, TERM what an element
// adds. A block of threads has LINES lines at a time.

#define LINES 4
#define LANES 32

extern "C" __global__ void growmerge_kernel(const Args args) {
    __shared__ SUM sums[LINES * LANES];
    SUM *out = (SUM *)args.word[0];
    const u64 len = args.word[1], line = args.word[2], lines = args.word[3];
    const u32 key = (u32)args.word[4];
    (void)key;
    for (u64 first = (u64)blockIdx.x * LINES; first < lines; first += (u64)gridDim.x * LINES) {
        for (u32 slot = threadIdx.x; slot < LINES * LANES; slot += blockDim.x) {
            u64 of = first + slot / LANES, begin = of * line;
            u64 end = begin + line < len ? begin + line : len;
            SUM sum = 0;
            if (of < lines) {
                for (u64 i = begin + slot % LANES; i < end; i += LANES) {
                    Leaves leaves;
                    Values values;
                    read(args, i, leaves);
                    compute(args, i, leaves, values);
                    sum += TERM(values.of);
                }
            }
            sums[slot] = sum;
        }
        __syncthreads();
        for (u32 half = LANES / 2; half > 0; half /= 2) {
            for (u32 slot = threadIdx.x; slot < LINES * LANES; slot += blockDim.x) {
                if (slot % LANES < half) sums[slot] += sums[slot + half];
            }
            __syncthreads();
        }
        for (u32 slot = threadIdx.x; slot < LINES; slot += blockDim.x) {
            if (first + slot < lines) out[first + slot] = sums[slot * LANES];
        }
        __syncthreads();
    }
}
