/* One step's attention to the KV cache: a row's query and key are turned, its key and value written,
 * and what its slot holds is looked at.
 */
#include "numbers.h"

#ifdef __AVX512F__

/* Attention of one token a slot. A layer of the KV cache is [blocks, 2, slots, kv_heads, block, d],
 * in float32 or bfloat16. */
struct Attention {
    float *qkv;             /* [rows, heads + 2 kv_heads, d]; queries and keys are turned in place */
    const float *turn;      /* [rows, turned / 2] complex numbers, or NULL */
    const int64_t *lengths; /* [rows]: where a row writes */
    char *store;
    float *y;               /* [rows, heads, d] */
    int64_t rows, slots, heads, kv_heads, block, width, turned, window;
    int64_t positions;      /* that a slot has place for */
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

/* -> 0, or 1 where a row would write outside of its slot: then nothing is done */
int attend(const struct Attention *job) {
    long work = 0;
    for (long row = 0; row < job->rows; row++) {
        if (job->lengths[row] < 0 || job->lengths[row] >= job->positions) return 1;
        work += job->lengths[row] + 1;
    }
    const int threads = work * job->heads * job->width > WORTH_A_THREAD ? job->threads : 1;
    run_pieces(attend_head, job, job->rows * job->kv_heads, threads);
    return 0;
}

#endif
