/* Steps of word vectors by stochastic gradient, a centre of a window at a time: skip-gram and CBOW,
 * over negative samples or the way down a Huffman tree. `word_updates.py` beside this folder is the
 * same in NumPy, draw for draw, with the equations.
 *
 * Threads that run it at once share the vectors without a lock (Hogwild, Recht et al. 2011).
 */
#include <stdlib.h>
#include <string.h>

#include "lanes.h"

enum { GROUP = 8 }; /* outputs that are held in registers */

/* As `Work` in word_kernel.py. P: numbers of a row, a multiple of LANES, 0 beyond the vector's. */
typedef struct {
    const int32_t *ids;
    const int64_t *begins;
    int64_t *next, first, end;  /* the next chunk that nobody has taken; the range of them */
    const float *rates;         /* of each chunk in the range */
    const uint32_t *keep;       /* of each word */
    const int64_t *row_begins;  /* of each word its rows of `in`; NULL: the row of its number */
    const int32_t *rows;
    const int64_t *node_begins; /* of each word its nodes; NULL: negative samples */
    const int32_t *nodes;
    const uint8_t *labels;
    const int32_t *noise;       /* the alias table of the noise, over `cells` words */
    const uint32_t *accept;
    const int32_t *alias;
    float *in, *out;
    int64_t P, cells, window, negatives, cbow;
    uint64_t seed, place;       /* place: of the first word of the text among all draws */
    int64_t every;              /* the loss of each so many-th word is counted */
} Work;

/* Of one centre: the rows of `out`, and what each should say. A Huffman code of 64 steps would need
 * a text of 10¹³ words.
 */
typedef struct { float *rows[64], labels[64]; int number; } Outputs;

typedef struct {
    float *h, *slope;      /* [E, P] the inputs, and the gradient by them */
    const float **input;   /* [E] where each input lies */
    int32_t *ids;          /* of the words that are kept, */
    int64_t *places;       /* where each stands in the text, */
    uint64_t *keys;        /* and from which all is drawn that is drawn for it */
} Room;

typedef struct { double loss; int64_t examples, words; } Sums;

/* One step of E inputs and G outputs: scores, then both gradients of the weights as they were. The
 * inputs' are added up in `slope`, the outputs' are taken at once.  -> loss, if it is counted
 */
static inline __attribute__((always_inline)) double take_step(
    const int G, const Work *w, Room *room, int E, float **out, const float *label, float rate,
    int counted) {
    const int64_t blocks = w->P / LANES;
    float score[(E + 1) * GROUP]; /* whole lanes, whatever E */
    double loss = 0;
    for (int e = 0; e < E; e++) {
        const Lane *h = (const Lane *)room->input[e];
        Lane sum[GROUP];
        for (int o = 0; o < G; o++) sum[o] = (Lane){0};
        for (int64_t b = 0; b < blocks; b++)
            for (int o = 0; o < G; o++) sum[o] += h[b] * ((const Lane *)out[o])[b];
        for (int o = 0; o < GROUP; o++) score[e * GROUP + o] = o < G ? add_up(sum[o]) : 0;
    }
    if (counted)
        for (int e = 0; e < E; e++)
            for (int o = 0; o < G; o++)
                loss += soften(label[o] > 0 ? -score[e * GROUP + o] : score[e * GROUP + o]);
    for (int i = 0; i < E * GROUP; i += LANES) squash((Lane *)(score + i));
    for (int e = 0; e < E; e++)
        for (int o = 0; o < G; o++)
            score[e * GROUP + o] = (label[o] - score[e * GROUP + o]) * rate;
    for (int64_t b = 0; b < blocks; b++) {
        Lane weight[GROUP], change[GROUP];
        for (int o = 0; o < G; o++) weight[o] = ((Lane *)out[o])[b], change[o] = (Lane){0};
        for (int e = 0; e < E; e++) {
            Lane h = ((const Lane *)room->input[e])[b];
            Lane *slope = (Lane *)(room->slope + e * w->P) + b, up = *slope;
            for (int o = 0; o < G; o++) {
                float g = score[e * GROUP + o];
                up += g * weight[o];
                change[o] += g * h;
            }
            *slope = up;
        }
        /* Read again: a noise word may have been drawn twice. */
        for (int o = 0; o < G; o++) ((Lane *)out[o])[b] += change[o];
    }
    return loss;
}

