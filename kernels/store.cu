// The values of a block, stored as one of the element types.
//
// words: 0 the result, 1 elements, 2 a flag that is set where a result is no number. TYPE is the stored type's bits, TO and
// NO_NUMBER what makes and judges them. Memory is padded to whole fours; what is made behind the end is never looked at.

extern "C" __global__ void growmerge_kernel(const Args args) {
    Four<TYPE> *out = (Four<TYPE> *)args.word[0];
    const u64 len = args.word[1];
    bool no_number = false;
    for (u64 four = first_of_thread(); 4 * four < len; four += threads_of_grid()) {
        Leaves leaves[4];
        read_four(args, four, leaves);
        Four<TYPE> made;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            Values values;
            compute(args, 4 * four + j, leaves[j], values);
            made.of[j] = TO(values.of[0]);
            no_number |= 4 * four + j < len && NO_NUMBER(made.of[j]);
        }
        out[four] = made;
    }
    if (no_number) atomicOr((u32 *)args.word[2], 1u);
}
