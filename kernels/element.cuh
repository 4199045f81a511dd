// The primitives of src/device/mod.rs that work on each element by itself: what one of them makes of its values.

DEVICE float zero() { return 0.0f; }
DEVICE float axpy(float sum, float w, float x) { return sum + w * x; }
DEVICE float subtract(float x, float y) { return x - y; }
DEVICE float add(float x, float y) { return x + y; }
DEVICE float scale(float x, float factor) { return x * factor; }
DEVICE float divide(float x, float divisor) { return x / divisor; }

// A row without a factor stays as it is.
DEVICE float scale_row(float x, u64 i, const float *factors, u64 rows, u64 width) {
    u64 row = i / width;
    return row < rows ? x * factors[row] : x;
}
DEVICE float scale_column(float x, u64 i, const float *factors, u64 width) { return x * factors[i % width]; }
DEVICE float row_value(u64 i, const float *values, u64 rows, u64 width) {
    u64 row = i / width;
    return row < rows ? values[row] : 0.0f;
}
DEVICE float divide_each(float x, float y, float least) { return x / (fabsf(y) < least ? 1.0f : y); }

// Keys above `key`, and those equal to it before `until`.
DEVICE bool is_largest(float x, u64 i, u32 key, u64 until) { return i < until ? key_of(x) >= key : key_of(x) > key; }
DEVICE float keep_largest(float x, u64 i, u32 key, u64 until) { return is_largest(x, i, key, until) ? x : 0.0f; }
DEVICE float drop_largest(float x, u64 i, u32 key, u64 until) { return is_largest(x, i, key, until) ? 0.0f : x; }
DEVICE float keep_where(float x, float mask) { return mask == 0.0f ? 0.0f : x; }
DEVICE float keep_random(float x, u64 i, u64 key, u32 keep_below, u64 first) {
    return draw_of(key, first + i) < keep_below ? x : 0.0f;
}

// NearSwap.
DEVICE float near_swap(float x, float y, float t) {
    float distance = fabsf(x - y);
    distance = distance >= 1e-6f ? distance : 1e-6f; // of NaN the bound, as on the CPU
    float w = t * (1.0f / distance);
    w = w < 0.0f ? 0.0f : w > 1.0f ? 1.0f : w;
    return w * y + (1.0f - w) * x;
}

// Whether x has the sign of a sum of votes; zero has no sign and agrees with nobody.
DEVICE bool agrees(float total, float x) { return total >= 0.0f ? x > 0.0f : x < 0.0f; }

struct Vote {
    float mixed, agreeing;
};

// The TIES vote: votes decide the sign, the weighted deltas that have it are summed.
template <int N> DEVICE Vote vote(const float (&x)[N], const float (&votes)[N], const float (&weights)[N]) {
    float total = 0.0f;
    Vote vote = {0.0f, 0.0f};
#pragma unroll
    for (int m = 0; m < N; ++m) total += votes[m] * x[m];
#pragma unroll
    for (int m = 0; m < N; ++m) {
        float weighted = weights[m] * x[m];
        bool agreed = agrees(total, weighted);
        vote.mixed += agreed ? weighted : 0.0f;
        vote.agreeing += agreed ? weights[m] : 0.0f;
    }
    return vote;
}
template <int N> DEVICE Vote vote_weighted(const float (&weighted)[N], const float (&weights)[N]) {
    float total = 0.0f;
    Vote vote = {0.0f, 0.0f};
#pragma unroll
    for (int m = 0; m < N; ++m) total += weighted[m];
#pragma unroll
    for (int m = 0; m < N; ++m) {
        bool agreed = agrees(total, weighted[m]);
        vote.mixed += agreed ? weighted[m] : 0.0f;
        vote.agreeing += agreed ? weights[m] : 0.0f;
    }
    return vote;
}
DEVICE float whole(Vote vote) { return vote.mixed; }
DEVICE float mean(Vote vote) { return vote.mixed / (vote.agreeing == 0.0f ? 1.0f : vote.agreeing); }
DEVICE float mean_from(Vote vote, float least) {
    return vote.mixed / (vote.agreeing >= least ? vote.agreeing : least);
}
template <int N> DEVICE float elect(const float (&x)[N], const float (&votes)[N], const float (&weights)[N]) {
    return whole(vote(x, votes, weights));
}
template <int N> DEVICE float elect_mean(const float (&x)[N], const float (&votes)[N], const float (&weights)[N]) {
    return mean(vote(x, votes, weights));
}
template <int N>
DEVICE float elect_mean_from(const float (&x)[N], const float (&votes)[N], const float (&weights)[N], float least) {
    return mean_from(vote(x, votes, weights), least);
}
template <int N> DEVICE float elect_weighted(const float (&weighted)[N], const float (&weights)[N]) {
    return whole(vote_weighted(weighted, weights));
}
template <int N> DEVICE float elect_weighted_mean(const float (&weighted)[N], const float (&weights)[N]) {
    return mean(vote_weighted(weighted, weights));
}
template <int N>
DEVICE float elect_weighted_mean_from(const float (&weighted)[N], const float (&weights)[N], float least) {
    return mean_from(vote_weighted(weighted, weights), least);
}

// By sums of differences from the first value.
template <int N> DEVICE float variance(const float (&x)[N]) {
    double sum = 0.0, squares = 0.0;
#pragma unroll
    for (int m = 0; m < N; ++m) {
        double off = (double)x[m] - (double)x[0];
        sum += off;
        squares += off * off;
    }
    double share = 1.0 / (double)N;
    return (float)((squares - sum * sum * share) * share);
}

// RAM: the mean of the changed ones, or a single one times its factor.
template <int N> DEVICE float pool(const float (&x)[N], const float (&alone)[N], float epsilon) {
    float count = 0.0f, sum = 0.0f;
#pragma unroll
    for (int m = 0; m < N; ++m) count += fabsf(x[m]) > epsilon ? 1.0f : 0.0f;
#pragma unroll
    for (int m = 0; m < N; ++m) {
        float part = count > 1.0f ? x[m] / count : x[m] * alone[m];
        sum += fabsf(x[m]) > epsilon ? part : 0.0f;
    }
    return sum;
}

// What is made of an importance.
DEVICE double power_zero(double, double) { return 1.0; }
DEVICE double power_root(double x, double) { return sqrt(x); }
DEVICE double power_one(double x, double) { return x; }
// A denormal has no logarithm here, and is nothing beside any other.
DEVICE double power_any(double x, double exponent) {
    double of = exponent * ln_of(x < 1e-300 ? 1e-300 : x);
    double power = exp_of(of > 700.0 ? 700.0 : of);
    return x < 1e-300 ? 0.0 : power;
}

// The mean weighted by importance, or where nothing matters to any model by the weights alone.
template <double (*Power)(double, double), int N>
DEVICE float mean_by_importance(
    const float (&x)[N], const float (&importance)[N], const double (&weights)[N], const double (&divisors)[N],
    double floor, double exponent
) {
    double sum = 0.0, total = 0.0, plain = 0.0, all = 0.0;
#pragma unroll
    for (int m = 0; m < N; ++m) {
        double relative = (double)importance[m] / divisors[m];
        double held = relative > floor ? relative : floor;
        double weight = weights[m] * Power(held, exponent);
        sum += weight * (double)x[m];
        total += weight;
        plain += weights[m] * (double)x[m];
        all += weights[m];
    }
    return (float)(total > 0.0 ? sum / total : plain / all);
}
