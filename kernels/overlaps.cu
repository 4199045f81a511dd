// For each model how many elements it changes along with others, and how many alone.
//
// words: 0 the counts (two of 64 bits for each model), 1 elements, 2 below which a difference is no change.

extern "C" __global__ void growmerge_kernel(const Args args) {
    u64 *counts = (u64 *)args.word[0];
    const u64 len = args.word[1];
    const float epsilon = as_f32(args.word[2]);
    u32 shared[OUTPUTS] = {}, alone[OUTPUTS] = {};
    for (u64 i = first_of_thread(); i < len; i += threads_of_grid()) {
        Leaves leaves;
        Values values;
        read(args, i, leaves);
        compute(args, i, leaves, values);
        u32 models = 0;
#pragma unroll
        for (int m = 0; m < OUTPUTS; ++m) models += fabsf(values.of[m]) > epsilon ? 1 : 0;
#pragma unroll
        for (int m = 0; m < OUTPUTS; ++m) {
            bool changed = fabsf(values.of[m]) > epsilon;
            shared[m] += changed && models > 1 ? 1 : 0;
            alone[m] += changed && models == 1 ? 1 : 0;
        }
    }
#pragma unroll
    for (int m = 0; m < OUTPUTS; ++m) {
        if (shared[m] != 0) atomicAdd(&counts[2 * m], (u64)shared[m]);
        if (alone[m] != 0) atomicAdd(&counts[2 * m + 1], (u64)alone[m]);
    }
}
