/* y = x Wᵀ at the speed of the memory, for few rows of x and a weight in 32, 16 or 8 bits that was
 * laid out for it; with the norm before it and what follows in the same pass.
 *
 * A weight lies in tiles of 32 outputs: [tiles, steps, 32, numbers of a step], so that two registers
 * of 64 bytes (32 in float16) hold one step of all outputs of a tile, and the whole is read once from
 * its beginning to its end. A step is one number in float32 and float16, two in bfloat16 and four in
 * 8 bits: what one instruction multiplies and adds up. Twelve rows of x at a time keep their sums in
 * registers. What lies past the last output or input is zero.
 */
#include "numbers.h"

enum { ROWS = 12 };

/* Whether the machine that this was compiled for has the instructions of a kind. */
int has_kind(int kind) {
#ifdef __AVX512F__
    if (kind == FLOAT32 || kind == FLOAT16) return 1;
#endif
#ifdef __AVX512BF16__
    if (kind == BFLOAT16) return 1;
#endif
#ifdef __AVX512VNNI__
    if (kind == INT8) return 1;
#endif
    return 0;
}

#ifdef __AVX512F__

/* One tile, `rows` rows (a constant where this is inlined), all steps. x: rows `stride` bytes apart.
 * sums: [rows, 32], of four bytes each. */
#define DEFINE_TILE(NAME, SUM, ZERO, BYTES, LOAD, SPREAD, ADD, STORE)                               \
    static inline __attribute__((always_inline)) void NAME(                                         \
        const char *w, const char *x, ptrdiff_t stride, int steps, const int rows, char *sums,      \
        const char *ahead, long pace) {                                                             \
        SUM low[ROWS], high[ROWS];                                                                  \
        _Pragma("GCC unroll 12") for (int r = 0; r < rows; r++) low[r] = high[r] = ZERO;            \
        for (int k = 0; k < steps; k++, w += 2 * BYTES, ahead += pace) {                            \
            _mm_prefetch(ahead, _MM_HINT_T0);                                                       \
            if (BYTES == 64) _mm_prefetch(ahead + 64, _MM_HINT_T0);                                 \
            const __typeof__(LOAD(w)) one = LOAD(w), other = LOAD(w + BYTES);                       \
            _Pragma("GCC unroll 12") for (int r = 0; r < rows; r++) {                               \
                const __typeof__(SPREAD(x)) all = SPREAD(x + r * stride + k * 4);                   \
                low[r] = ADD(low[r], all, one);                                                     \
                high[r] = ADD(high[r], all, other);                                                 \
            }                                                                                       \
        }                                                                                           \
        _Pragma("GCC unroll 12") for (int r = 0; r < rows; r++) {                                   \
            STORE((void *)(sums + r * TILE * 4), low[r]);                                           \
            STORE((void *)(sums + r * TILE * 4 + 64), high[r]);                                     \
        }                                                                                           \
    }

#define CASE(NAME, N) case N: NAME(w, x, stride, steps, N, sums, ahead, pace); break;
#define DEFINE_ROWS(NAME)                                                                           \
    static void NAME##_rows(const char *w, const char *x, ptrdiff_t stride, int steps, int rows,    \
                            char *sums, const char *ahead, long pace) {                             \
        switch (rows) {                                                                             \
            CASE(NAME, 1) CASE(NAME, 2) CASE(NAME, 3) CASE(NAME, 4) CASE(NAME, 5) CASE(NAME, 6)     \
            CASE(NAME, 7) CASE(NAME, 8) CASE(NAME, 9) CASE(NAME, 10) CASE(NAME, 11) CASE(NAME, 12)  \
        }                                                                                           \
    }

#define SPREAD_FLOAT(p) _mm512_set1_ps(*(const float *)(p))
#define SPREAD_WORD(p) _mm512_set1_epi32(*(const int32_t *)(p))
#define LOAD_HALF(p) _mm512_cvtph_ps(_mm256_loadu_si256((const void *)(p)))
#define ADD_FLOAT(s, x, w) _mm512_fmadd_ps(x, w, s)

DEFINE_TILE(tile_float32, __m512, _mm512_setzero_ps(), 64, _mm512_loadu_ps, SPREAD_FLOAT, ADD_FLOAT,
            _mm512_storeu_ps)
DEFINE_ROWS(tile_float32)
DEFINE_TILE(tile_float16, __m512, _mm512_setzero_ps(), 32, LOAD_HALF, SPREAD_FLOAT, ADD_FLOAT,
            _mm512_storeu_ps)
