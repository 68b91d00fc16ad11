/* Numbers many at a time, and random ones out of a counter. */
#include <math.h>
#include <stdint.h>

enum { LANES = 16 }; /* numbers in a vector */

typedef float Lane __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t Bits __attribute__((vector_size(LANES * 4)));
typedef float Half __attribute__((vector_size(LANES * 2)));
typedef float Quarter __attribute__((vector_size(LANES)));

static inline uint64_t mix(uint64_t x) { /* splitmix64, Steele et al. 2014 */
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static inline uint64_t draw(uint64_t key, uint64_t number) {
    return mix(key + number * 0x9e3779b97f4a7c15u);
}

static inline float add_up(Lane x) {
    Half h = __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7)
             + __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15);
    Quarter q = __builtin_shufflevector(h, h, 0, 1, 2, 3)
                + __builtin_shufflevector(h, h, 4, 5, 6, 7);
    q += __builtin_shufflevector(q, q, 2, 3, 0, 1);
    return q[0] + q[1];
}

/* log(1 + e^x), without overflow */
static inline float soften(float x) { return x > 0 ? x + log1pf(expf(-x)) : log1pf(expf(x)); }

/* a where the mask says so, else b */
static inline Lane choose(Bits mask, Lane a, Lane b) {
    return (Lane)(((Bits)a & mask) | ((Bits)b & ~mask));
}

/* 1 / (1 + e^−x) to 1e-6; e^y is 2^n times a polynomial of what is left. */
static inline void squash(Lane *x) {
    const float nearest = 12582912; /* 1.5 · 2^23: added and taken away, it rounds */
    Lane y = *x * -1.44269504f;
    y = choose(y < -120.f, (Lane){0} - 120.f, y);
    y = choose(y > 120.f, (Lane){0} + 120.f, y);
    Lane whole = (y + nearest) - nearest, f = y - whole;
    Bits bits = (__builtin_convertvector(whole, Bits) + 127) << 23;
    Lane e = 1.f + f * (0.69314718f + f * (0.24022651f + f * (0.05550411f + f * (0.00961813f
             + f * (0.00133336f + f * 0.00015404f)))));
    *x = 1.f / (1.f + e * (Lane)bits);
}
