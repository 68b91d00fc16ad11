/* A step of a transformer for few rows, at the speed of the memory: y = x Wᵀ with a weight in 32, 16
 * or 8 bits that was laid out for it, the norm before it and what follows in the same pass.
 * `native.py` compiles this file for the machine at hand, and calls it.
 *
 * A weight lies in tiles of 32 outputs: [tiles, steps, 32, numbers of a step], so that two registers
 * of 64 bytes (32 in float16) hold one step of all outputs of a tile, and the whole is read once from
 * its beginning to its end. A step is one number in float32 and float16, two in bfloat16 and four in
 * 8 bits: what one instruction multiplies and adds up. Twelve rows of x at a time keep their sums in
 * registers. What lies past the last output or input is zero.
 */
#define _GNU_SOURCE
#include <float.h>
#include <immintrin.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { FLOAT32, FLOAT16, BFLOAT16, INT8 };
enum { TILE = 32, ROWS = 12 };

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

/* Threads. Whoever is awake takes the next piece of the work, and the caller waits for pieces that
 * were begun and for no thread that has not come: beside other programs a thread that waits for its
 * core would hold up all the others at the end of every product. For the same reason a process that
 * was forked, which has none of these threads, works on alone. */

typedef void (*Piece)(const void *job, long piece);

static struct {
    pthread_mutex_t caller;  /* held by the one whose work it is */
    pthread_mutex_t mutex;
    pthread_cond_t begun;
    Piece run;
    const void *job;
    long pieces;
    atomic_long left;        /* pieces that nobody has taken */
    atomic_long done;
    atomic_int asleep;
    int workers;
} pool = {
    .caller = PTHREAD_MUTEX_INITIALIZER,
    .mutex = PTHREAD_MUTEX_INITIALIZER,
    .begun = PTHREAD_COND_INITIALIZER,
};

enum { SPINS = 4000 }; /* some 100 µs: as long as Python takes between two products */

/* -> whether there was a piece to take */
static int take_piece(void) {
    long left = atomic_load_explicit(&pool.left, memory_order_acquire);
    while (left > 0)
        if (atomic_compare_exchange_weak(&pool.left, &left, left - 1)) {
            pool.run(pool.job, pool.pieces - left); /* stays as it is until this piece is done */
            atomic_fetch_add_explicit(&pool.done, 1, memory_order_release);
            return 1;
        }
    return 0;
}

static void *work(void *nothing) {
    for (;;) {
        int spins = 0;
        while (spins < SPINS)
            if (take_piece()) spins = 0;
            else spins++, _mm_pause();
        pthread_mutex_lock(&pool.mutex);
        atomic_fetch_add(&pool.asleep, 1);
        while (atomic_load(&pool.left) <= 0) pthread_cond_wait(&pool.begun, &pool.mutex);
        atomic_fetch_sub(&pool.asleep, 1);
        pthread_mutex_unlock(&pool.mutex);
    }
    return nothing;
}

/* All pieces, on up to so many threads; on this one alone where another caller has them. */
static void run_pieces(Piece run, const void *job, long pieces, int threads) {
    if (threads < 2 || pieces < 2 || pthread_mutex_trylock(&pool.caller) != 0) {
        for (long piece = 0; piece < pieces; piece++) run(job, piece);
        return;
    }
    for (; pool.workers < threads - 1; pool.workers++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, NULL) != 0) break;
        pthread_detach(thread);
    }
    pool.run = run, pool.job = job, pool.pieces = pieces;
    atomic_store(&pool.done, 0);
    atomic_store(&pool.left, pieces);
    if (atomic_load(&pool.asleep) > 0) {
        pthread_mutex_lock(&pool.mutex);
        pthread_cond_broadcast(&pool.begun);
        pthread_mutex_unlock(&pool.mutex);
    }
    while (take_piece()) {}
    for (long spins = 0; atomic_load_explicit(&pool.done, memory_order_acquire) < pieces; spins++)
        if (spins < SPINS) _mm_pause();
        else sched_yield();
    pthread_mutex_unlock(&pool.caller);
}

