/* Rows of numbers with mean 0 and variance 1. */
#include <stdint.h>

/* y = (x - mean) * scale, scale = 1 / sqrt(variance + 1e-5), row by row.  [rows, width], [rows] */
void normalise(const float *x, float *y, float *scale, int64_t rows, int64_t width);

/* From the slope of gain * y + shift to that of x, in place, and of gain and shift [width]. */
void pull_through_norm(float *slope, const float *y, const float *scale, const float *gain,
                       float *gain_slope, float *shift_slope, int64_t rows, int64_t width);
