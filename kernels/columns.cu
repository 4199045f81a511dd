// Adds to each sum the products of two values of its column, row after row.
//
// words: 0 the sums in f64, 1 elements, 2 columns.

extern "C" __global__ void growmerge_kernel(const Args args) {
    double *sums = (double *)args.word[0];
    const u64 len = args.word[1], width = args.word[2];
    for (u64 column = first_of_thread(); column < width; column += threads_of_grid()) {
        double sum = sums[column];
        for (u64 i = column; i < len; i += width) {
            Leaves leaves;
            Values values;
            read(args, i, leaves);
            compute(args, i, leaves, values);
            sum += (double)values.of[0] * (double)values.of[1];
        }
        sums[column] = sum;
    }
}