/* After a fork the locks may be held by threads that are not there. */
void begin_anew(void) {
    pthread_mutex_init(&pool.caller, NULL);
    pthread_mutex_init(&pool.mutex, NULL);
    pthread_cond_init(&pool.begun, NULL);
    atomic_store(&pool.left, 0);
    atomic_store(&pool.asleep, 0);
    pool.workers = 0;
}

/* One tile, `rows` rows (a constant where this is inlined), all steps. x: rows `stride` bytes apart.
 * sums: [rows, 32], of four bytes each. */
#define DEFINE_TILE(NAME, SUM, ZERO, BYTES, LOAD, SPREAD, ADD, STORE)                               \
    static inline __attribute__((always_inline)) void NAME(                                         \
        const char *w, const char *x, ptrdiff_t stride, int steps, const int rows, char *sums) {    \
        SUM low[ROWS], high[ROWS];                                                                  \
        _Pragma("GCC unroll 12") for (int r = 0; r < rows; r++) low[r] = high[r] = ZERO;            \
        for (int k = 0; k < steps; k++, w += 2 * BYTES) {                                           \
            _mm_prefetch(w + 4096, _MM_HINT_T0);                                                    \
            if (BYTES == 64) _mm_prefetch(w + 4096 + 64, _MM_HINT_T0);                              \
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

#define CASE(NAME, N) case N: NAME(w, x, stride, steps, N, sums); break;
#define DEFINE_ROWS(NAME)                                                                           \
    static void NAME##_rows(const char *w, const char *x, ptrdiff_t stride, int steps, int rows,    \
                            char *sums) {                                                           \
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
#endif
#ifdef __AVX512VNNI__
DEFINE_TILE(tile_int8, __m512i, _mm512_setzero_si512(), 64, _mm512_loadu_si512, SPREAD_WORD,
            _mm512_dpbusd_epi32, _mm512_storeu_si512)
DEFINE_ROWS(tile_int8)
#endif

static void multiply_tile(int kind, const char *w, const char *x, ptrdiff_t stride, int steps,
                          int rows, char *sums) {
    if (kind == FLOAT32) tile_float32_rows(w, x, stride, steps, rows, sums);
    if (kind == FLOAT16) tile_float16_rows(w, x, stride, steps, rows, sums);
#ifdef __AVX512BF16__
    if (kind == BFLOAT16) tile_bfloat16_rows(w, x, stride, steps, rows, sums);
#endif
#ifdef __AVX512VNNI__
    if (kind == INT8) tile_int8_rows(w, x, stride, steps, rows, sums);
#endif
}

/* What lies ready of a weight. */
struct Weight {
    int32_t kind, steps;
    int64_t inputs, outputs;
    const char *packed;
    const float *scale;    /* [outputs], of 8 bits */
    const int32_t *shifts; /* [outputs], of 8 bits: 128 times the sum of a row of W */
};

/* One product. */
struct Job {
    const struct Weight *weight;
    const float *x, *gain, *other;
    float *y;
    long rows;
    float eps;           /* of the norm before it; negative: there is none */
    int gated;           /* low and high half of a tile are gate and up: y = silu(gate) · up */
    char *room;          /* rows of x as they are multiplied, `stride` bytes each */
    ptrdiff_t stride;
    float *row_steps;    /* [rows], of 8 bits */
    long tiles_a_piece, rows_a_piece;
};

static float sum_squares(const float *x, long n) {
    __m512 sum = _mm512_setzero_ps();
    long i = 0;
    for (; i + 16 <= n; i += 16) {
        const __m512 v = _mm512_loadu_ps(x + i);
        sum = _mm512_fmadd_ps(v, v, sum);
    }
    float rest = _mm512_reduce_add_ps(sum);
    for (; i < n; i++) rest += x[i] * x[i];
    return rest;
}

static void round_row(const float *x, long n, uint16_t *out) {
    for (long i = 0; i < n; i++) { /* to the nearest bfloat16, ties to even */
        uint32_t bits;
        memcpy(&bits, x + i, 4);
        const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
        out[i] = (bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : (uint16_t)rounded;
    }
}

/* A row of x in steps of its greatest number / 127: the nearest step, and 254ths of a step that are
 * left, as a row after it. Both are moved up by 128: the instruction multiplies unsigned numbers of x
 * with signed ones of W. -> the step, NaN where a number is none */
static float split_row(const float *x, long n, uint8_t *nearest, uint8_t *rest) {
    float most = FLT_MIN;
    for (long i = 0; i < n; i++) {
        const float size = fabsf(x[i]);
        most = size > most ? size : most;
    }
    const float sum = sum_squares(x, n), step = most / 127, inverse = 127 / most;
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
    return sum - sum == 0 ? step : sum - sum;
}

/* Some rows of x as they are multiplied. */
static void prepare_rows(const void *argument, long piece) {
    const struct Job *job = argument;
    const struct Weight *weight = job->weight;
    const long n = weight->inputs, end = (piece + 1) * job->rows_a_piece;
    float normed[n];
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
        if (weight->kind == BFLOAT16) round_row(x, n, (uint16_t *)line);
        else if (weight->kind == INT8)
            job->row_steps[r] = split_row(x, n, (uint8_t *)line, (uint8_t *)line + job->stride);
        else memcpy(line, x, n * sizeof(float));
    }
}

/* e^x, to 2 units in the last place (Cephes' expf, with one polynomial more exact). */
static inline __m512 exponential(__m512 x) {
    x = _mm512_max_ps(_mm512_set1_ps(-104), x); /* in this order NaN stays NaN */
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 8);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    __m512 p = _mm512_set1_ps(1.f / 5040);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.f / 720));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.f / 120));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.f / 24));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.f / 6));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(.5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.f));
    return _mm512_scalef_ps(p, n);
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
        const __m512 gate = _mm512_load_ps(sums), up = _mm512_load_ps(sums + 16);
        const __m512 below = _mm512_add_ps(
            _mm512_set1_ps(1), exponential(_mm512_sub_ps(_mm512_setzero_ps(), gate)));
        float *out = job->y + r * (outputs / 2) + begin / 2;
        _mm512_storeu_ps(out, _mm512_div_ps(_mm512_mul_ps(gate, up), below));
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
    const size_t bytes = (size_t)weight->steps * TILE * (kind == FLOAT16 ? 2 : 4);
    const long lines = job->rows * parts, outputs = weight->outputs;
    _Alignas(64) float sums[ROWS][TILE];
    for (long tile = piece * job->tiles_a_piece; tile < (piece + 1) * job->tiles_a_piece; tile++) {
        const long begin = tile * TILE, width = outputs - begin < TILE ? outputs - begin : TILE;
        if (width <= 0) break;
        for (long line = 0; line < lines; line += ROWS) {
            const int now = lines - line < ROWS ? (int)(lines - line) : ROWS;
            multiply_tile(kind, weight->packed + tile * bytes, job->room + line * job->stride,
                          job->stride, weight->steps, now, (char *)sums);
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

/* y [rows, outputs] = norm(x) Wᵀ, + other where that is given; or gated, [rows, outputs / 2].
 * -> 0, or 1 where there is no memory */
int multiply(const struct Weight *weight, const float *x, long rows, float eps, const float *gain,
             int gated, const float *other, float *y, int threads) {
    const int kind = weight->kind, parts = kind == INT8 ? 2 : 1;
    const int as_it_is = (kind == FLOAT32 || kind == FLOAT16) && eps < 0 && gain == NULL;
    struct Job job = {
        .weight = weight, .x = x, .gain = gain, .other = other, .y = y, .rows = rows, .eps = eps,
        .gated = gated, .room = (char *)x, .stride = weight->steps * 4,
    };
    char *room = NULL;
    if (!as_it_is) {
        const size_t bytes = (size_t)rows * parts * job.stride;
        job.room = room = aligned_alloc(64, (bytes + rows * sizeof(float)) / 64 * 64 + 64);
        if (room == NULL) return 1;
        memset(room, 0, bytes);
        job.row_steps = (float *)(room + bytes);
        job.rows_a_piece = 8;
        run_pieces(prepare_rows, &job, (rows + 7) / 8, threads);
    }
    const long tiles = (weight->outputs + TILE - 1) / TILE;
    job.tiles_a_piece = tiles / (threads * 8) + 1;
    run_pieces(multiply_tiles, &job, (tiles + job.tiles_a_piece - 1) / job.tiles_a_piece, threads);
    free(room);
    return 0;
}

/* A weight [outputs, inputs] into tiles. gated: a tile is sixteen rows of the first half and the sixteen of the second that belong to them.
 * 8 bits: the nearest of 127 steps to
 * the greatest number of a row, which become scale and shifts. */
struct Packing {
    int kind, steps, gated;
    long outputs, inputs;
    const float *weight;
    char *packed;
    float *scale;
    int32_t *shifts;
};

/* A row of W in 8 bits. */
static void quantise_row(const struct Packing *job, long o, const float *row, int8_t *line) {
    float most = FLT_MIN;
    for (long i = 0; i < job->inputs; i++) {
        const float size = fabsf(row[i]);
        most = size > most ? size : most;
    }
    const float scale = most / 127, squares = sum_squares(row, job->inputs);
    int32_t sum = 0;
    for (long i = 0; i < job->inputs; i++) {
        const int32_t whole = (int32_t)rintf(row[i] / scale);
        line[i] = (int8_t)whole;
        sum += whole;
    }
    job->scale[o] = squares - squares == 0 ? scale : NAN;
    job->shifts[o] = 128 * sum;
}

static void pack_tile(const void *argument, long tile) {
    const struct Packing *job = argument;
    const long n = job->inputs, steps = job->steps, half = TILE / 2;
    const long rest = job->outputs - tile * TILE, rows = rest < TILE ? rest : TILE;
    const int kind = job->kind, bytes = kind == FLOAT16 ? 2 : 4; /* of a step of one row */
    char *out = job->packed + tile * steps * TILE * bytes;
    char *lines = calloc(TILE, steps * bytes);
    for (long at = 0; at < rows && lines != NULL; at++) {
        const long up = at < half ? tile * half + at : job->outputs / 2 + tile * half + at - half;
        const float *row = job->weight + (job->gated ? up : tile * TILE + at) * n;
        char *line = lines + at * steps * bytes;
        if (kind == FLOAT32) memcpy(line, row, n * sizeof(float));
        if (kind == FLOAT16)
            for (long i = 0; i < n; i++) ((uint16_t *)line)[i] = (uint16_t)_cvtss_sh(row[i], 0);
        if (kind == BFLOAT16) round_row(row, n, (uint16_t *)line);
        if (kind == INT8) quantise_row(job, tile * TILE + at, row, (int8_t *)line);
    }
    /* Sixteen steps of all rows at a time: they stay in the first cache. */
    for (long k = 0; k < steps && lines != NULL; k += 16)
        for (long at = 0; at < TILE; at++)
            for (long j = k; j < k + 16 && j < steps; j++)
                if (bytes == 4)
                    ((uint32_t *)out)[j * TILE + at] = ((uint32_t *)lines)[at * steps + j];
                else
                    ((uint16_t *)out)[j * TILE + at] = ((uint16_t *)lines)[at * steps + j];
    free(lines);
}

void pack(int kind, int steps, int gated, long outputs, long inputs, const float *weight, char *packed,
          float *scale, int32_t *shifts, int threads) {
    const struct Packing job = {kind, steps, gated, outputs, inputs, weight, packed, scale, shifts};
    run_pieces(pack_tile, &job, (outputs + TILE - 1) / TILE, threads);
}

/* Attention of one token a slot. A layer of the KV cache is [blocks, 2, slots, kv_heads, block, d],
 * in float32 or bfloat16. */
struct Attention {
    float *qkv;             /* [rows, heads + 2 kv_heads, d]; queries and keys are turned in place */
    const float *turn;      /* [rows, turned / 2] complex numbers, or NULL */
    const int64_t *lengths; /* [rows]: where a row writes */
    char *store;
    float *y;               /* [rows, heads, d] */
    int64_t rows, slots, heads, kv_heads, block, width, turned, window;
    int32_t narrow;         /* the cache is in bfloat16 */
    int32_t threads;
};

static inline __m512 load_number(const char *p, int narrow, long i) {
    if (!narrow) return _mm512_loadu_ps((const float *)p + i);
    const __m256i half = _mm256_loadu_si256((const void *)((const uint16_t *)p + i));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

static char *find_place(const struct Attention *job, long row, long head, int part, long position) {
    const long plane = (position / job->block * 2 + part) * job->slots + row;
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

/* A softmax in place, but for its division. -> the sum */
static float exponentiate(float *scores, long n) {
    float most = scores[0];
    for (long i = 1; i < n; i++) most = scores[i] > most ? scores[i] : most;
    __m512 sum = _mm512_setzero_ps();
    for (long i = 0; i < n; i += 16) {
        const __mmask16 some = n - i < 16 ? (__mmask16)((1 << (n - i)) - 1) : 0xffff;
        const __m512 away = _mm512_sub_ps(_mm512_maskz_loadu_ps(some, scores + i),
                                          _mm512_set1_ps(most));
        const __m512 p = _mm512_maskz_mov_ps(some, exponential(away));
        _mm512_mask_storeu_ps(scores + i, some, p);
        sum = _mm512_add_ps(sum, p);
    }
    return _mm512_reduce_add_ps(sum);
}

/* The query heads of one row that share a key head. */
static void attend_head(const void *argument, long piece) {
    const struct Attention *job = argument;
    const long row = piece / job->kv_heads, kv = piece % job->kv_heads, d = job->width;
    const long group = job->heads / job->kv_heads, at = job->lengths[row];
    const long begin = job->window && at >= job->window ? at - job->window + 1 : 0;
    float *mine = job->qkv + row * (job->heads + 2 * job->kv_heads) * d;
    float *q = mine + kv * group * d, *k = mine + (job->heads + kv) * d;
    for (long h = 0; h < group && job->turn != NULL; h++) turn_head(job, row, q + h * d);
    if (job->turn != NULL) turn_head(job, row, k);
    write_place(job, find_place(job, row, kv, 0, at), k);
    write_place(job, find_place(job, row, kv, 1, at), k + job->kv_heads * d);
    const long seen = at + 1 - begin;
    float *y = job->y + (row * job->heads + kv * group) * d;
    float *scores = malloc(group * seen * sizeof(float));
    if (scores == NULL) { /* said by numbers that are none */
        for (long i = 0; i < group * d; i++) y[i] = NAN;
        return;
    }
    for (long p = 0; p < seen; p++) {
        const char *key = find_place(job, row, kv, 0, begin + p);
        for (long h = 0; h < group; h++) {
            __m512 sum = _mm512_setzero_ps();
            for (long i = 0; i < d; i += 16)
                sum = _mm512_fmadd_ps(_mm512_loadu_ps(q + h * d + i),
                                      load_number(key, job->narrow, i), sum);
            scores[h * seen + p] = _mm512_reduce_add_ps(sum);
        }
    }
    memset(y, 0, group * d * sizeof(float));
    for (long h = 0; h < group; h++) {
        const float share = 1 / exponentiate(scores + h * seen, seen);
        for (long p = 0; p < seen; p++) {
            const char *value = find_place(job, row, kv, 1, begin + p);
            const __m512 weight = _mm512_set1_ps(scores[h * seen + p] * share);
            for (long i = 0; i < d; i += 16) {
                float *out = y + h * d + i;
                _mm512_storeu_ps(out, _mm512_fmadd_ps(weight, load_number(value, job->narrow, i),
                                                      _mm512_loadu_ps(out)));
            }
        }
    }
    free(scores);
}

enum { WORTH_A_THREAD = 200000 }; /* products of attention */

void attend(const struct Attention *job) {
    long work = 0;
    for (long row = 0; row < job->rows; row++) work += job->lengths[row] + 1;
    const int threads = work * job->heads * job->width > WORTH_A_THREAD ? job->threads : 1;
    run_pieces(attend_head, job, job->rows * job->kv_heads, threads);
}

#endif
