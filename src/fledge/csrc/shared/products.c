/* Products of matrices, panel by panel: a panel of the matrix on the right is copied so that its
 * rows lie one behind the other, and a tile of ROWS x 2 vectors stays in registers along the inner
 * dimension. Read where it lies, a matrix of 256 columns has all its rows in the same few sets of
 * the nearest cache, and each comes anew from the next. Every sum runs in one order, whoever
 * computes it.
 */
#include "products.h"
#include "vectors.h"

#ifdef __clang__
#define MIX(low, high, ...) __builtin_shufflevector(low, high, __VA_ARGS__)
#else
#define MIX(low, high, ...) __builtin_shuffle(low, high, (whole){__VA_ARGS__})
#endif
#if defined(__AVX512F__)
#define LOWER(x, y) MIX(x, y, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define UPPER(x, y) MIX(x, y, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#else
#define LOWER(x, y) MIX(x, y, 0, 8, 1, 9, 2, 10, 3, 11)
#define UPPER(x, y) MIX(x, y, 4, 12, 5, 13, 6, 14, 7, 15)
#endif

int64_t count_panels(int64_t m) { return (m + 2 * WIDE - 1) / (2 * WIDE); }

/* A square of WIDE x WIDE: rows become columns, each round interleaving one half with the other. */
static void turn_square(const float *from, int64_t from_row, float *to, int64_t to_row)
{
    vector x[WIDE], y[WIDE];
#pragma GCC unroll 16
    for (int i = 0; i < WIDE; i++)
        x[i] = *(const loose *)(from + i * from_row);
#pragma GCC unroll 4
    for (int round = 1; round < WIDE; round *= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < WIDE / 2; i++) {
            y[2 * i] = LOWER(x[i], x[i + WIDE / 2]);
            y[2 * i + 1] = UPPER(x[i], x[i + WIDE / 2]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < WIDE; i++)
            x[i] = y[i];
    }
#pragma GCC unroll 16
    for (int i = 0; i < WIDE; i++)
        *(loose *)(to + i * to_row) = x[i];
}

/* `wide` vectors of columns, row behind row; where there are no more columns, zeros. */
void pack_panel(const Product *p, int64_t number)
{
    const int64_t j = number * 2 * WIDE, left = p->m - j, wide = left > WIDE ? 2 : 1;
    float *to = p->panels + number * p->panel;
    for (int64_t v = 0; v < wide; v++, to += WIDE) {
        const int64_t many = left - v * WIDE < WIDE ? left - v * WIDE : WIDE, row = wide * WIDE;
        int64_t t = 0;
        if (!p->turned) {
            for (; t < p->inner; t++)
                *(loose *)(to + t * row) = load(p->b + t * p->b_row + j + v * WIDE, many);
            continue;
        }
        const float *from = p->b + (j + v * WIDE) * p->b_row;
        if (many == WIDE)
            for (; t + WIDE <= p->inner; t += WIDE)
                turn_square(from + t, p->b_row, to + t * row, row);
        for (; t < p->inner; t++)
            for (int64_t i = 0; i < WIDE; i++)
                to[t * row + i] = i < many ? from[i * p->b_row + t] : 0.0f;
    }
}

/* Rows i and on of C, `rows` of them, `wide` vectors from column j on. */
static inline __attribute__((always_inline)) void multiply_tile(
    const int rows, const int wide, const Product *p, int64_t i, int64_t j, const float *panel)
{
    /* Copied, since for all that the compiler knows C could lie where p does. */
    const int64_t inner = p->inner, a_row = p->a_row, a_column = p->a_column, c_row = p->c_row;
    const int64_t left = p->m - j;
    const float *a = p->a + i * a_row;
    float *c = p->c + i * c_row + j;
    vector sum[ROWS][2];
#pragma GCC unroll 2
    for (int v = 0; v < wide; v++) {
        const vector start = p->bias ? load(p->bias + j + v * WIDE, left - v * WIDE) : (vector){0};
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
            sum[r][v] = p->adds ? load(c + r * c_row + v * WIDE, left - v * WIDE) : start;
    }
    for (int64_t t = 0; t < inner; t++, panel += wide * WIDE, a += a_column) {
        vector right[2];
#pragma GCC unroll 2
        for (int v = 0; v < wide; v++)
            right[v] = *(const loose *)(panel + v * WIDE);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            const float one = a[r * a_row];
#pragma GCC unroll 2
            for (int v = 0; v < wide; v++)
                sum[r][v] += one * right[v];
        }
    }
    if (left >= wide * WIDE)
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
            for (int v = 0; v < wide; v++)
                *(loose *)(c + r * c_row + v * WIDE) = sum[r][v];
    else
        for (int r = 0; r < rows; r++)
            for (int v = 0; v < wide; v++)
                store(c + r * c_row + v * WIDE, sum[r][v], left - v * WIDE);
}

void multiply_packed(const Product *p, int64_t number)
{
    const int64_t j = number * 2 * WIDE;
    const int two = p->m - j > WIDE;
    const float *panel = p->panels + number * p->panel;
    int64_t i = 0;
#define TILES(rows)                                                                                \
    for (; i + rows <= p->n; i += rows)                                                            \
        if (two)                                                                                   \
            multiply_tile(rows, 2, p, i, j, panel);                                                \
        else                                                                                       \
            multiply_tile(rows, 1, p, i, j, panel)
    TILES(ROWS);
    TILES(2);
    TILES(1);
#undef TILES
}

void multiply_panel(const Product *p, int64_t number)
{
    pack_panel(p, number);
    multiply_packed(p, number);
}
