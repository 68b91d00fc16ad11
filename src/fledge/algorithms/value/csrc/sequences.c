/* Sequences of actions followed in an ensemble of perceptrons: rows lie side by side in vectors, so
   that a member's weights are read once for ROWS of them and everything between two products
   happens in registers. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

enum { LANES = 16, PAIR = 2, ROWS = LANES * PAIR };

typedef float Lane __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t Bits __attribute__((vector_size(LANES * 4)));

typedef struct {
    const float *weight, *bias; /* [members, inside, outside], [members, outside] */
    int64_t inside, outside;
} Layer;

typedef struct {
    const Layer *change, *ends;
    const float *seen_mean, *seen_shrink;       /* [O]; shrink: 1 / spread */
    const float *changed_mean, *changed_spread; /* [O + 1] */
    const float *most, *least;                  /* [O + 1]: variances, of scaled numbers */
    const float *obs;                           /* [B, O] */
    const float *numbers;                       /* [B·N, H, A], or NULL */
    const int64_t *choices;                     /* [B·N, H], or NULL */
    const float *noise;                         /* [H, members, B·N, O + 1], or NULL */
    float *state, *worth, *going;               /* [members, B·N, O]; [members, B·N] each */
    int64_t change_depth, end_depth, members, rows, candidates, horizon, width, acted, widest;
    float gamma, farthest;
} Work;

static inline Lane fill(float x) { return (Lane){0} + x; }

static inline Lane choose(Bits mask, Lane a, Lane b) {
    return (Lane)(((Bits)a & mask) | ((Bits)b & ~mask));
}

/* Between the two. */
static inline Lane hold(Lane x, float low, float high) {
    x = choose(x < low, fill(low), x);
    return choose(x > high, fill(high), x);
}

/* 1 / (1 + e^−x) to 1e-6: e^y is 2^n times a polynomial of what is left. */
static inline Lane squash(Lane x) {
    Lane y = x * -1.44269504f;
#ifdef __AVX512F__ /* a quarter of a wide layer's time is here */
    y = (Lane)_mm512_min_ps((__m512)y, _mm512_set1_ps(100));
    Lane whole = (Lane)_mm512_roundscale_ps((__m512)y, 0), f = y - whole;
#else
    const float nearest = 12582912; /* 1.5 · 2^23: added and taken away, it rounds */
    y = hold(y, -100, 100);
    Lane whole = (y + nearest) - nearest, f = y - whole;
#endif
    Lane e = 1.f + f * (0.69314718f + f * (0.24022651f + f * (0.05550411f + f * (0.00961813f
             + f * (0.00133336f + f * 0.00015404f)))));
#ifdef __AVX512F__
    Lane under = 1.f + (Lane)_mm512_scalef_ps((__m512)e, (__m512)whole);
    /* A guess and Newton's step: a division costs more. */
    Lane guess = (Lane)_mm512_rcp14_ps((__m512)under);
    return guess * (2.f - under * guess);
#else
    return 1.f / (1.f + e * (Lane)((__builtin_convertvector(whole, Bits) + 127) << 23));
#endif
}

/* J outputs of all rows: y = x·w + bias, and y·σ(y) where `bent`.  x [inside][ROWS] */
static inline __attribute__((always_inline)) void multiply(
    const Lane *x, const float *w, const float *bias, int64_t inside, int64_t outside, Lane *y,
    int bent, const int J) {
    Lane sum[J][PAIR];
#pragma GCC unroll 12
    for (int j = 0; j < J; j++) sum[j][0] = sum[j][1] = fill(bias[j]);
    for (int64_t i = 0; i < inside; i++, w += outside) {
        Lane left = x[PAIR * i], right = x[PAIR * i + 1];
#pragma GCC unroll 12
        for (int j = 0; j < J; j++) {
            sum[j][0] += left * w[j];
            sum[j][1] += right * w[j];
        }
    }
#pragma GCC unroll 12
    for (int j = 0; j < J; j++)
        for (int p = 0; p < PAIR; p++)
            y[PAIR * j + p] = sum[j][p] * (bent ? squash(sum[j][p]) : fill(1));
}

