// Exponential and logarithm of plain f64 arithmetic: libraries differ in the last bit, and a threshold makes a bit a
// difference. The same series in the same order as src/device/kernels/softmax.rs.

// e^x for x <= 700; zero below -708. x = k ln 2 + r with |r| <= ln 2 / 2, Taylor's series for e^r, and k goes to the
// exponent.
DEVICE double exp_of(double x) {
    const double shift = 6755399441055744.0; // 1.5 * 2^52: adding it rounds to a whole number
    const double ln2_high = 6.93147180369123816490e-1; // the upper 33 bits: times k it is exact
    const double ln2_low = 1.90821492927058770002e-10;
    const double log2_e = 1.44269504088896340736;
    double held = x < -708.0 ? -708.0 : x;
    double shifted = held * log2_e + shift;
    double k = shifted - shift;
    double r = (held - k * ln2_high) - k * ln2_low;
    double sum = 1.0 / 6227020800.0; // 1 / 13!
    sum = sum * r + 1.0 / 479001600.0;
    sum = sum * r + 1.0 / 39916800.0;
    sum = sum * r + 1.0 / 3628800.0;
    sum = sum * r + 1.0 / 362880.0;
    sum = sum * r + 1.0 / 40320.0;
    sum = sum * r + 1.0 / 5040.0;
    sum = sum * r + 1.0 / 720.0;
    sum = sum * r + 1.0 / 120.0;
    sum = sum * r + 1.0 / 24.0;
    sum = sum * r + 1.0 / 6.0;
    sum = sum * r + 0.5;
    sum = sum * r + 1.0;
    sum = sum * r + 1.0;
    double power = double_of((bits_of(shifted) + 1023ull) << 52); // the low bits of `shifted` are k
    return x < -708.0 ? 0.0 : sum * power;
}

// ln x for a positive, normal, finite x. x = 2^k m with m between sqrt(1/2) and sqrt(2); ln m = 2 artanh s.
DEVICE double ln_of(double x) {
    const u64 mantissa = (1ull << 52) - 1ull;
    const u64 sqrt_half = 0x3fe6a09e667f3bcdull;
    const double ln2 = 0.693147180559945309417;
    u64 offset = bits_of(x) - sqrt_half;
    i64 k = (i64)offset >> 52;
    double m = double_of((offset & mantissa) + sqrt_half);
    double s = (m - 1.0) / (m + 1.0);
    double square = s * s;
    double sum = 1.0 / 23.0;
    sum = sum * square + 1.0 / 21.0;
    sum = sum * square + 1.0 / 19.0;
    sum = sum * square + 1.0 / 17.0;
    sum = sum * square + 1.0 / 15.0;
    sum = sum * square + 1.0 / 13.0;
    sum = sum * square + 1.0 / 11.0;
    sum = sum * square + 1.0 / 9.0;
    sum = sum * square + 1.0 / 7.0;
    sum = sum * square + 1.0 / 5.0;
    sum = sum * square + 1.0 / 3.0;
    return (double)(int)k * ln2 + (2.0 * s + 2.0 * s * (square * sum));
}