static double step_outputs(
    const Work *w, Room *room, int E, Outputs *outputs, float rate, int counted) {
    double loss = 0;
    for (int o = 0; o < outputs->number; o += GROUP) {
        float **out = outputs->rows + o;
        const float *label = outputs->labels + o;
        int left = outputs->number - o;
#define OF(G) case G: loss += take_step(G, w, room, E, out, label, rate, counted); break;
        switch (left < GROUP ? left : GROUP) {
            OF(1) OF(2) OF(3) OF(4) OF(5) OF(6) OF(7) OF(8)
        }
#undef OF
    }
    return loss;
}

/* The words of a chunk that are kept, and their places.  -> how many */
static int64_t thin_out(const Work *w, int64_t chunk, Room *room) {
    int64_t kept = 0;
    for (int64_t i = w->begins[chunk]; i < w->begins[chunk + 1]; i++) {
        uint64_t key = mix(w->seed + (w->place + i) * 0x9e3779b97f4a7c15u);
        if ((uint32_t)(draw(key, 0) >> 32) > w->keep[w->ids[i]]) continue;
        room->ids[kept] = w->ids[i], room->keys[kept] = key, room->places[kept++] = i;
    }
    return kept;
}

/* Ahead of its use: a row that is in no cache takes as long as a step. */
static inline void fetch_row(const float *row, int64_t P) {
    for (int64_t p = 0; p < P; p += LANES) __builtin_prefetch(row + p, 1);
}

static inline void add_output(const Work *w, Outputs *to, int64_t row, float label) {
    to->rows[to->number] = w->out + row * w->P, to->labels[to->number] = label;
    fetch_row(to->rows[to->number++], w->P);
}

static void choose_outputs(const Work *w, int32_t word, uint64_t key, Outputs *to) {
    to->number = 0;
    if (w->node_begins) {
        for (int64_t n = w->node_begins[word]; n < w->node_begins[word + 1]; n++)
            add_output(w, to, w->nodes[n], w->labels[n]);
        return;
    }
    add_output(w, to, word, 1);
    for (int64_t k = 0; k < w->negatives; k++) {
        uint64_t drawn = draw(key, 2 + k);
        int64_t cell = ((drawn >> 32) * (uint64_t)w->cells) >> 32;
        int32_t noise = ((uint32_t)drawn <= w->accept[cell] ? w->noise : w->alias)[cell];
        if (noise != word) add_output(w, to, noise, 0);
    }
}

static inline float scale_of(const Work *w, int32_t word) {
    return 1 / sqrtf((float)(w->row_begins[word + 1] - w->row_begins[word]));
}

/* to += scale · what a word is as an input */
static void gather(const Work *w, int32_t word, float scale, float *to) {
    if (!w->row_begins) {
        const float *row = w->in + word * w->P;
        for (int64_t p = 0; p < w->P; p++) to[p] += scale * row[p];
        return;
    }
    scale *= scale_of(w, word);
    for (int64_t r = w->row_begins[word]; r < w->row_begins[word + 1]; r++) {
        const float *row = w->in + w->rows[r] * w->P;
        for (int64_t p = 0; p < w->P; p++) to[p] += scale * row[p];
    }
}

/* The rows of a word += scale · from */
static void scatter(const Work *w, int32_t word, float scale, const float *from) {
    if (!w->row_begins) {
        float *row = w->in + word * w->P;
        for (int64_t p = 0; p < w->P; p++) row[p] += scale * from[p];
        return;
    }
    scale *= scale_of(w, word);
    for (int64_t r = w->row_begins[word]; r < w->row_begins[word + 1]; r++) {
        float *row = w->in + w->rows[r] * w->P;
        for (int64_t p = 0; p < w->P; p++) row[p] += scale * from[p];
    }
}

