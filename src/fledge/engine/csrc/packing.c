/* Weights into the tiles that products.c reads. */
#include "numbers.h"

#ifdef __AVX512F__

/* A weight [outputs, inputs] into tiles. gated: a tile is sixteen rows of the first half and the sixteen of the second that belong to them.
 * 8 bits: the nearest of 127 steps to
 * the greatest number of a row, which become scale and shifts. */
struct Packing {
    int kind, steps, gated;
    long outputs, inputs;
    const float *weight;
    char *packed;
    float *scale;
    int32_t *shifts;
};

/* A row of W in 8 bits. */
static void quantise_row(const struct Packing *job, long o, const float *row, int8_t *line) {
    float most = FLT_MIN;
    for (long i = 0; i < job->inputs; i++) {
        const float size = fabsf(row[i]);
        most = size > most ? size : most;
    }
    const float scale = most / 127, squares = sum_squares(row, job->inputs);
    int32_t sum = 0;
    for (long i = 0; i < job->inputs; i++) {
        const int32_t whole = (int32_t)rintf(row[i] / scale);
        line[i] = (int8_t)whole;
        sum += whole;
    }
    job->scale[o] = squares - squares == 0 ? scale : NAN;
    job->shifts[o] = 128 * sum;
}

static void pack_tile(const void *argument, long tile) {
    const struct Packing *job = argument;
    const long n = job->inputs, steps = job->steps, half = TILE / 2;
    const long rest = job->outputs - tile * TILE, rows = rest < TILE ? rest : TILE;
    const int kind = job->kind, bytes = kind == FLOAT16 ? 2 : 4; /* of a step of one row */
    char *out = job->packed + tile * steps * TILE * bytes;
    char *lines = calloc(TILE, steps * bytes);
    for (long at = 0; at < rows && lines != NULL; at++) {
        const long up = at < half ? tile * half + at : job->outputs / 2 + tile * half + at - half;
        const float *row = job->weight + (job->gated ? up : tile * TILE + at) * n;
        char *line = lines + at * steps * bytes;
        if (kind == FLOAT32) memcpy(line, row, n * sizeof(float));
        if (kind == FLOAT16)
            for (long i = 0; i < n; i++) ((uint16_t *)line)[i] = (uint16_t)_cvtss_sh(row[i], 0);
        if (kind == BFLOAT16) round_row(row, n, (uint16_t *)line);
        if (kind == INT8) quantise_row(job, tile * TILE + at, row, (int8_t *)line);
    }
    /* Sixteen steps of all rows at a time: they stay in the first cache. */
    for (long k = 0; k < steps && lines != NULL; k += 16)
        for (long at = 0; at < TILE; at++)
            for (long j = k; j < k + 16 && j < steps; j++)
                if (bytes == 4)
                    ((uint32_t *)out)[j * TILE + at] = ((uint32_t *)lines)[at * steps + j];
                else
                    ((uint16_t *)out)[j * TILE + at] = ((uint16_t *)lines)[at * steps + j];
    free(lines);
}

void pack(int kind, int steps, int gated, long outputs, long inputs, const float *weight, char *packed,
          float *scale, int32_t *shifts, int threads) {
    const struct Packing job = {kind, steps, gated, outputs, inputs, weight, packed, scale, shifts};
    run_pieces(pack_tile, &job, (outputs + TILE - 1) / TILE, threads);
}

#endif
