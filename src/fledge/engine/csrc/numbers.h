/* What products, packing, attention, layers and draws share: what they are handed, and a few functions of
 * rows of numbers.
 */
#include <float.h>
#include <immintrin.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "threads.h"

enum { FLOAT32, FLOAT16, BFLOAT16, INT8 }; /* KINDS in native.py */
enum { TILE = 32 };                        /* outputs side by side in memory */

/* What lies ready of a weight. */
struct Weight {
    int32_t kind, steps;
    int64_t inputs, outputs;
    const char *packed;
    const float *scale;    /* [outputs], of 8 bits */
    const int32_t *shifts; /* [outputs], of 8 bits: 128 times the sum of a row of W */
};

int multiply(const struct Weight *weight, const float *x, long rows, float eps, const float *gain,
             int gated, const float *other, float *y, int threads);

/* A row is a token in a slot. A layer of the KV cache is [blocks, 2, slots, kv_heads, block, d], in
 * float32 or bfloat16. */
struct Attention {
    float *qkv;               /* [rows, heads + 2 kv_heads, d]; queries and keys are turned in place */
    const float *turn;        /* [rows, turned / 2] complex numbers, or NULL */
    const int64_t *positions; /* [rows]: where a row writes */
    const int64_t *places;    /* [rows]: the slot of each, or NULL: row i in slot i */
    char *store;
    float *y;                 /* [rows, heads, d] */
    int64_t rows, slots, heads, kv_heads, block, width, turned, window;
    int64_t longest;          /* positions that a slot has place for */
    int32_t narrow;           /* the cache is in bfloat16 */
    int32_t threads;
};

int attend(const struct Attention *job);

#ifdef __AVX512F__

static inline float sum_squares(const float *x, long n) {
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

/* The greatest |x|, NaN or infinity where a number is none; no less than 1e-34, of which 127ths and
 * their inverse are ordinary numbers. */
static inline float find_greatest(const float *x, long n) {
    uint32_t most = 0; /* without its sign a greater number has greater bits, and NaN the greatest */
    for (long i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, 4);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    float greatest;
    memcpy(&greatest, &most, 4);
    return greatest < 1e-34f ? 1e-34f : greatest;
}

static inline void round_row(const float *x, long n, uint16_t *out) {
    for (long i = 0; i < n; i++) { /* to the nearest bfloat16, ties to even */
        uint32_t bits;
        memcpy(&bits, x + i, 4);
        const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
        out[i] = (bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : (uint16_t)rounded;
    }
}

/* e^x, to 2 units in the last place (Cephes' expf, with one polynomial more exact). */
static inline __m512 exponential(__m512 x) {
    /* In this order NaN stays NaN; beyond these it is 0 and infinity. */
    x = _mm512_min_ps(_mm512_set1_ps(128), _mm512_max_ps(_mm512_set1_ps(-104), x));
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

#endif
