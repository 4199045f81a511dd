// How many magnitudes fall into which bin of a window. Whole numbers, so any order gives the same.
//
// words: 0 the bins, 1 elements, 2 the window's first key, 3 one behind its last, 4 keys of a bin as a power of two, 5 how
// many lie above (64 bits), then the offsets of hits or-ed (32 bits).

extern "C" __global__ void growmerge_kernel(const Args args) {
    u32 *bins = (u32 *)args.word[0];
    u64 *outside = (u64 *)args.word[5];
    const u64 len = args.word[1];
    const u32 low = (u32)args.word[2], high = (u32)args.word[3], shift = (u32)args.word[4];
    u64 above = 0;
    u32 bits = 0;
    for (u64 i = first_of_thread(); i < len; i += threads_of_grid()) {
        Leaves leaves;
        Values values;
        read(args, i, leaves);
        compute(args, i, leaves, values);
        u32 key = key_of(values.of[0]), offset = key - low;
        above += key >= high ? 1 : 0;
        if (offset < high - low) {
            bits |= offset;
            atomicAdd(&bins[offset >> shift], 1u);
        }
    }
    if (above != 0) atomicAdd(outside, above);
    if (bits != 0) atomicOr((u32 *)(outside + 1), bits);
}
