// Drops by rank within a row. A draw below the chance of the smallest element keeps any, one above that of the largest
// keeps none; between, the elements of the row that come before this one are counted.
//
// words: 0 the result, 1 elements, 2 elements in a row, 3 the draws' key, 4 the flat index of the first element, 5 draws
// below this keep any element, 6 those from this on none, 7 the lowest chance, 8 ranks for a whole unit of chance.

extern "C" __global__ void growmerge_kernel(const Args args) {
    float *out = (float *)args.word[0];
    const u64 len = args.word[1], width = args.word[2], key = args.word[3], first = args.word[4];
    const u32 always = (u32)args.word[5], never = (u32)args.word[6];
    const double lowest = as_f64(args.word[7]), ranks = as_f64(args.word[8]);
    for (u64 i = first_of_thread(); i < len; i += threads_of_grid()) {
        Leaves leaves;
        Values values;
        read(args, i, leaves);
        compute(args, i, leaves, values);
        float x = values.of[0];
        u32 draw = draw_of(key, first + i);
        bool keep = draw < always;
        if (!keep && draw < never && x != 0.0f) {
            u64 begin = i / width * width, end = begin + width < len ? begin + width : len, rank = 0;
            u32 own = key_of(x);
            for (u64 j = begin; j < end; ++j) {
                read(args, j, leaves);
                compute(args, j, leaves, values);
                u32 other = key_of(values.of[0]);
                rank += other < own || (other == own && j < i) ? 1 : 0;
            }
            keep = (double)rank > ((double)draw / 16777216.0 - lowest) * ranks;
        }
        out[i] = keep ? x : 0.0f;
    }
}
