/* A small perceptron, forward and backward, each in one call: of 64 rows through two layers of 64
 * torch's dozens of operations cost several times what they compute.
 *
 * Matrices lie row by row. A product is made of tiles of ROWS x 2 vectors, which stay in registers
 * along the inner dimension; the matrix on its right lies in rows of whole vectors, for which
 * narrower ones are copied, with zeros behind. Every sum runs in one order: the same rows give the
 * same bits.
 */

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

enum { TANH = 0, RELU = 1 };

typedef struct {
    const float *weight, *bias; /* [outside, inside], [outside] */
    int64_t inside, outside;
} Layer;

/* hidden: what each layer but the last says, [rows, outside], one behind the other. gradient: of
 * each layer's weight, then of its bias, one behind the other; or none. slope_inside: or none.
 * room: for the largest matrix copied, a bias, and two of rows x the widest layer.
 */
typedef struct {
    const Layer *layers;
    const float *inside;
    float *hidden, *outside;
    const float *slope_outside;
    float *gradient, *slope_inside, *room;
    int64_t depth, rows, activation;
} Work;

static int64_t fill_up(int64_t n) { return (n + WIDE - 1) / WIDE * WIDE; }

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* Number by number: `yes` where the mask is set, bit by bit. */
static inline vector choose(whole mask, vector yes, vector no)
{
    return (vector)((mask & (whole)yes) | (~mask & (whole)no));
}

/* e^x within +-18: 2^n times a polynomial (Cephes' expf). */
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

/* What is no number stays none: every comparison with it is false. */
static inline vector activate(vector x, int64_t activation)
{
    const vector zero = {0}, most = zero + 9.0f;
    if (activation == RELU)
        return choose(x < zero, zero, x);
    x = choose(x > most, most, x);
    x = choose(x < -most, -most, x);
    return 1.0f - 2.0f / (exponential(2.0f * x) + 1.0f); /* tanh */
}

/* The slope times the derivative, by what was said. */
static inline vector pull_back(vector slope, vector said, int64_t activation)
{
    const vector zero = {0};
    if (activation == RELU)
        return choose(said > zero, slope, zero);
    return slope * (1.0f - said * said);
}

static inline vector load(const float *from, int64_t count)
{
    vector x = {0};
    memcpy(&x, from, (count < WIDE ? count : WIDE) * sizeof(float));
    return x;
}

static inline void store(float *to, vector x, int64_t count)
{
    if (count >= WIDE)
        *(loose *)to = x;
    else
        memcpy(to, &x, count * sizeof(float));
}

/* `rows` x `wide` vectors of A B + bias, of which `left` columns are wanted. */
static inline __attribute__((always_inline)) void multiply_tile(
    const int rows, const int wide, int64_t inner, const float *a, int64_t a_row, int64_t a_column,
    const float *b, int64_t b_row, const float *bias, float *c, int64_t c_row, int64_t left)
{
    vector sum[ROWS][2];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int j = 0; j < wide; j++)
            sum[i][j] = bias ? load(bias + j * WIDE, WIDE) : (vector){0};
    for (int64_t t = 0; t < inner; t++) {
        vector right[2];
#pragma GCC unroll 2
        for (int j = 0; j < wide; j++)
            right[j] = *(const loose *)(b + t * b_row + j * WIDE);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            float one = a[i * a_row + t * a_column];
#pragma GCC unroll 2
            for (int j = 0; j < wide; j++)
                sum[i][j] += one * right[j];
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int j = 0; j < wide; j++)
            store(c + i * c_row + j * WIDE, sum[i][j], left - j * WIDE);
}

/* C [n, m] = A [n, inner] B [inner, m] + bias [m]; B and bias in whole vectors. */
static void multiply(
    int64_t n, int64_t m, int64_t inner, const float *a, int64_t a_row, int64_t a_column,
    const float *b, int64_t b_row, const float *bias, float *c, int64_t c_row)
{
#define TILE(rows, wide)                                                                           \
    multiply_tile(rows, wide, inner, a + i * a_row, a_row, a_column, b + j, b_row,                 \
                  bias ? bias + j : 0, c + i * c_row + j, c_row, m - j)
    for (int64_t j = 0; j < m;) {
        int two = m - j > WIDE;
        int64_t i = 0;
        for (; i + ROWS <= n; i += ROWS)
            if (two)
                TILE(ROWS, 2);
            else
                TILE(ROWS, 1);
        for (; i < n; i++)
            if (two)
                TILE(1, 2);
            else
                TILE(1, 1);
        j += two ? 2 * WIDE : WIDE;
    }
#undef TILE
}