DEFINE_ROWS(tile_float16)
#ifdef __AVX512BF16__
#define ADD_PAIR(s, x, w) _mm512_dpbf16_ps(s, (__m512bh)(x), (__m512bh)(w))
DEFINE_TILE(tile_bfloat16, __m512, _mm512_setzero_ps(), 64, _mm512_loadu_si512, SPREAD_WORD,
            ADD_PAIR, _mm512_storeu_ps)
DEFINE_ROWS(tile_bfloat16)

/* Intel's processors make one product of pairs where they make two of floats, and x would be rounded:
 * there pairs are taken apart. A Xeon core without AMX: 128 rows in 0.7 of the time. */
int pairs_apart = -1; /* tests set it: every machine computes as another would */
static int takes_pairs_apart(void) {
    return pairs_apart >= 0 ? pairs_apart : __builtin_cpu_is("intel") != 0;
}

#define FIRST(pair) _mm512_castsi512_ps(_mm512_slli_epi32(pair, 16))
#define SECOND(pair) _mm512_castsi512_ps(_mm512_and_si512(pair, _mm512_set1_epi32(0xffff0000)))

/* As the others; x in float32, two numbers a step. */
static inline __attribute__((always_inline)) void tile_pairs(
    const char *w, const char *x, ptrdiff_t stride, int steps, const int rows, char *sums,
    const char *ahead, long pace) {
    __m512 low[ROWS], high[ROWS];
    _Pragma("GCC unroll 12") for (int r = 0; r < rows; r++) low[r] = high[r] = _mm512_setzero_ps();
    for (int k = 0; k < steps; k++, w += 128, ahead += pace) {
        _mm_prefetch(ahead, _MM_HINT_T0);
        _mm_prefetch(ahead + 64, _MM_HINT_T0);
        const __m512i one = _mm512_loadu_si512(w), other = _mm512_loadu_si512(w + 64);
        const __m512 a = FIRST(one), b = SECOND(one), c = FIRST(other), d = SECOND(other);
        _Pragma("GCC unroll 12") for (int r = 0; r < rows; r++) {
            const __m512 first = SPREAD_FLOAT(x + r * stride + k * 8);
            low[r] = _mm512_fmadd_ps(first, a, low[r]);
            high[r] = _mm512_fmadd_ps(first, c, high[r]);
            const __m512 second = SPREAD_FLOAT(x + r * stride + k * 8 + 4);
            low[r] = _mm512_fmadd_ps(second, b, low[r]);
            high[r] = _mm512_fmadd_ps(second, d, high[r]);
        }
    }
    _Pragma("GCC unroll 12") for (int r = 0; r < rows; r++) {
        _mm512_storeu_ps(sums + r * TILE * 4, low[r]);
        _mm512_storeu_ps(sums + r * TILE * 4 + 64, high[r]);
    }
}
DEFINE_ROWS(tile_pairs)
#else
static int takes_pairs_apart(void) { return 0; }
#endif
#ifdef __AVX512VNNI__
DEFINE_TILE(tile_int8, __m512i, _mm512_setzero_si512(), 64, _mm512_loadu_si512, SPREAD_WORD,
            _mm512_dpbusd_epi32, _mm512_storeu_si512)
DEFINE_ROWS(tile_int8)
#endif

static void multiply_tile(int kind, int apart, const char *w, const char *x, ptrdiff_t stride,
                          int steps, int rows, char *sums, const char *ahead, long pace) {
    if (kind == FLOAT32) tile_float32_rows(w, x, stride, steps, rows, sums, ahead, pace);
    if (kind == FLOAT16) tile_float16_rows(w, x, stride, steps, rows, sums, ahead, pace);
#ifdef __AVX512BF16__
    if (kind == BFLOAT16 && apart) tile_pairs_rows(w, x, stride, steps, rows, sums, ahead, pace);
    if (kind == BFLOAT16 && !apart)
        tile_bfloat16_rows(w, x, stride, steps, rows, sums, ahead, pace);
#endif
#ifdef __AVX512VNNI__
    if (kind == INT8) tile_int8_rows(w, x, stride, steps, rows, sums, ahead, pace);
#endif
}