/* A member's layers. a, b: room for the widest, [widest][ROWS] each.  -> where the result lies */
static const Lane *run(const Layer *layers, int64_t depth, int64_t member, const Lane *x, Lane *a,
                       Lane *b) {
    for (int64_t d = 0; d < depth; d++) {
        const Layer *l = layers + d;
        const float *w = l->weight + member * l->inside * l->outside;
        const float *bias = l->bias + member * l->outside;
        int bent = d + 1 < depth;
        int64_t j = 0, in = l->inside, out = l->outside;
        for (; j + 12 <= out; j += 12)
            multiply(x, w + j, bias + j, in, out, a + PAIR * j, bent, 12);
        for (; j + 4 <= out; j += 4)
            multiply(x, w + j, bias + j, in, out, a + PAIR * j, bent, 4);
        for (; j < out; j++) multiply(x, w + j, bias + j, in, out, a + PAIR * j, bent, 1);
        x = a, a = b, b = (Lane *)x;
    }
    return x;
}

/* The rows from `first` on of one member, all steps. x: the next input, [O + A][ROWS]; now: where
   it is, [O][ROWS]. A row beyond the last is the last once more, and is not written. */
static void follow(const Work *k, int64_t member, int64_t first, Lane *x, Lane *now, Lane *a,
                   Lane *b) {
    const int64_t O = k->width, A = k->acted, H = k->horizon, R = k->rows;
    int64_t row[ROWS];
    for (int r = 0; r < ROWS; r++) row[r] = first + r < R ? first + r : R - 1;
    float *flat = (float *)x, *here = (float *)now;
    for (int64_t o = 0; o < O; o++) {
        for (int r = 0; r < ROWS; r++)
            here[o * ROWS + r] = k->obs[row[r] / k->candidates * O + o];
        for (int p = 0; p < PAIR; p++)
            x[PAIR * o + p] = hold((now[PAIR * o + p] - k->seen_mean[o]) * k->seen_shrink[o],
                                   -k->farthest, k->farthest);
    }
    Lane worth[PAIR] = {{0}}, going[PAIR] = {fill(1), fill(1)};
    float discount = 1;
    for (int64_t t = 0; t < H; t++, discount *= k->gamma) {
        for (int64_t c = 0; c < A; c++)
            for (int r = 0; r < ROWS; r++)
                flat[(O + c) * ROWS + r] = k->choices
                    ? (float)(k->choices[row[r] * H + t] == c)
                    : k->numbers[(row[r] * H + t) * A + c];
        const Lane *said = run(k->change, k->change_depth, member, x, a, b);
        const float *noise = k->noise
            ? k->noise + (t * k->members + member) * R * (O + 1) : NULL;
        for (int64_t o = 0; o <= O; o++) {
            float drawn[ROWS];
            if (noise)
                for (int r = 0; r < ROWS; r++) drawn[r] = noise[row[r] * (O + 1) + o];
            for (int p = 0; p < PAIR; p++) {
                Lane change = said[PAIR * o + p];
                if (noise) { /* log-variances between two bounds: least + most·σ(raw − log most) */
                    Lane raw = said[PAIR * (O + 1 + o) + p] - logf(k->most[o]), spread;
                    Lane variance = k->least[o] + k->most[o] * squash(raw);
                    for (int r = 0; r < LANES; r++) spread[r] = sqrtf(variance[r]);
                    change += spread * ((Lane *)drawn)[p];
                }
                change = k->changed_mean[o] + change * k->changed_spread[o];
                if (o == O) {
                    worth[p] += discount * going[p] * change;
                } else {
                    Lane moved = now[PAIR * o + p] += change;
                    x[PAIR * o + p] = hold((moved - k->seen_mean[o]) * k->seen_shrink[o],
                                           -k->farthest, k->farthest);
                }
            }
        }
        const Lane *end = run(k->ends, k->end_depth, member, x, a, b);
        for (int p = 0; p < PAIR; p++) going[p] *= squash(-end[p]);
    }
    for (int r = 0; r < ROWS && first + r < R; r++) {
        int64_t place = member * R + first + r;
        k->worth[place] = ((float *)worth)[r];
        k->going[place] = ((float *)going)[r];
        for (int64_t o = 0; o < O; o++) k->state[place * O + o] = here[o * ROWS + r];
    }
}

/* The members from `first` to before `end`.  -> 0, or 1 without memory */
int follow_sequences(const Work *k, int64_t first, int64_t end) {
    const size_t line = ROWS * sizeof(float);
    const size_t lines = 2 * k->widest + k->width + k->acted + k->width;
    Lane *room = aligned_alloc(64, lines * line);
    if (!room) return 1;
    Lane *a = room, *b = a + PAIR * k->widest, *x = b + PAIR * k->widest;
    Lane *now = x + PAIR * (k->width + k->acted);
    for (int64_t member = first; member < end; member++)
        for (int64_t r = 0; r < k->rows; r += ROWS) follow(k, member, r, x, now, a, b);
    free(room);
    return 0;
}
