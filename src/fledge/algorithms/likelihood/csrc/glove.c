/* Steps of GloVe, a cell of the co-occurrence matrix at a time, by AdaGrad; `glove_updates.py`
 * beside this folder is the same in NumPy, with the equations.
 */
#include <math.h>
#include <stdint.h>

enum { CELLS = 4096 }; /* that a thread takes at a time */

/* As `GloveWork` in word_kernel.py. A row holds P numbers of a vector; `squares` their sums. */
typedef struct {
    const int32_t *rows, *columns;
    const float *logs, *weights;  /* log X and f(X) of each cell */
    const int64_t *order;         /* in which the cells come */
    int64_t *next, end, P;
    float *words, *contexts, *word_squares, *context_squares;
    float *word_bias, *context_bias, *word_bias_squares, *context_bias_squares;
    float rate;
} GloveWork;

static inline void step_number(float *x, float *square, float slope, float rate) {
    *x -= rate * slope / sqrtf(*square);
    *square += slope * slope;
}

static inline double step_cell(const GloveWork *g, int64_t cell) {
    int64_t i = g->rows[cell], j = g->columns[cell], P = g->P;
    float *restrict a = g->words + i * P, *restrict b = g->contexts + j * P;
    float *restrict aa = g->word_squares + i * P, *restrict bb = g->context_squares + j * P;
    float parts[16] = {0}, rate = g->rate;
    for (int64_t p = 0; p < P; p += 16)
        for (int l = 0; l < 16; l++) parts[l] += a[p + l] * b[p + l];
    float error = g->word_bias[i] + g->context_bias[j] - g->logs[cell];
    for (int l = 0; l < 16; l++) error += parts[l];
    float slope = g->weights[cell] * error;
    for (int64_t p = 0; p < P; p++) {
        float of_a = slope * b[p], of_b = slope * a[p];
        a[p] -= rate * of_a / sqrtf(aa[p]);
        b[p] -= rate * of_b / sqrtf(bb[p]);
        aa[p] += of_a * of_a;
        bb[p] += of_b * of_b;
    }
    step_number(g->word_bias + i, g->word_bias_squares + i, slope, rate);
    step_number(g->context_bias + j, g->context_bias_squares + j, slope, rate);
    return 0.5 * slope * error;
}

/* Takes cells until none is left. */
void fit_cells(const GloveWork *g, double *loss) {
    double sum = 0;
    for (;;) {
        int64_t first = __atomic_fetch_add(g->next, CELLS, __ATOMIC_RELAXED);
        if (first >= g->end) break;
        int64_t end = first + CELLS < g->end ? first + CELLS : g->end;
        for (int64_t n = first; n < end; n++) sum += step_cell(g, g->order[n]);
    }
    *loss = sum;
}