/* One product. */
struct Job {
    const struct Weight *weight;
    const float *x, *gain, *other;
    float *y;
    long rows;
    float eps;           /* of the norm before it; negative: there is none */
    int gated;           /* low and high half of a tile are gate and up: y = silu(gate) · up */
    int apart;           /* of bfloat16, whose pairs are taken apart: x is in float32 */
    char *room;          /* rows of x as they are multiplied, `stride` bytes each */
    ptrdiff_t stride;
    float *row_steps;    /* [rows], of 8 bits */
    float *normed;       /* [pieces, inputs]: the row that is at hand; a stack may be small */
    long tiles_a_piece, rows_a_piece;
};

/* A row of x in steps of its greatest number / 127: the nearest step, and 254ths of a step that are
 * left, as a row after it. Both are moved up by 128: the instruction multiplies unsigned numbers of x
 * with signed ones of W. -> the step, NaN where a number is none */
static float split_row(const float *x, long n, uint8_t *nearest, uint8_t *rest) {
    const float most = find_greatest(x, n), step = most / 127, inverse = 127 / most;
    if (!isfinite(most)) return NAN; /* whatever is in the room */
    const __m512i up = _mm512_set1_epi32(128);
    for (long i = 0; i < n; i += 16) {
        const __mmask16 some = n - i < 16 ? (__mmask16)((1 << (n - i)) - 1) : 0xffff;
        const __m512 exact =
            _mm512_mul_ps(_mm512_maskz_loadu_ps(some, x + i), _mm512_set1_ps(inverse));
        const __m512i whole = _mm512_cvtps_epi32(exact); /* to the nearest, ties to even */
        const __m512 left = _mm512_sub_ps(exact, _mm512_cvtepi32_ps(whole));
        const __m512i parts = _mm512_cvtps_epi32(_mm512_mul_ps(left, _mm512_set1_ps(254)));
        _mm512_mask_cvtusepi32_storeu_epi8(nearest + i, some, _mm512_add_epi32(whole, up));
        _mm512_mask_cvtusepi32_storeu_epi8(rest + i, some, _mm512_add_epi32(parts, up));
    }
    return step;
}

/* Some rows of x as they are multiplied. */
static void prepare_rows(const void *argument, long piece) {
    const struct Job *job = argument;
    const struct Weight *weight = job->weight;
    const long n = weight->inputs, end = (piece + 1) * job->rows_a_piece;
    float *normed = job->normed + piece * n;
    for (long r = piece * job->rows_a_piece; r < end && r < job->rows; r++) {
        const float *x = job->x + r * n;
        if (job->eps >= 0 || job->gain != NULL) {
            const float size =
                job->eps >= 0 ? 1 / sqrtf(sum_squares(x, n) / (float)n + job->eps) : 1;
            if (job->gain != NULL)
                for (long i = 0; i < n; i++) normed[i] = x[i] * size * job->gain[i];
            else
                for (long i = 0; i < n; i++) normed[i] = x[i] * size;
            x = normed;
        }
        char *line = job->room + r * job->stride * (weight->kind == INT8 ? 2 : 1);
        if (weight->kind == BFLOAT16 && !job->apart) round_row(x, n, (uint16_t *)line);
        else if (weight->kind == INT8)
            job->row_steps[r] = split_row(x, n, (uint8_t *)line, (uint8_t *)line + job->stride);
        else memcpy(line, x, n * sizeof(float));
    }
}

/* Whole numbers summed up, of both parts of a row of x -> the sums of x Wᵀ. */
static void put_together(const struct Weight *weight, long begin, long width, float step,
                         const int32_t *high, const int32_t *low, float *sums) {
    for (long o = 0; o < width; o++) {
        const int32_t shift = weight->shifts[begin + o];
        const float both = (float)(high[o] - shift) + (float)(low[o] - shift) * (1.f / 254);
        sums[o] = both * (step * weight->scale[begin + o]);
    }
}

static void finish_row(const struct Job *job, long r, long begin, long width, const float *sums) {
    const long outputs = job->weight->outputs;
    if (job->gated) {
        __m512 gate = _mm512_load_ps(sums), up = _mm512_load_ps(sums + 16);
        if (job->other != NULL) {
            const float *other = job->other + r * outputs + begin / 2;
            gate = _mm512_add_ps(gate, _mm512_loadu_ps(other));
            up = _mm512_add_ps(up, _mm512_loadu_ps(other + outputs / 2));
        }
        const __m512 below = _mm512_add_ps(
            _mm512_set1_ps(1), exponential(_mm512_sub_ps(_mm512_setzero_ps(), gate)));
        float *out = job->y + r * (outputs / 2) + begin / 2;
        _mm512_storeu_ps(out, _mm512_mul_ps(_mm512_div_ps(gate, below), up));
        return;
    }
    float *out = job->y + r * outputs + begin;
    if (job->other == NULL) {
        memcpy(out, sums, width * sizeof(float));
        return;
    }
    const float *other = job->other + r * outputs + begin;
    for (long o = 0; o < width; o++) out[o] = other[o] + sums[o];
}

