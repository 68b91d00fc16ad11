/* Weights into the tiles that products.c reads. */
#include <stdatomic.h>

#include "numbers.h"

#ifdef __AVX512F__

/* A weight [outputs, inputs] into tiles. gated: a tile is sixteen rows of the first half and the
 * sixteen of the second that belong to them. 8 bits: the nearest of 127 steps to the greatest number
 * of a row, which become scale and shifts. */
struct Packing {
    int kind, steps, gated;
    long outputs, inputs;
    const float *weight;
    char *packed;
    float *scale;
    int32_t *shifts;
    atomic_int *failed; /* there was no memory */
};

/* A row of W in 8 bits. */
static void quantise_row(const struct Packing *job, long o, const float *row, int8_t *line) {
    const float most = find_greatest(row, job->inputs), scale = most / 127;
    if (!isfinite(most)) { /* the line is zero */
        job->scale[o] = NAN, job->shifts[o] = 0;
        return;
    }
    int32_t sum = 0;
    for (long i = 0; i < job->inputs; i++) {
        const int32_t whole = (int32_t)rintf(row[i] / scale);
        line[i] = (int8_t)whole;
        sum += whole;
    }
    job->scale[o] = scale;
    job->shifts[o] = 128 * sum;
}

static void pack_tile(const void *argument, long tile) {
    const struct Packing *job = argument;
    const long n = job->inputs, steps = job->steps, half = TILE / 2;
    const long rest = job->outputs - tile * TILE, rows = rest < TILE ? rest : TILE;
    const int kind = job->kind, bytes = kind == FLOAT16 ? 2 : 4; /* of a step of one row */
    char *out = job->packed + tile * steps * TILE * bytes;
    char *lines = calloc(TILE, steps * bytes + 1); /* some libraries give NULL for nothing */
    if (lines == NULL) {
        atomic_store(job->failed, 1);
        return;
    }
    for (long at = 0; at < rows; at++) {
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
    for (long k = 0; k < steps; k += 16)
        for (long at = 0; at < TILE; at++)
            for (long j = k; j < k + 16 && j < steps; j++)
                if (bytes == 4)
                    ((uint32_t *)out)[j * TILE + at] = ((uint32_t *)lines)[at * steps + j];
                else
                    ((uint16_t *)out)[j * TILE + at] = ((uint16_t *)lines)[at * steps + j];
    free(lines);
}

/* -> 0, or 1 where there is no memory */
int pack(int kind, int steps, int gated, long outputs, long inputs, const float *weight, char *packed,
         float *scale, int32_t *shifts, int threads) {
    atomic_int failed = 0;
    const struct Packing job = {kind,   steps, gated,  outputs, inputs,
                                weight, packed, scale, shifts,  &failed};
    run_pieces(pack_tile, &job, (outputs + TILE - 1) / TILE, threads);
    return atomic_load(&failed);
}

#endif
