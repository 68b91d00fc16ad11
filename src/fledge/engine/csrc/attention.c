/* Attention to the KV cache, of tokens that are decoded and of prompts alike: queries and keys are
 * turned, keys and values written, and then every token looks at what its slot holds up to itself.
 */
#include "numbers.h"

#ifdef __AVX512F__

static inline __m512 load_number(const char *p, int narrow, long i) {
    if (!narrow) return _mm512_loadu_ps((const float *)p + i);
    const __m256i half = _mm256_loadu_si256((const void *)((const uint16_t *)p + i));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

static char *find_place(const struct Attention *job, long row, long head, int part, long position) {
    const long slot = job->places == NULL ? row : job->places[row];
    const long plane = (position / job->block * 2 + part) * job->slots + slot;
    const long line = (plane * job->kv_heads + head) * job->block + position % job->block;
    return job->store + line * job->width * (job->narrow ? 2 : 4);
}

static void write_place(const struct Attention *job, char *place, const float *numbers) {
    if (job->narrow) round_row(numbers, job->width, (uint16_t *)place);
    else memcpy(place, numbers, job->width * sizeof(float));
}

static void turn_head(const struct Attention *job, long row, float *head) {
    const float *turn = job->turn + row * job->turned;
    for (long i = 0; i < job->turned; i += 2) {
        const float a = head[i], b = head[i + 1], c = turn[i], s = turn[i + 1];
        head[i] = a * c - b * s;
        head[i + 1] = a * s + b * c;
    }
}

enum { ROWS_A_PIECE = 8 };

/* Some rows are turned and written. */
static void write_rows(const void *argument, long piece) {
    const struct Attention *job = argument;
    const long d = job->width, end = (piece + 1) * ROWS_A_PIECE;
    for (long row = piece * ROWS_A_PIECE; row < end && row < job->rows; row++) {
        float *head = job->qkv + row * (job->heads + 2 * job->kv_heads) * d;
        if (job->turn != NULL)
            for (long h = 0; h < job->heads + job->kv_heads; h++) turn_head(job, row, head + h * d);
        head += job->heads * d;
        for (long kv = 0; kv < job->kv_heads; kv++, head += d) {
            const long at = job->positions[row];
            write_place(job, find_place(job, row, kv, 0, at), head);
            write_place(job, find_place(job, row, kv, 1, at), head + job->kv_heads * d);
        }
    }
}

/* Four sums of sixteen numbers each. */
static inline __m128 sum_each(__m512 a, __m512 b, __m512 c, __m512 d) {
    const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    const __m512d p = _mm512_castps_pd(ab), q = _mm512_castps_pd(cd);
    const __m512 all = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(p, q)),
                                     _mm512_castpd_ps(_mm512_unpackhi_pd(p, q)));
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

/* q · k of some heads that share the keys of `n` positions, which lie one after the other. Four
 * positions at a time, beyond the last one the last again: a score is summed up in the same order
 * wherever its position stands. scores: [heads, stride], with room for three more in the last. */
static inline __attribute__((always_inline)) void score_heads(
    const float *q, long d, const char *keys, long n, const int narrow, const int heads,
    float *scores, long stride) {
    const long line = d * (narrow ? 2 : 4);
    for (long p = 0; p < n; p += 4, keys += 4 * line) {
        const long left = n - 1 - p;
        const char *second = keys + (left < 1 ? left : 1) * line;
        const char *third = keys + (left < 2 ? left : 2) * line;
        const char *fourth = keys + (left < 3 ? left : 3) * line;
        __m512 sums[4][4];
        for (int h = 0; h < heads; h++)
            for (int i = 0; i < 4; i++) sums[h][i] = _mm512_setzero_ps();
        for (long i = 0; i < d; i += 16) {
            const __m512 a = load_number(keys, narrow, i), b = load_number(second, narrow, i);
            const __m512 c = load_number(third, narrow, i), e = load_number(fourth, narrow, i);
            _Pragma("GCC unroll 4") for (int h = 0; h < heads; h++) {
                const __m512 of = _mm512_loadu_ps(q + h * d + i);
                sums[h][0] = _mm512_fmadd_ps(of, a, sums[h][0]);
                sums[h][1] = _mm512_fmadd_ps(of, b, sums[h][1]);
                sums[h][2] = _mm512_fmadd_ps(of, c, sums[h][2]);
                sums[h][3] = _mm512_fmadd_ps(of, e, sums[h][3]);
            }
        }
        _Pragma("GCC unroll 4") for (int h = 0; h < heads; h++)
            _mm_storeu_ps(scores + h * stride + p,
                          sum_each(sums[h][0], sums[h][1], sums[h][2], sums[h][3]));
    }
}

/* A softmax in place, but for its division. -> the sum */
static float exponentiate(float *scores, long n) {
    __m512 most = _mm512_set1_ps(-INFINITY);
    for (long i = 0; i < n; i += 16) {
        const __mmask16 some = n - i < 16 ? (__mmask16)((1 << (n - i)) - 1) : 0xffff;
        most = _mm512_mask_max_ps(most, some, _mm512_maskz_loadu_ps(some, scores + i), most);
    }
    most = _mm512_set1_ps(_mm512_reduce_max_ps(most));
    __m512 sum = _mm512_setzero_ps();
    for (long i = 0; i < n; i += 16) {
        const __mmask16 some = n - i < 16 ? (__mmask16)((1 << (n - i)) - 1) : 0xffff;
        const __m512 away = _mm512_sub_ps(_mm512_maskz_loadu_ps(some, scores + i), most);
        const __m512 p = _mm512_maskz_mov_ps(some, exponential(away));
        _mm512_mask_storeu_ps(scores + i, some, p);
        sum = _mm512_add_ps(sum, p);
    }
    return _mm512_reduce_add_ps(sum);
}

