/* One token of each row of logits, by inverting the cumulative distribution, and its log-probability,
 * in two passes over the row.
 */
#include "numbers.h"

#ifdef __AVX512F__

enum { PIECE = 1024, PIECES = 4096 }; /* tokens whose probabilities are summed up on their own */

struct Draw {
    const float *logits;   /* [rows, size] */
    const double *uniform; /* [rows], in [0, 1) */
    int64_t rows, size;
    int64_t *token;
    float *logp, *top;     /* [rows]; top: the greatest logit; where it is no finite number, or any
                            * logit is NaN, it is none either */
};

static inline __mmask16 take(long left) {
    return left < 16 ? (__mmask16)((1 << left) - 1) : 0xffff;
}

static float find_top(const float *z, long n) {
    __m512 most = _mm512_set1_ps(-INFINITY);
    for (long i = 0; i < n; i += 16) /* in this order NaN is passed over */
        most = _mm512_mask_max_ps(most, take(n - i), _mm512_maskz_loadu_ps(take(n - i), z + i), most);
    const float top = _mm512_reduce_max_ps(most);
    if (top == -INFINITY)
        for (long i = 0; i < n; i++)
            if (z[i] != top) return NAN;
    return top;
}

static inline __m512 weigh(const float *z, __mmask16 some, __m512 top) {
    const __m512 away = _mm512_sub_ps(_mm512_maskz_loadu_ps(some, z), top);
    return _mm512_maskz_mov_ps(some, exponential(away));
}

/* The place in a piece where its mass passes `share` of the whole of it. A token of no mass is
 * never drawn: its step has no width. */
static long find_place(const float *z, long n, float top, double share) {
    _Alignas(64) float p[PIECE];
    for (long i = 0; i < n; i += 16)
        _mm512_store_ps(p + i, weigh(z + i, take(n - i), _mm512_set1_ps(top)));
    double whole = 0, here = 0;
    for (long i = 0; i < n; i++) whole += p[i];
    const double point = share * whole;
    long last = 0;
    for (long i = 0; i < n; i++) {
        here += p[i];
        if (p[i] > 0) last = i;
        if (here > point) break;
    }
    return last;
}

static void draw_row(const void *argument, long row) {
    const struct Draw *job = argument;
    const long n = job->size, pieces = (n + PIECE - 1) / PIECE;
    const float *z = job->logits + row * n, top = find_top(z, n);
    job->token[row] = 0, job->logp[row] = 0, job->top[row] = top;
    if (!isfinite(top)) return;
    float mass[PIECES];
    double whole = 0;
    for (long piece = 0; piece < pieces; piece++) {
        const long end = (piece + 1) * PIECE < n ? (piece + 1) * PIECE : n;
        __m512 sum = _mm512_setzero_ps();
        for (long i = piece * PIECE; i < end; i += 16)
            sum = _mm512_add_ps(sum, weigh(z + i, take(end - i), _mm512_set1_ps(top)));
        whole += mass[piece] = _mm512_reduce_add_ps(sum);
    }
    if (isnan(whole)) {
        job->top[row] = NAN;
        return;
    }
    const double point = job->uniform[row] * whole;
    double here = 0, before = 0;
    long chosen = 0;
    for (long piece = 0; piece < pieces && here <= point; piece++)
        if (mass[piece] > 0) chosen = piece, before = here, here += mass[piece];
    const long begin = chosen * PIECE, left = n - begin < PIECE ? n - begin : PIECE;
    const double share = (point - before) / mass[chosen];
    job->token[row] = begin + find_place(z + begin, left, top, share < 0 ? 0 : share);
    job->logp[row] = (float)(z[job->token[row]] - top - log(whole));
}

enum { NUMBERS_A_THREAD = 20000 }; /* of logits */

/* -> 0, or 1 where there are more tokens than can be told apart */
int draw(const struct Draw *job, int threads) {
    if (job->size > (long)PIECE * PIECES) return 1;
    run_pieces(draw_row, job, job->rows, job->rows * job->size > NUMBERS_A_THREAD ? threads : 1);
    return 0;
}

#endif
