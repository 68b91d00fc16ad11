/* Rows of logits: how likely the chosen one is, and its slope, each row read once from memory. */
#include <math.h>

#include "threads.h"
#include "vectors.h"

enum { TOGETHER = 8 }; /* rows */

/* logits and slope are float32 or, `narrow`, bfloat16, [rows, width]. */
typedef struct {
    const void *logits;
    const int64_t *banned; /* columns that are no actions */
    const int64_t *action; /* [rows] */
    float *score, *normaliser; /* [rows]: the action's logit; the log of the sum of e^logit */
    const float *weight;       /* [rows]: of each row's slope; or none: 1 */
    void *slope;               /* weight times (1 at the action, else 0, less the probability) */
    int64_t rows, width, banned_count, narrow;
    double scale; /* of the logits */
} Rows;

/* A row as float32, with -infinity where there is no action. */
static const float *read_row(const Rows *job, int64_t row)
{
    float *x = take_room(job->width);
    const float scale = job->scale;
    const int64_t from = row * job->width;
    for (int64_t i = 0; i < job->width; i += WIDE) {
        const int64_t left = job->width - i;
        const vector z = job->narrow ? widen((const uint16_t *)job->logits + from + i, left)
                                     : load((const float *)job->logits + from + i, left);
        store(x + i, z * scale, left);
    }
    for (int64_t i = 0; i < job->banned_count; i++)
        x[job->banned[i]] = -INFINITY;
    return x;
}

/* e^x, and 0 below e^-87. */
static inline vector raise(vector x)
{
    const vector zero = {0}, low = zero - 87.0f;
    return choose(x < low, zero, exponential(choose(x < low, low, x)));
}

static void score_row(const Rows *job, int64_t row)
{
    const float *x = read_row(job, row);
    const vector none = (vector){0} - INFINITY;
    vector most = none, sum = {0};
    const int64_t whole_vectors = job->width / WIDE * WIDE;
    float top = -INFINITY, total = 0;
    for (int64_t i = 0; i < whole_vectors; i += WIDE) {
        const vector z = load(x + i, WIDE);
        most = choose(z > most, z, most);
    }
    for (int i = 0; i < WIDE; i++)
        top = most[i] > top ? most[i] : top;
    for (int64_t i = whole_vectors; i < job->width; i++)
        top = x[i] > top ? x[i] : top;
    for (int64_t i = 0; i < whole_vectors; i += WIDE)
        sum += raise(load(x + i, WIDE) - top);
    for (int64_t i = whole_vectors; i < job->width; i++)
        total += expf(x[i] - top);
    job->score[row] = x[job->action[row]];
    job->normaliser[row] = top + logf(total + add_up(sum));
}

static void slope_row(const Rows *job, int64_t row)
{
    const float *x = read_row(job, row);
    const float weight = job->weight ? job->weight[row] : 1, least = job->normaliser[row];
    const int64_t to = row * job->width, action = job->action[row];
    for (int64_t i = 0; i < job->width; i += WIDE) {
        const int64_t left = job->width - i;
        const vector slope = raise(load(x + i, left) - least) * -weight;
        if (job->narrow)
            narrow((uint16_t *)job->slope + to + i, slope, left);
        else
            store((float *)job->slope + to + i, slope, left);
    }
    const vector own = {(1 - expf(x[action] - least)) * weight};
    if (job->narrow)
        narrow((uint16_t *)job->slope + to + action, own, 1);
    else
        store((float *)job->slope + to + action, own, 1);
}

static void score_piece(const void *given, long piece)
{
    const Rows *job = given;
    for (int64_t i = piece * TOGETHER; i < (piece + 1) * TOGETHER && i < job->rows; i++)
        score_row(job, i);
}

static void slope_piece(const void *given, long piece)
{
    const Rows *job = given;
    for (int64_t i = piece * TOGETHER; i < (piece + 1) * TOGETHER && i < job->rows; i++)
        slope_row(job, i);
}

void score_rows(const Rows *job, int threads)
{
    run_in_team(score_piece, job, (job->rows + TOGETHER - 1) / TOGETHER, threads);
}

void slope_rows(const Rows *job, int threads)
{
    run_in_team(slope_piece, job, (job->rows + TOGETHER - 1) / TOGETHER, threads);
}
