/* Whole vectors of numbers, as wide as the processor takes, of float32 and bfloat16. */
#ifndef VECTORS_H
#define VECTORS_H
#include <stdint.h>
#include <string.h>

#ifdef __AVX512F__
enum { WIDE = 16, ROWS = 8 };
#else
enum { WIDE = 8, ROWS = 4 };
#endif

typedef float vector __attribute__((vector_size(WIDE * 4)));
typedef float loose __attribute__((vector_size(WIDE * 4), aligned(4), may_alias));
typedef int32_t whole __attribute__((vector_size(WIDE * 4)));
typedef uint32_t bits __attribute__((vector_size(WIDE * 4)));
typedef uint16_t halves __attribute__((vector_size(WIDE * 2), aligned(2), may_alias));

static inline vector load(const float *from, int64_t count)
{
    vector x = {0};
    if (count >= WIDE)
        return *(const loose *)from;
    memcpy(&x, from, count * sizeof(float));
    return x;
}

static inline void store(float *to, vector x, int64_t count)
{
    if (count >= WIDE)
        *(loose *)to = x;
    else
        memcpy(to, &x, count * sizeof(float));
}

/* Number by number: `yes` where the mask is set, bit by bit. */
static inline vector choose(whole mask, vector yes, vector no)
{
    return (vector)((mask & (whole)yes) | (~mask & (whole)no));
}

/* e^x within +-87: 2^n times a polynomial (Cephes' expf). */
static inline vector exponential(vector x)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23: a sum with it has no fraction */
    vector n = (x * 1.44269504f + magic) - magic;
    vector r = x - n * 0.693359375f + n * 2.12194440e-4f;
    vector p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    whole power = (__builtin_convertvector(n, whole) + 127) << 23;
    vector scale;
    memcpy(&scale, &power, sizeof scale);
    return p * scale;
}


static inline vector widen(const uint16_t *from, int64_t count)
{
    halves x = {0};
    if (count >= WIDE)
        x = *(const halves *)from;
    else
        memcpy(&x, from, count * sizeof(uint16_t));
    return (vector)(__builtin_convertvector(x, bits) << 16);
}

/* To the nearer, to the even one between two; what is no number stays none. */
static inline void narrow(uint16_t *to, vector x, int64_t count)
{
    const bits u = (bits)x, even = (u >> 16) & 1, whole_one = (u & 0x7fffffff) > 0x7f800000;
    const bits rounded = (u + 0x7fff + even) >> 16;
    const bits chosen = (whole_one & 0x7fc0) | (~whole_one & rounded);
    const halves y = __builtin_convertvector(chosen, halves);
    if (count >= WIDE)
        *(halves *)to = y;
    else
        memcpy(to, &y, count * sizeof(uint16_t));
}

static inline float add_up(vector x)
{
    float sum = 0;
    for (int i = 0; i < WIDE; i++)
        sum += x[i];
    return sum;
}

#endif
