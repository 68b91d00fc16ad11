/* All layers of a transformer in one call: what their products and attention do, without a way back
 * to Python between them. Layers whose norms are root mean squares before attention and before a gated
 * MLP, added one after the other.
 */
#include "numbers.h"

#ifdef __AVX512F__

/* W, or W + B A where others share W. */
struct Matrix {
    const struct Weight *weight, *down, *up; /* down, up: A and B, or NULL */
};

struct Layer {
    struct Matrix qkv, out, gate_up, down;
    const float *attention_gain, *mlp_gain; /* [D] */
    const float *turn;                      /* [rows, turned / 2] complex numbers, or NULL */
    char *store;                            /* its KV cache */
    int64_t turned, window;
};

struct Network {
    const struct Layer *layers;
    struct Attention *attention; /* of these rows; what differs in a layer is written here */
    int64_t count, width, inner, rank; /* rank: the most that an A has */
    float eps;
    int32_t threads;
};

/* As `multiply`, which it is for W alone. room: [rows, rank] and [rows, outputs of W] */
static int apply(const struct Network *network, const struct Matrix *matrix, const float *x, long rows,
                 float eps, const float *gain, int gated, const float *other, float *room, float *y) {
    const int threads = network->threads;
    if (matrix->down != NULL) {
        float *low = room, *beside = room + rows * network->rank;
        if (multiply(matrix->down, x, rows, eps, gain, 0, NULL, low, threads) ||
            multiply(matrix->up, low, rows, -1, NULL, 0, other, beside, threads))
            return 1;
        other = beside;
    }
    return multiply(matrix->weight, x, rows, eps, gain, gated, other, y, threads);
}

/* h [rows, width], in place. -> 0, 1 where there is no memory, 2 where a row is outside of its slot */
int read_layers(const struct Network *network, float *h) {
    struct Attention *attention = network->attention;
    const long rows = attention->rows, inner = network->inner;
    const long heads = attention->heads * attention->width;
    const long qkv = heads + 2 * attention->kv_heads * attention->width;
    const long widest = 2 * inner > qkv ? 2 * inner : qkv;
    const long beside = network->rank + (widest > network->width ? widest : network->width);
    float *room = malloc((rows * (qkv + heads + inner + (network->rank ? beside : 0)) + 1) *
                         sizeof(float));
    if (room == NULL) return 1;
    float *y = room + rows * qkv, *hidden = y + rows * heads, *more = hidden + rows * inner;
    int failed = 0;
    for (long l = 0; l < network->count && !failed; l++) {
        const struct Layer *layer = network->layers + l;
        failed = apply(network, &layer->qkv, h, rows, network->eps, layer->attention_gain, 0, NULL,
                       more, room);
        if (failed) break;
        attention->qkv = room, attention->y = y, attention->store = layer->store;
        attention->turn = layer->turn, attention->turned = layer->turned;
        attention->window = layer->window;
        if (attend(attention)) failed = 2;
        else
            failed = apply(network, &layer->out, y, rows, -1, NULL, 0, h, more, h) ||
                     apply(network, &layer->gate_up, h, rows, network->eps, layer->mlp_gain, 1, NULL,
                           more, hidden) ||
                     apply(network, &layer->down, hidden, rows, -1, NULL, 0, h, more, h);
    }
    free(room);
    return failed;
}

#endif