static void step_centre(
    const Work *w, Room *room, int64_t kept, int64_t i, Outputs *outputs, float rate, Sums *sums) {
    int64_t place = w->place + room->places[i];
    int64_t reach = 1 + (((draw(room->keys[i], 1) >> 32) * (uint64_t)w->window) >> 32);
    int64_t low = i < reach ? 0 : i - reach, high = i + reach < kept ? i + reach : kept - 1;
    int contexts = (int)(high - low), E = w->cbow ? 1 : contexts;
    if (!contexts) return;
    int e = 0;
    memset(room->slope, 0, E * w->P * sizeof(float));
    if (w->cbow || w->row_begins) memset(room->h, 0, E * w->P * sizeof(float));
    float share = w->cbow ? 1.f / contexts : 1;
    for (int64_t j = low; j <= high; j++) {
        if (j == i) continue;
        if (w->cbow || w->row_begins) {
            room->input[e] = room->h + e * w->P;
            gather(w, room->ids[j], share, room->h + e * w->P);
        } else {
            room->input[e] = w->in + room->ids[j] * w->P;
        }
        e += !w->cbow;
    }
    int counted = place % w->every == 0;
    double loss = step_outputs(w, room, E, outputs, rate, counted);
    if (counted) sums->loss += loss, sums->examples += E;
    e = 0;
    for (int64_t j = low; rate != 0 && j <= high; j++) {
        if (j == i) continue;
        scatter(w, room->ids[j], share, room->slope + e * w->P);
        e += !w->cbow;
    }
}

static void fit_chunk(const Work *w, int64_t chunk, Room *room, Sums *sums) {
    Outputs outputs[2]; /* of this centre, and of the next, whose rows are on their way */
    int64_t kept = thin_out(w, chunk, room);
    if (kept) choose_outputs(w, room->ids[0], room->keys[0], outputs);
    for (int64_t i = 0; i < kept; i++) {
        int64_t ahead = i + w->window + 1;
        if (ahead < kept && !w->row_begins) fetch_row(w->in + room->ids[ahead] * w->P, w->P);
        if (i + 1 < kept)
            choose_outputs(w, room->ids[i + 1], room->keys[i + 1], outputs + (i + 1) % 2);
        step_centre(w, room, kept, i, outputs + i % 2, w->rates[chunk - w->first], sums);
    }
    sums->words += w->begins[chunk + 1] - w->begins[chunk];
}

/* Takes chunks until none is left.  -> 0, or −1 where there is no memory */
int fit_words(const Work *w, double *loss, int64_t *examples, int64_t *words) {
    int64_t longest = 1, E = 2 * w->window;
    for (int64_t c = w->first; c < w->end; c++)
        if (w->begins[c + 1] - w->begins[c] > longest) longest = w->begins[c + 1] - w->begins[c];
    Room room = {
        .h = malloc(E * w->P * sizeof(float)), .slope = malloc(E * w->P * sizeof(float)),
        .input = malloc(E * sizeof(float *)), .ids = malloc(longest * sizeof(int32_t)),
        .keys = malloc(longest * sizeof(uint64_t)), .places = malloc(longest * sizeof(int64_t)),
    };
    Sums sums = {0, 0, 0};
    int there = room.h && room.slope && room.input && room.ids && room.keys && room.places;
    while (there) {
        int64_t chunk = __atomic_fetch_add(w->next, 1, __ATOMIC_RELAXED);
        if (chunk >= w->end) break;
        fit_chunk(w, chunk, &room, &sums);
    }
    free(room.h), free(room.slope), free(room.input), free(room.ids), free(room.keys);
    free(room.places);
    *loss = sums.loss, *examples = sums.examples, *words = sums.words;
    return there ? 0 : -1;
}