/* Some tiles, all rows. */
static void multiply_tiles(const void *argument, long piece) {
    const struct Job *job = argument;
    const struct Weight *weight = job->weight;
    const int kind = weight->kind, parts = kind == INT8 ? 2 : 1;
    const long lines = job->rows * parts, outputs = weight->outputs;
    const long passes = (lines + ROWS - 1) / ROWS;
    const long spread = passes > 4 ? 4 : passes > 1 ? passes : 1;
    const long step = TILE * (kind == FLOAT16 ? 2 : 4), pace = (step + spread - 1) / spread;
    const size_t bytes = (size_t)weight->steps * step;
    _Alignas(64) float sums[ROWS][TILE];
    for (long tile = piece * job->tiles_a_piece; tile < (piece + 1) * job->tiles_a_piece; tile++) {
        const long begin = tile * TILE, width = outputs - begin < TILE ? outputs - begin : TILE;
        if (width <= 0) break;
        const char *w = weight->packed + tile * bytes;
        for (long line = 0; line < lines; line += ROWS) {
            const int now = lines - line < ROWS ? (int)(lines - line) : ROWS;
            /* The next tile comes while the first rows are multiplied; with few rows what is next
             * of this one. Later rows ask for what is there already. */
            const char *ahead = passes == 1 ? w + 4096 : w;
            if (passes > 1 && line < spread * ROWS)
                ahead = w + bytes + line / ROWS * pace * weight->steps;
            multiply_tile(kind, job->apart, w, job->room + line * job->stride, job->stride,
                          weight->steps, now, (char *)sums, ahead, pace);
            for (int i = 0; i < now; i += parts) {
                const long r = (line + i) / parts;
                if (kind == INT8)
                    put_together(weight, begin, width, job->row_steps[r], (int32_t *)sums[i],
                                 (int32_t *)sums[i + 1], sums[i]);
                finish_row(job, r, begin, width, sums[i]);
            }
        }
    }
}

/* y [rows, outputs] = norm(x) Wᵀ, + other [rows, outputs] where that is given; or of both together,
 * gated, [rows, outputs / 2].
 * -> 0, or 1 where there is no memory */
int multiply(const struct Weight *weight, const float *x, long rows, float eps, const float *gain,
             int gated, const float *other, float *y, int threads) {
    const int kind = weight->kind, parts = kind == INT8 ? 2 : 1;
    const int apart = kind == BFLOAT16 && takes_pairs_apart();
    const int whole = kind == FLOAT32 || kind == FLOAT16 || (apart && weight->inputs % 2 == 0);
    const int as_it_is = whole && eps < 0 && gain == NULL;
    struct Job job = {
        .weight = weight, .x = x, .gain = gain, .other = other, .y = y, .rows = rows, .eps = eps,
        .gated = gated, .apart = apart, .room = (char *)x,
        .stride = (ptrdiff_t)weight->steps * (apart ? 8 : 4),
    };
    char *room = NULL;
    if (!as_it_is) {
        const size_t bytes = (size_t)rows * parts * job.stride;
        const size_t more = (rows + (rows + 7) / 8 * weight->inputs) * sizeof(float);
        job.room = room = aligned_alloc(64, (bytes + more) / 64 * 64 + 64);
        if (room == NULL) return 1;
        memset(room, 0, bytes);
        job.row_steps = (float *)(room + bytes);
        job.normed = job.row_steps + rows;
        job.rows_a_piece = 8;
        run_pieces(prepare_rows, &job, (rows + 7) / 8, threads);
    }
    const long tiles = (weight->outputs + TILE - 1) / TILE;
    job.tiles_a_piece = tiles / (threads * 8) + 1;
    run_pieces(multiply_tiles, &job, (tiles + job.tiles_a_piece - 1) / job.tiles_a_piece, threads);
    free(room);
    return 0;
}

#endif
