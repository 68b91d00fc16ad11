/* Rows of numbers with mean 0 and variance 1 (Ba et al. 2016), forward and backward. */
#include <math.h>

#include "norms.h"
#include "vectors.h"

void normalise(const float *x, float *y, float *scale, int64_t rows, int64_t width)
{
    const vector zero = {0};
    for (int64_t r = 0; r < rows; r++, x += width, y += width) {
        vector sum = zero, squares = zero;
        for (int64_t i = 0; i < width; i += WIDE)
            sum += load(x + i, width - i);
        const float mean = add_up(sum) / width;
        for (int64_t i = 0; i < width; i += WIDE) {
            vector off = load(x + i, width - i) - mean;
            store(y + i, off, width - i);
            off = load(y + i, width - i); /* what lies behind the row counts for nothing */
            squares += off * off;
        }
        scale[r] = 1.0f / sqrtf(add_up(squares) / width + 1e-5f);
        for (int64_t i = 0; i < width; i += WIDE)
            store(y + i, load(y + i, width - i) * scale[r], width - i);
    }
}

void pull_through_norm(float *slope, const float *y, const float *scale, const float *gain,
                       float *gain_slope, float *shift_slope, int64_t rows, int64_t width)
{
    if (gain_slope) {
        memset(gain_slope, 0, width * sizeof(float));
        memset(shift_slope, 0, width * sizeof(float));
    }
    for (int64_t r = 0; r < rows; r++, slope += width, y += width) {
        const vector zero = {0};
        vector sum = zero, along = zero;
        for (int64_t i = 0; i < width; i += WIDE) {
            const int64_t left = width - i;
            const vector g = load(slope + i, left), of_y = load(y + i, left);
            if (gain_slope) {
                store(gain_slope + i, load(gain_slope + i, left) + g * of_y, left);
                store(shift_slope + i, load(shift_slope + i, left) + g, left);
            }
            const vector down = g * load(gain + i, left);
            sum += down;
            along += down * of_y;
            store(slope + i, down, left);
        }
        const float mean = add_up(sum) / width, turn = add_up(along) / width;
        for (int64_t i = 0; i < width; i += WIDE) {
            const vector down = load(slope + i, width - i), of_y = load(y + i, width - i);
            store(slope + i, (down - mean - of_y * turn) * scale[r], width - i);
        }
    }
}