/* y += Σ p v of some heads, 16 · lanes numbers of each from the i-th on. p: [heads, stride]. */
static inline __attribute__((always_inline)) void add_values(
    const char *values, long i, long d, long n, const int narrow, const int heads, const int lanes,
    const float *p, long stride, float *y) {
    __m512 sums[4][4];
    for (int h = 0; h < heads; h++)
        for (int l = 0; l < lanes; l++) sums[h][l] = _mm512_loadu_ps(y + h * d + i + 16 * l);
    for (long at = 0; at < n; at++, values += d * (narrow ? 2 : 4)) {
        __m512 v[4];
        _Pragma("GCC unroll 4") for (int l = 0; l < lanes; l++)
            v[l] = load_number(values, narrow, i + 16 * l);
        _Pragma("GCC unroll 4") for (int h = 0; h < heads; h++) {
            const __m512 share = _mm512_set1_ps(p[h * stride + at]);
            _Pragma("GCC unroll 4") for (int l = 0; l < lanes; l++)
                sums[h][l] = _mm512_fmadd_ps(share, v[l], sums[h][l]);
        }
    }
    for (int h = 0; h < heads; h++)
        for (int l = 0; l < lanes; l++) _mm512_storeu_ps(y + h * d + i + 16 * l, sums[h][l]);
}

/* Up to four query heads of one row that share a key head, on positions `begin` to the row's own.
 * scores: [heads, stride] */
static inline __attribute__((always_inline)) void look(
    const struct Attention *job, long row, long kv, long begin, const float *q, const int narrow,
    const int heads, float *scores, long stride, float *y) {
    const long d = job->width, end = job->positions[row] + 1;
    for (long from = begin, to; from < end; from = to) { /* a block of the cache at a time */
        to = (from / job->block + 1) * job->block;
        to = to < end ? to : end;
        score_heads(q, d, find_place(job, row, kv, 0, from), to - from, narrow, heads,
                    scores + from - begin, stride);
    }
    float sums[4];
    for (int h = 0; h < heads; h++) sums[h] = exponentiate(scores + h * stride, end - begin);
    memset(y, 0, heads * d * sizeof(float));
    for (long from = begin, to; from < end; from = to) {
        to = (from / job->block + 1) * job->block;
        to = to < end ? to : end;
        const char *values = find_place(job, row, kv, 1, from);
        const float *p = scores + from - begin;
        long i = 0;
        for (; i + 64 <= d; i += 64)
            add_values(values, i, d, to - from, narrow, heads, 4, p, stride, y);
        for (; i < d; i += 16)
            add_values(values, i, d, to - from, narrow, heads, 1, p, stride, y);
    }
    for (int h = 0; h < heads; h++)
        for (long i = 0; i < d; i++) y[h * d + i] /= sums[h];
}

#define LOOK(N)                                                                                     \
    case N:                                                                                         \
        if (job->narrow) look(job, row, kv, begin, q, 1, N, scores, stride, y);                     \
        else look(job, row, kv, begin, q, 0, N, scores, stride, y);                                 \
        break;

/* The query heads of one row that share a key head. */
static void attend_head(const void *argument, long piece) {
    const struct Attention *job = argument;
    const long row = piece / job->kv_heads, kv = piece % job->kv_heads, d = job->width;
    const long group = job->heads / job->kv_heads, at = job->positions[row];
    const long begin = job->window && at >= job->window ? at - job->window + 1 : 0;
    const float *q = job->qkv + (row * (job->heads + 2 * job->kv_heads) + kv * group) * d;
    float *y = job->y + (row * job->heads + kv * group) * d;
    const long stride = at + 4 - begin;
    float *scores = malloc(4 * stride * sizeof(float));
    if (scores == NULL) { /* said by numbers that are none */
        for (long i = 0; i < group * d; i++) y[i] = NAN;
        return;
    }
    for (long h = 0; h < group; h += 4, q += 4 * d, y += 4 * d)
        switch (group - h < 4 ? group - h : 4) { LOOK(1) LOOK(2) LOOK(3) LOOK(4) }
    free(scores);
}

enum { WORTH_A_THREAD = 200000 }; /* products of attention */

/* -> 0, or 1 where a row would write outside of its slot: then nothing is done */
int attend(const struct Attention *job) {
    long work = 0;
    for (long row = 0; row < job->rows; row++) {
        const long at = job->positions[row], slot = job->places == NULL ? row : job->places[row];
        if (at < 0 || at >= job->longest || slot < 0 || slot >= job->slots) return 1;
        work += at + 1;
    }
    const int threads = work * job->heads * job->width > WORTH_A_THREAD ? job->threads : 1;
    run_pieces(write_rows, job, (job->rows + ROWS_A_PIECE - 1) / ROWS_A_PIECE, threads);
    run_pieces(attend_head, job, job->rows * job->kv_heads, threads);
    return 0;
}

#endif