/* The matrix [n, m] in rows of whole vectors: itself, or a copy in `room`. */
static const float *widen(const float *x, int64_t n, int64_t m, float *room, int64_t *row)
{
    *row = fill_up(m);
    if (*row == m)
        return x;
    for (int64_t i = 0; i < n; i++) {
        memcpy(room + i * *row, x + i * m, m * sizeof(float));
        memset(room + i * *row + m, 0, (*row - m) * sizeof(float));
    }
    return room;
}

/* W' [inside, outside] in rows of whole vectors. */
static const float *turn(const Layer *layer, float *room, int64_t *row)
{
    *row = fill_up(layer->outside);
    for (int64_t i = 0; i < layer->inside; i++) {
        for (int64_t o = 0; o < layer->outside; o++)
            room[i * *row + o] = layer->weight[o * layer->inside + i];
        memset(room + i * *row + layer->outside, 0, (*row - layer->outside) * sizeof(float));
    }
    return room;
}

/* Numbers of the largest matrix that is copied, and of the widest layer. */
static int64_t measure(const Work *work, int64_t *widest)
{
    int64_t most = 0;
    *widest = 0;
    for (int64_t l = 0; l < work->depth; l++) {
        const Layer *layer = work->layers + l;
        int64_t wide = larger(fill_up(layer->inside), fill_up(layer->outside));
        *widest = larger(*widest, wide);
        most = larger(most, wide * larger(work->rows, larger(layer->inside, layer->outside)));
    }
    return most;
}

/* How many numbers `room` is to have. */
int64_t count_room(const Work *work)
{
    int64_t widest, most = measure(work, &widest);
    return most + widest + 2 * work->rows * widest;
}

void say(const Work *work)
{
    int64_t widest, most = measure(work, &widest);
    float *bias = work->room + most;
    const float *x = work->inside;
    float *said = work->hidden;
    for (int64_t l = 0; l < work->depth; l++) {
        const Layer *layer = work->layers + l;
        int64_t row, last = l + 1 == work->depth, numbers = work->rows * layer->outside;
        float *out = last ? work->outside : said;
        const float *right = turn(layer, work->room, &row);
        memcpy(bias, layer->bias, layer->outside * sizeof(float));
        memset(bias + layer->outside, 0, (row - layer->outside) * sizeof(float));
        multiply(work->rows, layer->outside, layer->inside, x, layer->inside, 1, right, row, bias,
                 out, layer->outside);
        if (!last)
            for (int64_t i = 0; i < numbers; i += WIDE)
                store(out + i, activate(load(out + i, numbers - i), work->activation),
                      numbers - i);
        x = out;
        said += numbers;
    }
}

void learn(const Work *work)
{
    int64_t widest, most = measure(work, &widest), rows = work->rows;
    float *slopes[2] = {work->room + most + widest, work->room + most + widest + rows * widest};
    const float *slope = work->slope_outside;
    float *said = work->hidden, *gradient = work->gradient;
    for (int64_t l = 0; l < work->depth; l++) {
        const Layer *layer = work->layers + l;
        said += l + 1 < work->depth ? rows * layer->outside : 0;
        gradient += gradient ? layer->outside * (layer->inside + 1) : 0;
    }
    for (int64_t l = work->depth - 1; l >= 0; l--) {
        const Layer *layer = work->layers + l;
        int64_t row, inside = layer->inside, outside = layer->outside, numbers = rows * inside;
        said -= l ? numbers : 0;
        if (gradient) {
            gradient -= outside * (inside + 1);
            float *bias = gradient + outside * inside;
            const float *x = widen(l ? said : work->inside, rows, inside, work->room, &row);
            multiply(outside, inside, rows, slope, 1, outside, x, row, 0, gradient, inside);
            memset(bias, 0, outside * sizeof(float));
            for (int64_t i = 0; i < rows; i++)
                for (int64_t o = 0; o < outside; o++)
                    bias[o] += slope[i * outside + o];
        }
        if (!l && !work->slope_inside)
            break;
        float *below = l ? slopes[l % 2] : work->slope_inside;
        const float *weight = widen(layer->weight, outside, inside, work->room, &row);
        multiply(rows, inside, outside, slope, outside, 1, weight, row, 0, below, inside);
        if (l)
            for (int64_t i = 0; i < numbers; i += WIDE) {
                vector x = load(below + i, numbers - i), y = load(said + i, numbers - i);
                store(below + i, pull_back(x, y, work->activation), numbers - i);
            }
        slope = below;
    }
}
