/* What products, norms and perceptrons share: whole vectors of numbers, and a product in pieces. */
#include <stdint.h>
#include <string.h>

#include "threads.h"

#ifdef __AVX512F__
enum { WIDE = 16, ROWS = 8 };
#else
enum { WIDE = 8, ROWS = 4 };
#endif

typedef float vector __attribute__((vector_size(WIDE * 4)));
typedef float loose __attribute__((vector_size(WIDE * 4), aligned(4), may_alias));
typedef int32_t whole __attribute__((vector_size(WIDE * 4)));

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

/* C [n, m] = A [n, inner] B [inner, m] + bias [m], or without one. B lies row by row or, `turned`,
 * column by column, each b_row behind the one before. A piece of the work is a panel of 2 * WIDE
 * columns of C; panels: room for count_panels(m) * 2 * WIDE * inner numbers.
 */
typedef struct {
    int64_t n, m, inner;
    const float *a;
    int64_t a_row, a_column;
    const float *b;
    int64_t b_row, turned;
    const float *bias;
    float *c, *panels;
} Product;

int64_t count_panels(int64_t m);

void multiply_panel(const Product *product, int64_t panel);

/* y = (x - mean) * scale, scale = 1 / sqrt(variance + 1e-5), row by row.  [rows, width], [rows] */
void normalise(const float *x, float *y, float *scale, int64_t rows, int64_t width);

/* From the slope of gain * y + shift to that of x, in place, and of gain and shift [width]. */
void pull_through_norm(float *slope, const float *y, const float *scale, const float *gain,
                       float *gain_slope, float *shift_slope, int64_t rows, int64_t width);
